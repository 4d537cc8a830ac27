"""One engine to a data folder. The lock is the kernel's and goes with the process, however that ends; the file is only
the place where it is taken, and says who holds it. It is never removed, so a stale one means nothing."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

WAIT_NS = 10_000_000_000  # for a lock that is being released
POLL_S = 0.05


class DirectoryLocked(Exception):
    """Another process uses the folder."""

    def __init__(self, directory: Path, holder: str) -> None:
        super().__init__(f"the data folder {directory} is in use by process {holder}: stop it, or give another --data")
        self.directory = directory
        self.holder = holder


class DirectoryLock:
    """Held from `acquire` until `release`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def acquire(
        cls,
        directory: Path,
        *,
        wait_ns: int = WAIT_NS,
        monotonic: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> DirectoryLock:
        """Take the lock of `directory`, waiting at most `wait_ns` for it to be released. DirectoryLocked, OSError."""
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        give_up_ns = monotonic() + wait_ns
        while not is_taken(fd):
            if monotonic() >= give_up_ns:
                holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(fd)
                raise DirectoryLocked(directory, holder)
            sleep(POLL_S)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return cls(fd)

    def release(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def is_taken(fd: int) -> bool:
    """Take the lock if nobody has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
