"""Listening on a Unix socket: its file is for this user alone, taken from no server that lives, and goes with us."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wire.addresses import is_served, socket_path

PRIVATE = 0o177  # a umask


class SocketFile:
    """The file of the Unix socket that an address names. With an address of another kind nothing happens here."""

    def __init__(self, address: str) -> None:
        path = socket_path(address)
        self.path = None if path is None else Path(path)
        self.identity: tuple[int, ...] | None = None

    @contextmanager
    def private(self) -> Iterator[None]:
        """Bind within. OSError where another serves there: grpcio would take the file away from it.

        A file that a dead server has left behind is replaced by either transport.
        """
        if self.path is None:
            yield
            return
        if is_served(str(self.path)):
            raise OSError(f"{self.path} is served by another")
        before = os.umask(PRIVATE)
        try:
            yield
            self.identity = identity(self.path)
        finally:
            os.umask(before)

    def remove(self) -> None:
        """Take the file away, unless it is another's by now: one may listen there as soon as we do not."""
        if self.path is not None and self.identity is not None and identity(self.path) == self.identity:
            with suppress(OSError):  # the stop goes on
                self.path.unlink()


def identity(path: Path) -> tuple[int, ...] | None:
    """What tells a file from its successors, which may well have its number; None where there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
