"""What the gateway asks of a file system, and the local one. Everything that must survive goes through here.

A test puts another disk in its place: one that stalls, fails, is full, or forgets what was not synced.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

PRIVATE = 0o600
FULL = (errno.ENOSPC, errno.EDQUOT)
DRAFT = ".new"  # behind the name of a file that is being written


class Disk(Protocol):
    """Files by their descriptors, folders by their paths. Every method raises OSError where it fails."""

    def names(self, directory: Path) -> list[str]:
        """What is in a folder, sorted; the folder is made, with those above it, when it is missing."""

    def open(self, path: Path, *, make: bool = False) -> int:
        """Open a file for reading and writing; `make` it, readable by its owner alone, when it is missing."""

    def close(self, fd: int) -> None: ...

    def size(self, fd: int) -> int: ...

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """At most `size` bytes from `offset` on; fewer at the end of the file."""

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Write at `offset`, and return how many bytes were taken."""

    def allocate(self, fd: int, offset: int, size: int) -> None:
        """Make room for `size` bytes from `offset` on: zeros, which can be written over whatever happens."""

    def truncate(self, fd: int, size: int) -> None: ...

    def sync(self, fd: int) -> None:
        """Return when what was written survives a loss of power."""

    def sync_directory(self, directory: Path) -> None:
        """Return when the names in a folder survive a loss of power."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, in one step; what had that name is gone."""

    def remove(self, path: Path) -> None: ...


class LocalDisk:
    def names(self, directory: Path) -> list[str]:
        directory.mkdir(parents=True, exist_ok=True)
        return sorted(path.name for path in directory.iterdir())

    def open(self, path: Path, *, make: bool = False) -> int:
        return os.open(path, os.O_RDWR | (os.O_CREAT if make else 0) | os.O_CLOEXEC, PRIVATE)

    def close(self, fd: int) -> None:
        os.close(fd)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def allocate(self, fd: int, offset: int, size: int) -> None:
        os.posix_fallocate(fd, offset, size)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_directory(self, directory: Path) -> None:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def remove(self, path: Path) -> None:
        path.unlink()


LOCAL_DISK = LocalDisk()


def write_all(disk: Disk, fd: int, data: bytes, offset: int) -> None:
    """Write all of `data`. OSError where the disk fails, or takes nothing."""
    written = disk.write(fd, data, offset)
    if written == len(data):
        return
    rest = memoryview(data)[written:]
    while rest:
        if not written:
            raise OSError("the disk takes no bytes")
        offset += written
        written = disk.write(fd, rest, offset)
        rest = rest[written:]


def read_all(disk: Disk, path: Path) -> bytes:
    """The whole of a file that is there."""
    fd = disk.open(path)
    try:
        return disk.read(fd, disk.size(fd), 0)
    finally:
        disk.close(fd)


def replace_file(disk: Disk, path: Path, parts: Iterable[bytes], *, durable: bool) -> None:
    """Put `parts` in the place of what the file holds: whoever reads it finds the one or the other, whole.

    A durable file is synced part by part: one large sync would hold up those of other files.
    """
    draft = path.with_name(path.name + DRAFT)
    fd = disk.open(draft, make=True)
    try:
        disk.truncate(fd, 0)
        offset = 0
        for part in parts:
            write_all(disk, fd, part, offset)
            offset += len(part)
            if durable:
                disk.sync(fd)
    except OSError:  # where the disk is full, others need what it has taken
        disk.remove(draft)
        raise
    finally:
        disk.close(fd)
    disk.rename(draft, path)
    if durable:
        disk.sync_directory(path.parent)


def is_full(problem: BaseException) -> bool:
    """Whether there is no room, rather than something broken."""
    return isinstance(problem, OSError) and problem.errno in FULL
