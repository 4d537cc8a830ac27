"""Which segments the journal has, beside those files: so that one that is gone is missed, and none is read in vain.

A segment that will not grow any more is sealed: its last command, its time and its size are written down. A start
behind a snapshot then opens the segments that come after the snapshot, and no others. The manifest can be made again
from the segments; only that some were deleted on purpose (`first_seq`) it alone knows.

`DATA/journal/manifest.json`, replaced in one step: one line of JSON, and one with the CRC-32C of that in hexadecimal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from gateway.disk import Disk, read_all, replace_file
from gateway.frames import checksum

NAME = "manifest.json"
VERSION = 1
log = structlog.get_logger()


class JournalUnusable(Exception):
    """The journal cannot be started from; the message names the file."""


class ManifestTooNew(JournalUnusable):
    """A later version of Outcry wrote it, and may have deleted or added what this one would not know of."""

    def __init__(self, path: Path, version: int) -> None:
        super().__init__(f"{path} has format {version}; this version of Outcry reads up to format {VERSION}")
        self.path = path


class ManifestDamaged(Exception):
    """It can be made again, so a start goes on without it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} cannot be used: {why}")
        self.path = path
        self.why = why


class Versioned(Struct, frozen=True):
    """What a manifest of any version says."""

    format: int


class Sealed(Struct, frozen=True):
    """A segment that will not grow: the commands it holds, the time of the last, and the offset after it."""

    first_seq: int
    last_seq: int
    last_time_ns: int
    end: int


class Manifest(Struct, frozen=True):
    """`first_seq` is the oldest command that is kept; `sealed` are the segments in order."""

    format: int = VERSION
    first_seq: int = 1
    sealed: list[Sealed] = []

    def of(self, first_seq: int) -> Sealed | None:
        """What is known of the segment that starts with this command."""
        return next((segment for segment in self.sealed if segment.first_seq == first_seq), None)

    def is_consistent(self) -> bool:
        """Whether each segment goes on where the one before it ended."""
        following = self.first_seq
        for segment in self.sealed:
            if segment.first_seq != following or segment.last_seq < following:
                return False
            following = segment.last_seq + 1
        return True


class Retention(Struct, frozen=True):
    """Which segments need not be kept: those wholly up to `until_seq`, the oldest first, as long as the journal is
    larger than `size` bytes, or they end before `since_ns`. None: however large, however old."""

    until_seq: int
    size: int | None = None
    since_ns: int | None = None

    def superfluous(self, sealed: list[Sealed], rest: int) -> Iterator[Sealed]:
        total = rest + sum(segment.end for segment in sealed)
        for segment in sealed:
            too_large = self.size is not None and total > self.size
            too_old = self.since_ns is not None and segment.last_time_ns < self.since_ns
            if segment.last_seq > self.until_seq or not (too_large or too_old):
                return
            total -= segment.end
            yield segment


def load(disk: Disk, directory: Path) -> Manifest | None:
    """The manifest of a folder; None where there is none that can be used. ManifestTooNew, OSError."""
    try:
        return read(disk, directory)
    except ManifestDamaged as damaged:
        log.warning("manifest_dropped", path=str(damaged.path), problem=damaged.why)
        return None


def read(disk: Disk, directory: Path) -> Manifest | None:
    """The manifest of a folder, if there is one. ManifestDamaged, ManifestTooNew, OSError."""
    path = directory / NAME
    if NAME not in disk.names(directory):
        return None
    line, _, stated = read_all(disk, path).partition(b"\n")
    try:
        if int(stated, 16) != checksum(0, line):
            raise ManifestDamaged(path, "the checksum is another")
        version = msgspec.json.decode(line, type=Versioned).format
        if version > VERSION:
            raise ManifestTooNew(path, version)
        manifest = msgspec.json.decode(line, type=Manifest)
    except ValueError as error:  # of msgspec, too
        raise ManifestDamaged(path, str(error)) from None
    if manifest.format != VERSION or not manifest.is_consistent():
        raise ManifestDamaged(path, "it contradicts itself")
    return manifest


def store(disk: Disk, directory: Path, manifest: Manifest, *, durable: bool) -> None:
    """Put the manifest in the place of the one before. OSError."""
    line = msgspec.json.encode(manifest)
    data = b"%s\n%08x\n" % (line, checksum(0, line))
    replace_file(disk, directory / NAME, [data], durable=durable)
