"""A file that grows at its end, into space that is allocated ahead.

    [ header | frames ............. | zeros, allocated .......... ]
                                    end                           allocated

Allocating ahead makes a sync cheaper, because the file's size does not change with each write; and it tells of a full
disk while there is still room to write what was promised. A file that is closed gives back what it did not use.
"""

from __future__ import annotations

import os
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path

from gateway.disk import Disk, is_full, write_all

AHEAD_BYTES = 16 << 20  # of fresh space at each allocation, which comes when half of it is left


class AppendFile:
    """`end` is the offset after what was written; `is_short` is whether the last try to allocate found no room.

    Used by one thread at a time; `room` and `is_short` may be looked at by others.
    """

    def __init__(self, disk: Disk, path: Path, *, ahead: int = AHEAD_BYTES) -> None:
        self.disk = disk
        self.path = path
        self.ahead = ahead
        self.fd = disk.open(path, make=True)
        self.end = 0
        self.allocated = disk.size(self.fd)
        self.is_short = False

    @classmethod
    def start(cls, disk: Disk, path: Path, beginning: bytes, *, ahead: int, durable: bool) -> AppendFile:
        """A new file that begins so, with room ahead. OSError, of a full disk too, and then there is no such file."""
        file = cls(disk, path, ahead=ahead)
        try:
            file.cut(0)
            file.append(beginning)
            file.allocate()
            if file.is_short:
                raise OSError(ENOSPC, os.strerror(ENOSPC), str(path))
            if durable:
                file.make_durable()
        except OSError:
            disk.close(file.fd)
            with suppress(OSError):
                disk.remove(path)
            raise
        return file

    @property
    def room(self) -> int:
        """Bytes that can be written whatever becomes of the disk's free space."""
        return self.allocated - self.end

    def append(self, data: bytes) -> None:
        """Write at the end. OSError."""
        write_all(self.disk, self.fd, data, self.end)
        self.end += len(data)
        if self.end > self.allocated:
            self.allocated = self.end

    def sync(self) -> None:
        self.disk.sync(self.fd)

    def make_durable(self) -> None:
        """Sync it, and the folder that has its name."""
        self.sync()
        self.disk.sync_directory(self.path.parent)

    def allocate(self) -> None:
        """See to it that there is room ahead. OSError where that fails for another reason than a full disk."""
        if self.ahead and self.room < self.ahead // 2:
            size = self.end + self.ahead - self.allocated
            try:
                self.disk.allocate(self.fd, self.allocated, size)
            except OSError as problem:
                if not is_full(problem):
                    raise
                self.is_short = True
                self.allocated = max(self.end, self.disk.size(self.fd))  # a part may have been made
                return
            self.allocated += size
        self.is_short = False

    def resume(self, end: int) -> None:
        """Go on at `end` of what was there. The space behind it is kept, if it is one: a full disk would not give it
        again. What else stands there is written over with zeros. OSError."""
        rest = self.disk.read(self.fd, self.allocated - end, end)
        torn = len(rest.rstrip(b"\0"))
        if torn:
            write_all(self.disk, self.fd, bytes(torn), end)
        self.end = end
        try:
            if rest:
                self.disk.allocate(self.fd, end, len(rest))
        except OSError as problem:  # a copy may have holes where there was space
            if not is_full(problem):
                raise
            self.cut(end)

    def cut(self, end: int) -> None:
        """Nothing counts from `end` on, and it is given back."""
        self.disk.truncate(self.fd, end)
        self.end = self.allocated = end

    def close(self) -> None:
        """Give back what was allocated and not used."""
        if self.fd >= 0:
            if self.allocated > self.end:
                self.cut(self.end)
            self.disk.close(self.fd)
            self.fd = -1
