"""Listening on a Unix socket: its file is for this user alone, and is not taken from a server that lives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from wire.addresses import is_served, socket_path

PRIVATE = 0o177  # a umask


@contextmanager
def private_socket(address: str) -> Iterator[None]:
    """Bind to `address` within. OSError where another serves there: grpcio would take the file away from it.

    A file that a dead server has left behind is replaced by either transport.
    """
    path = socket_path(address)
    if path is None:
        yield
        return
    if is_served(path):
        raise OSError(f"{path} is served by another")
    before = os.umask(PRIVATE)
    try:
        yield
    finally:
        os.umask(before)
