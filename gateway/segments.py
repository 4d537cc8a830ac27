"""The journal's files as they are read: segments of checksummed batches, each named by its first command.

`DATA/journal/00000000000000000001.journal` and so on, in the form of `frames.py`; a payload is a msgpack array of
[seq, time_ns, command], with every sequence number from the frame's first to its last.

    is the frame whole? ── yes ─▶ does it go on where the last one ended? ── no ─▶ damaged: refuse to start
            │ no                                                └─ yes ─▶ next frame
            └─ is this the last segment, without a whole frame after it? ── no ─▶ damaged
                                                            └─ yes ─▶ the torn tail of a batch that nobody was told of
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.commands import Command
from gateway.disk import Disk, read_all
from gateway.frames import HEADER_BYTES, Frame, Header, frame_after, frames, read_header
from gateway.manifest import JournalUnusable as JournalUnusable
from gateway.manifest import Manifest, Sealed, load

MAGIC = b"OUTCRYJ\n"
VERSION = 1
SUFFIX = ".journal"


class JournalDamaged(JournalUnusable):
    """Something that was in the journal is not, or is not what it was."""

    def __init__(self, path: Path, offset: int, why: str) -> None:
        super().__init__(f"{path} is damaged at offset {offset}: {why}")
        self.path = path
        self.offset = offset
        self.why = why


class JournalTooNew(JournalUnusable):
    """A later version of Outcry wrote it."""

    def __init__(self, path: Path, version: int) -> None:
        super().__init__(f"{path} has journal format {version}; this version of Outcry reads up to format {VERSION}")
        self.path = path
        self.version = version


class Entry(Struct, frozen=True, gc=False, array_like=True):
    """One command, as it was sequenced. `time_ns` is what the engine was told."""

    seq: int
    time_ns: int
    command: Command


ENCODER = msgspec.msgpack.Encoder()
DECODER = msgspec.msgpack.Decoder(list[Entry])


class Segment(Struct):
    """What is in one file that was read: its last command (the one before its first, where it holds none), and `end`,
    the offset after its last whole frame. `torn` bytes behind that are no batch. `last_write` is the offset from which
    on everything was written at once: the last frame, or the header."""

    path: Path
    header: Header
    last_seq: int
    last_time_ns: int
    end: int
    torn: int = 0
    last_write: int = 0

    def sealed(self) -> Sealed:
        return Sealed(self.header.first_seq, self.last_seq, self.last_time_ns, self.end)


def segment_name(first_seq: int) -> str:
    return f"{first_seq:020d}{SUFFIX}"


def segment_names(disk: Disk, directory: Path, manifest: Manifest) -> list[str]:
    """The segments in a folder that count: those from the first that is kept on."""
    first = segment_name(manifest.first_seq)
    return [name for name in disk.names(directory) if is_segment_name(name) and name >= first]


def is_segment_name(name: str) -> bool:
    """Whether a file may be a segment. Others, as copies that somebody has put beside them, are left alone."""
    stem = name.removesuffix(SUFFIX)
    return stem.isdecimal() and name == segment_name(int(stem))


def read_segment(path: Path, data: bytes, last_time_ns: int, *, is_last: bool) -> Segment | None:
    """What is in a segment, `last_time_ns` being that of the one before. JournalDamaged, JournalTooNew.

    None where it is the last one and its header is not whole, nor followed by anything: it was about to be made.
    """
    header = segment_header(path, data)
    if header is None:
        if is_last and not data[HEADER_BYTES:].strip(b"\0"):
            return None
        raise JournalDamaged(path, 0, "the header is not whole")
    segment = Segment(path, header, header.first_seq - 1, last_time_ns, HEADER_BYTES)
    frame: Frame | None = None
    for frame in frames(data, HEADER_BYTES, header.seed):
        if frame.first_seq != segment.last_seq + 1 or frame.last_seq < frame.first_seq:
            why = f"command {segment.last_seq + 1} must follow, not {frame.first_seq} to {frame.last_seq}"
            raise JournalDamaged(path, segment.end, why)
        segment.last_seq, segment.end = frame.last_seq, frame.end
    if frame is not None:
        segment.last_write = frame.offset
        segment.last_time_ns = entries(path, frame)[-1].time_ns
    if data[segment.end :].strip(b"\0"):
        segment.torn = len(data) - segment.end
        require_torn_tail(segment, data, is_last)
    return segment


def require_torn_tail(segment: Segment, data: bytes, is_last: bool) -> None:
    """The bytes after the last whole frame are a batch that was never finished, or the journal is damaged."""
    later = frame_after(data, segment.end, segment.header.seed)
    if later is not None:
        raise JournalDamaged(segment.path, segment.end, f"no whole batch, but one follows at offset {later}")
    if not is_last:
        raise JournalDamaged(segment.path, segment.end, "no whole batch, but another segment follows")


def segment_header(path: Path, data: bytes) -> Header | None:
    """The header of a segment; None where it is not whole. A version that is not ours is refused."""
    header = read_header(data)
    if header is None:
        return None
    if header.magic != MAGIC:
        raise JournalDamaged(path, 0, "this is not a journal")
    if header.version > VERSION:
        raise JournalTooNew(path, header.version)
    if path.name != segment_name(header.first_seq):
        raise JournalDamaged(path, 0, f"it starts with command {header.first_seq}, not with the one in its name")
    return header


def entries(path: Path, frame: Frame) -> list[Entry]:
    """The commands of a frame, which are those that its header says."""
    try:
        batch = DECODER.decode(frame.payload)
    except msgspec.MsgspecError as problem:
        raise JournalDamaged(path, frame.offset, f"the batch holds what is no command: {problem}") from None
    first_seq, last_seq = frame.first_seq, frame.last_seq
    if len(batch) != last_seq - first_seq + 1 or (batch[0].seq, batch[-1].seq) != (first_seq, last_seq):
        raise JournalDamaged(path, frame.offset, "the batch holds other commands than its header says")
    return batch


def batches(path: Path, data: bytes, after_seq: int, end: int) -> Iterator[list[Entry]]:
    """The commands after `after_seq` in a segment that reaches to `end`, batch by batch. JournalDamaged where it does
    not."""
    header = segment_header(path, data)
    if header is None:
        raise JournalDamaged(path, 0, "the header is not whole")
    offset = HEADER_BYTES
    for frame in frames(data[:end], offset, header.seed):
        offset = frame.end
        if frame.last_seq > after_seq:
            batch = entries(path, frame)
            yield batch if frame.first_seq > after_seq else [entry for entry in batch if entry.seq > after_seq]
    if offset != end:
        raise JournalDamaged(path, offset, "no whole batch, where there was one")


def read_journal(disk: Disk, directory: Path, after_seq: int, until_seq: int) -> Iterator[Entry]:
    """The commands from `after_seq` + 1 to `until_seq`, in order, while the journal may be written to elsewhere.

    All of them must be there. JournalDamaged where they are not.
    """
    manifest = load(disk, directory) or Manifest()
    names = segment_names(disk, directory, manifest)
    following = after_seq + 1
    for name, later in zip(names, [*names[1:], None], strict=True):
        if later is not None and first_seq_of(later) <= following:
            continue
        path = directory / name
        if first_seq_of(name) > following:
            raise JournalDamaged(path, 0, f"a segment with command {following} is missing")
        for frame in frames_of(path, read_all(disk, path)):
            if frame.first_seq > until_seq:
                return
            for entry in entries(path, frame) if frame.last_seq >= following else ():
                if following <= entry.seq <= until_seq:
                    yield entry
                    following = entry.seq + 1
    if following <= until_seq:
        raise JournalDamaged(directory, 0, f"it ends before command {following}")


def frames_of(path: Path, data: bytes) -> Iterator[Frame]:
    header = segment_header(path, data)
    return iter(()) if header is None else frames(data, HEADER_BYTES, header.seed)


def first_seq_of(name: str) -> int:
    return int(name.removesuffix(SUFFIX))
