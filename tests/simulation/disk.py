"""A disk in memory that forgets, fills up and fails as real ones do, by the dice of one seed.

Every file is there twice: as programs see it, and as it would be found after a loss of power. A write reaches the
first; `sync` brings what was written to the second, `sync_directory` the names. A loss of power keeps, of what was not
synced,

    of a file      any version of each sector of SECTOR bytes, and any size it had, in no order
    of a folder    the names as they were after any of the changes, because file systems keep those in order

and after a sync that failed, what it should have brought is lost to the second state for good, while programs go on
reading it in the first: a later sync that succeeds says nothing of it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from random import Random

from msgspec import Struct

SECTOR = 512
PLENTY = 1 << 40  # bytes of room on a disk that is not full


class Died(BaseException):
    """The process ends at this operation, and none of its code that follows counts."""


class Change(Struct, frozen=True):
    """What one call did to a file: its size then, and the sectors that it touched, as they were then."""

    size: int
    sectors: dict[int, bytes]


class File:
    def __init__(self) -> None:
        self.data = bytearray()
        self.durable = bytearray()
        self.changes: list[Change] = []

    def change(self, start: int, end: int) -> None:
        """Remember that the bytes from `start` to `end` are other ones now."""
        touched = range(start // SECTOR, -(-end // SECTOR))
        sectors = {at: bytes(self.data[at * SECTOR : (at + 1) * SECTOR]) for at in touched}
        self.changes.append(Change(len(self.data), sectors))

    def resize(self, size: int) -> None:
        resize(self.data, size)
        self.change(size - size % SECTOR, size)

    def sync(self) -> None:
        for change in self.changes:
            resize(self.durable, change.size)
            for at, content in change.sectors.items():
                put(self.durable, at * SECTOR, content)
        self.changes.clear()

    def forget(self, random: Random) -> None:
        """Bring to the durable state what chance lets through of the changes, and count the rest as done."""
        kept = random.choice((0, len(self.changes), random.randint(0, len(self.changes))))
        in_order = random.random() < 0.5
        versions: dict[int, list[bytes]] = {}
        for number, change in enumerate(self.changes):
            if number < kept:  # the file's size, and what it cut off
                resize(self.durable, change.size)
                for at, contents in versions.items():
                    versions[at] = [content[: max(change.size - at * SECTOR, 0)] for content in contents]
            for at, content in change.sectors.items():
                if at not in versions:
                    versions[at] = [bytes(self.durable[at * SECTOR : (at + 1) * SECTOR])]
                if number < kept or not in_order:
                    versions[at].append(content)
        size = len(self.durable)
        for at, contents in versions.items():
            content = contents[-1] if in_order else random.choice(contents)
            put(self.durable, at * SECTOR, content.ljust(SECTOR, b"\0"))
        resize(self.durable, size)
        self.changes.clear()


def resize(data: bytearray, size: int) -> None:
    if size < len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))


def put(data: bytearray, offset: int, content: bytes) -> None:
    if len(data) < offset:
        resize(data, offset)
    data[offset : offset + len(content)] = content


class Folder:
    """Names, and each version of them since the last sync; the first is the durable one."""

    def __init__(self) -> None:
        self.names: dict[str, File] = {}
        self.versions: list[dict[str, File]] = [{}]

    def changed(self) -> None:
        self.versions.append(dict(self.names))

    def sync(self) -> None:
        self.versions = [dict(self.names)]


class SimulatedDisk:
    """A Disk. `dies_in` and `fails_in` count operations down to the one at which the process dies, or which fails."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.folders: dict[Path, Folder] = {}
        self.open_files: dict[int, File] = {}
        self.last_fd = 2
        self.capacity = PLENTY
        self.dies_in: int | None = None
        self.fails_in: dict[str, int] = {}
        self.short_writes = 0
        self.dead = False
        self.failures = 0
        self.refused_for_room = 0
        self.syncs = 0

    # What the world does to it

    def kill(self) -> None:
        """The process is gone; what it had written stays."""
        self.open_files.clear()
        self.dies_in, self.dead, self.short_writes = None, False, 0
        self.fails_in.clear()

    def cut_power(self) -> None:
        """The machine is gone: only what is durable stays, and by chance some of the rest."""
        self.kill()
        for folder in self.folders.values():
            folder.names = dict(self.random.choice(folder.versions))
            folder.sync()
        for file in self.files():
            file.forget(self.random)
            file.data = bytearray(file.durable)

    def fill(self, room: int) -> None:
        """Leave no more than `room` bytes."""
        self.capacity = self.used() + room

    def files(self) -> list[File]:
        """Every file that has a name."""
        return list({id(file): file for folder in self.folders.values() for file in folder.names.values()}.values())

    def used(self) -> int:
        return sum(len(file.data) for file in self.files())

    def content(self, path: Path) -> bytes:
        return bytes(self.folders[path.parent].names[path.name].data)

    def listing(self, directory: Path) -> list[str]:
        return sorted(self.folders[directory].names) if directory in self.folders else []

    def flip(self, path: Path, bit: int) -> None:
        """Change a bit of a file, where it lies and where it is read. What rests there has been synced long ago."""
        file = self.folders[path.parent].names[path.name]
        file.sync()
        for data in (file.data, file.durable):
            if bit // 8 < len(data):
                data[bit // 8] ^= 1 << bit % 8

    # What it is asked for

    def step(self, operation: str) -> None:
        if self.dead:
            raise Died
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                self.dead = True
                raise Died
        if operation in self.fails_in:
            self.fails_in[operation] -= 1
            if self.fails_in[operation] < 0:
                del self.fails_in[operation]
                self.failures += 1
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    def names(self, directory: Path) -> list[str]:
        self.step("names")
        return sorted(self.folders.setdefault(directory, Folder()).names)

    def open(self, path: Path, *, make: bool = False) -> int:
        self.step("open")
        folder = self.folders.setdefault(path.parent, Folder())
        if not make:
            self.require(path)
        elif path.name not in folder.names:
            folder.names[path.name] = File()
            folder.changed()
        self.last_fd += 1
        self.open_files[self.last_fd] = folder.names[path.name]
        return self.last_fd

    def require(self, path: Path) -> None:
        if path.parent not in self.folders or path.name not in self.folders[path.parent].names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    def close(self, fd: int) -> None:
        if not self.dead:
            del self.open_files[fd]

    def size(self, fd: int) -> int:
        self.step("size")
        return len(self.open_files[fd].data)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        self.step("read")
        return bytes(self.open_files[fd].data[offset : offset + size])

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        file, content = self.open_files.get(fd), bytes(data)
        try:
            self.step("write")
        except Died:
            if file is not None:
                self.put(file, content[: self.random.randint(0, len(content))], offset)
            raise
        assert file is not None
        if self.short_writes and len(content) > 1:
            self.short_writes -= 1
            content = content[: self.random.randint(1, len(content) - 1)]
        room = len(file.data) + self.capacity - self.used() - offset
        if content and room <= 0:
            raise self.no_room()
        content = content[:room]
        self.put(file, content, offset)
        return len(content)

    def put(self, file: File, content: bytes, offset: int) -> None:
        put(file.data, offset, content)
        file.change(offset, offset + len(content))

    def allocate(self, fd: int, offset: int, size: int) -> None:
        self.step("allocate")
        file = self.open_files[fd]
        more = max(offset + size - len(file.data), 0)
        room = self.capacity - self.used()
        if more > room:
            file.resize(len(file.data) + self.random.randint(0, max(room, 0)))
            raise self.no_room()
        file.resize(max(len(file.data), offset + size))

    def no_room(self) -> OSError:
        self.refused_for_room += 1
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def truncate(self, fd: int, size: int) -> None:
        self.step("truncate")
        self.open_files[fd].resize(size)

    def sync(self, fd: int) -> None:
        file = self.open_files.get(fd)
        try:
            self.step("sync")
        except OSError:
            assert file is not None
            file.forget(self.random)
            raise
        assert file is not None
        self.syncs += 1
        file.sync()

    def sync_directory(self, directory: Path) -> None:
        self.step("sync")
        self.syncs += 1
        self.folders[directory].sync()

    def rename(self, source: Path, target: Path) -> None:
        self.step("rename")
        self.require(source)
        folder = self.folders[source.parent]
        folder.names[target.name] = folder.names.pop(source.name)
        folder.changed()

    def remove(self, path: Path) -> None:
        self.step("remove")
        self.require(path)
        del self.folders[path.parent].names[path.name]
        self.folders[path.parent].changed()
