"""Snapshots: the state after a command, in a file, so that a start need not replay what came before.

`DATA/snapshots/00000000000000012345.snapshot`, named by that command, in the form of `frames.py`: a frame that says
[seq, time_ns, digest, size], then the state's bytes in frames of at most PART_BYTES. A snapshot is made beside the
engine, by a process that replays the journal (`snapshotter.py`): the way of an order knows nothing of it. It is there
whole and synced, or not at all; one that is damaged is passed over for the one before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.exchange import Exchange
from engine.snapshot import SnapshotInvalid, restore, snapshot
from gateway.disk import DRAFT, Disk, replace_file
from gateway.frames import (
    FRAME_BYTES,
    HEADER_BYTES,
    Frame,
    frame_at,
    frame_bytes,
    header_bytes,
    new_header,
    payload_length,
    read_header,
)

FOLDER = "snapshots"
MAGIC = b"OUTCRYS\n"
VERSION = 1
SUFFIX = ".snapshot"
PART_BYTES = 4 << 20


class SnapshotDamaged(Exception):
    """A snapshot cannot be used; the message names the file."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} cannot be used: {why}")
        self.path = path


class About(Struct, frozen=True, array_like=True):
    """What a snapshot says of itself: its state is that after command `seq`, at `time_ns`, with this digest."""

    seq: int
    time_ns: int
    digest: str
    size: int


ENCODER = msgspec.msgpack.Encoder()
DECODER = msgspec.msgpack.Decoder(About)


def snapshot_name(seq: int) -> str:
    return f"{seq:020d}{SUFFIX}"


def snapshot_seqs(disk: Disk, directory: Path) -> list[int]:
    """The commands after which there is a snapshot, good or not: the newest first."""
    names = [name for name in disk.names(directory) if name.endswith(SUFFIX)]
    return [int(name.removesuffix(SUFFIX)) for name in reversed(names) if name.removesuffix(SUFFIX).isdecimal()]


def store(disk: Disk, directory: Path, seq: int, time_ns: int, exchange: Exchange) -> About:
    """Write the snapshot of a state that is durable. OSError."""
    pieces = list(snapshot(exchange))
    about = About(seq, time_ns, exchange.digest(), sum(map(len, pieces)))
    disk.names(directory)
    replace_file(disk, directory / snapshot_name(seq), file_parts(about, pieces), durable=True)
    return about


def file_parts(about: About, pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    header, seq = new_header(MAGIC, VERSION, about.seq), about.seq
    yield header_bytes(header) + frame_bytes(header.seed, seq, seq, ENCODER.encode(about))
    for part in evenly(pieces):
        yield frame_bytes(header.seed, seq, seq, part)


def evenly(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The same bytes in parts of PART_BYTES."""
    part = bytearray()
    for piece in pieces:
        for start in range(0, len(piece), PART_BYTES):
            part += piece[start : start + PART_BYTES]
            if len(part) >= PART_BYTES:
                yield bytes(part[:PART_BYTES])
                del part[:PART_BYTES]
    if part:
        yield bytes(part)


def load(disk: Disk, directory: Path, seq: int) -> tuple[About, Exchange]:
    """The state after command `seq`. SnapshotDamaged, OSError."""
    path = directory / snapshot_name(seq)
    fd = disk.open(path)
    try:
        about, state = read_state(path, Reading(disk, fd), seq)
    finally:
        disk.close(fd)
    try:
        return about, restore(state)
    except SnapshotInvalid as problem:
        raise SnapshotDamaged(path, str(problem)) from None


class Reading:
    """A file from its beginning on, and where it has been read to."""

    def __init__(self, disk: Disk, fd: int) -> None:
        self.disk = disk
        self.fd = fd
        self.size = disk.size(fd)
        self.offset = 0

    def take(self, size: int) -> bytes:
        data = self.disk.read(self.fd, min(size, self.size - self.offset), self.offset)
        self.offset += len(data)
        return data

    def frame(self, seed: int) -> Frame | None:
        """The next frame; None where there is no whole one."""
        lead = self.take(FRAME_BYTES)
        return frame_at(lead + self.take(payload_length(lead)), 0, seed) if len(lead) == FRAME_BYTES else None


def read_state(path: Path, file: Reading, seq: int) -> tuple[About, memoryview]:
    """A snapshot's words of itself, and the state, which is all that follows. SnapshotDamaged."""
    header = read_header(file.take(HEADER_BYTES))
    if header is None or header.magic != MAGIC or header.first_seq != seq:
        raise SnapshotDamaged(path, "it is no snapshot of that command")
    if header.version > VERSION:
        raise SnapshotDamaged(path, f"it has format {header.version}; this version reads up to format {VERSION}")
    lead = file.frame(header.seed)
    if lead is None:
        raise SnapshotDamaged(path, f"it is damaged at offset {HEADER_BYTES}")
    about = DECODER.decode(lead.payload)
    state = bytearray(min(about.size, file.size))
    end = 0
    while end < about.size:
        begun = file.offset
        part = file.frame(header.seed)
        if part is None:
            raise SnapshotDamaged(path, f"it is damaged at offset {begun}")
        state[end : end + len(part.payload)] = part.payload
        end += len(part.payload)
    if end != about.size or file.offset != file.size:
        raise SnapshotDamaged(path, "it is not as long as it says")
    return about, memoryview(state).toreadonly()


def prune(disk: Disk, directory: Path, kept: int) -> None:
    """Remove all but the newest `kept` snapshots, and what was never finished. OSError."""
    for seq in snapshot_seqs(disk, directory)[kept:]:
        disk.remove(directory / snapshot_name(seq))
    drop_drafts(disk, directory)


def drop_drafts(disk: Disk, directory: Path) -> None:
    """Remove what was never finished. OSError."""
    for name in disk.names(directory):
        if name.endswith(DRAFT):
            disk.remove(directory / name)
