"""The event log's files: segments, each of which can be read without any other, and an index beside each that is full.

`DATA/events/<first command>.events`, in the form of `frames.py`. The payload of the first frame is a msgpack binary,

    numbers    for each account, from 0 on, a u64: the number of its last event before this segment

and that of every other frame a msgpack array of

    spans      [account, first number, last number, offset of the previous frame with events of this account or 0] ...
    records    [journal seq, time_ns, [private event ...]] ... one for each command, in order, with or without events

An account's frames are thus a chain that leads backwards, and that begins in this segment (`event_chains.py`). The last
segment grows, into space that is allocated ahead; the others are sealed. `<first command>.index` tells a start what a
sealed one holds, and a reader where to step into its chains. It is derived: where it is missing or damaged, the segment
is scanned instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from gateway import event_chains
from gateway.append_file import AppendFile
from gateway.disk import Disk, is_full, read_all, replace_file
from gateway.event_chains import ABOUT_BYTES, About, Chain, Chains, Index, Numbers, Span, number_of
from gateway.event_records import Numbered, Record, numbered
from gateway.frames import (
    FRAME_BYTES,
    HEADER_BYTES,
    Frame,
    Header,
    frame_after,
    frame_at,
    frame_bytes,
    frames,
    header_bytes,
    new_header,
    payload_length,
    read_header,
)

MAGIC = b"OUTCRYE\n"
VERSION = 2
SUFFIX = ".events"
INDEX_SUFFIX = ".index"
READ_AHEAD_BYTES = 8 << 10  # most frames are read at once

ENCODER = msgspec.msgpack.Encoder()
NUMBERS = msgspec.msgpack.Decoder(bytes)
SPANS = msgspec.msgpack.Decoder(tuple[list[Span], msgspec.Raw])
RECORDS = msgspec.msgpack.Decoder(tuple[list[Span], list[Record]])
log = structlog.get_logger()


class EventLogDamaged(Exception):
    """The event log is not what was written. The next start repairs it."""

    def __init__(self, path: Path, offset: int) -> None:
        super().__init__(f"{path} has changed at offset {offset} since it was written")
        self.path = path


def segment_name(first_seq: int) -> str:
    return f"{first_seq:020d}{SUFFIX}"


def segment_paths(disk: Disk, directory: Path) -> list[Path]:
    """The files in a folder that may be segments, in order; those of other names are none."""
    stems = [name.removesuffix(SUFFIX) for name in disk.names(directory) if name.endswith(SUFFIX)]
    return [
        directory / f"{stem}{SUFFIX}" for stem in stems if stem.isdecimal() and segment_name(int(stem)) == stem + SUFFIX
    ]


def index_path(path: Path) -> Path:
    return path.with_suffix(INDEX_SUFFIX)


def is_header_of(header: Header, path: Path) -> bool:
    """Whether this may be the header of the segment with that name, of this version."""
    return (header.magic, header.version, segment_name(header.first_seq)) == (MAGIC, VERSION, path.name)


class Scan(Struct):
    """What is whole in a segment, up to the last command that counts.

    `beyond` is the newest later command that it tells of, 0 where there is none; `torn` are the bytes that are not
    whole, and are not zeros.
    """

    header: Header
    numbers: Numbers
    chains: Chains
    last_seq: int
    end: int
    beyond: int = 0
    torn: int = 0

    def last_number(self, account: int) -> int:
        chain = self.chains.get(account)
        return number_of(self.numbers, account) if chain is None else chain.last

    def extend(self, frame: Frame) -> bool:
        """Whether a frame goes on from what is there; then it is taken in."""
        if frame.first_seq != self.last_seq + 1 or frame.last_seq < frame.first_seq:
            return False
        try:
            spans, _ = SPANS.decode(frame.payload)
        except msgspec.MsgspecError:
            return False
        if not all(first == self.last_number(account) + 1 for account, first, _, _ in spans):
            return False
        event_chains.extend(self.chains, spans, frame.offset)
        self.last_seq, self.end = frame.last_seq, frame.end
        return True


def scan(path: Path, data: bytes, until_seq: int) -> Scan | None:
    """What is in a segment, of the commands up to `until_seq`; None where it cannot be told what it is."""
    header = read_header(data)
    if header is None or not is_header_of(header, path):
        return None
    opening = frame_at(data, HEADER_BYTES, header.seed)
    numbers = None if opening is None else read_numbers(opening)
    if opening is None or numbers is None:
        return None
    found = Scan(header, numbers, {}, header.first_seq - 1, opening.end)
    for frame in frames(data, opening.end, header.seed):
        if frame.last_seq > until_seq:
            found.beyond = frame.last_seq
        elif found.beyond or not found.extend(frame):
            break
    if data[found.end :].strip(b"\0"):
        found.torn = len(data) - found.end
        found.beyond = max(found.beyond, newest_after(data, found.end, header.seed, until_seq))
    return found


def newest_after(data: bytes, offset: int, seed: int, until_seq: int) -> int:
    """The newest command beyond `until_seq` that a whole frame tells of, behind one that is not; 0 where none does."""
    newest = 0
    while (later := frame_after(data, offset, seed)) is not None:
        for frame in frames(data, later, seed):
            newest, offset = max(newest, frame.last_seq), frame.offset
    return newest if newest > until_seq else 0


def read_numbers(opening: Frame) -> Numbers | None:
    with suppress(msgspec.MsgspecError, ValueError):
        return event_chains.u64_array(NUMBERS.decode(opening.payload))
    return None


def opening_bytes(header: Header, numbers: Numbers) -> bytes:
    """The beginning of a segment: its header and its first frame."""
    before = header.first_seq - 1
    payload = ENCODER.encode(event_chains.u64_bytes(numbers))
    return header_bytes(header) + frame_bytes(header.seed, before, before, payload)


class Sealed:
    """A segment that does not grow. Its methods may be called in any thread."""

    def __init__(self, disk: Disk, path: Path, header: Header, last_seq: int, end: int) -> None:
        self.disk = disk
        self.path = path
        self.header = header
        self.last_seq = last_seq
        self.end = end

    def numbers(self) -> Numbers:
        """Each account's last number before this segment. EventLogDamaged, OSError."""
        fd = self.disk.open(self.path)
        try:
            numbers = read_numbers(read_frame(self.disk, fd, self.path, self.header.seed, HEADER_BYTES))
        finally:
            self.disk.close(fd)
        if numbers is None:
            raise EventLogDamaged(self.path, HEADER_BYTES)
        return numbers

    def index(self) -> Index:
        """Where its chains are: as stored, or else as found by a scan, and then stored. EventLogDamaged, OSError."""
        with suppress(FileNotFoundError):
            index = event_chains.read_index(read_all(self.disk, index_path(self.path)), self.header)
            if index is not None:
                return index
        found = scan(self.path, read_all(self.disk, self.path), self.last_seq)
        if found is None or (found.last_seq, found.end) != (self.last_seq, self.end):
            raise EventLogDamaged(self.path, 0 if found is None else found.end)
        index = event_chains.index_of(found.chains)
        with suppress(OSError):  # another reader may be storing the same, or the segment has been deleted
            store_index(self.disk, self.path, self.header, About(self.last_seq, self.end), index)
        return index


class Growing:
    """The segment that is written to. `numbers` are those before it."""

    def __init__(self, file: AppendFile, header: Header, numbers: Numbers, chains: Chains, last_seq: int) -> None:
        self.file = file
        self.path = file.path
        self.header = header
        self.numbers = numbers
        self.chains = chains
        self.last_seq = last_seq

    @classmethod
    def start(cls, disk: Disk, directory: Path, first_seq: int, numbers: Numbers, ahead: int) -> Growing:
        """A new file, with room ahead. OSError, and then nothing is new."""
        header = new_header(MAGIC, VERSION, first_seq)
        path = directory / segment_name(first_seq)
        file = AppendFile.start(disk, path, opening_bytes(header, numbers), ahead=ahead, durable=False)
        return cls(file, header, numbers, {}, first_seq - 1)

    @classmethod
    def resume(cls, disk: Disk, path: Path, found: Scan, ahead: int) -> Growing:
        """Go on in a file, behind what is whole and counts in it."""
        file = AppendFile(disk, path, ahead=ahead)
        if found.torn:
            log.warning("event_log_tail_dropped", path=str(path), offset=found.end, bytes=found.torn)
        file.resume(found.end)
        file.allocate()
        return cls(file, found.header, found.numbers, found.chains, found.last_seq)

    def append(self, spans: list[Span], records: Sequence[Record]) -> None:
        """Write one frame, and only then remember it. OSError."""
        first_seq, last_seq, offset = records[0].seq, records[-1].seq, self.file.end
        self.file.append(frame_bytes(self.header.seed, first_seq, last_seq, ENCODER.encode((spans, records))))
        event_chains.extend(self.chains, spans, offset)
        self.last_seq = last_seq

    def seal(self) -> Sealed:
        """Write no more. OSError, but for a full disk: an index that is missing is made again."""
        self.file.close()
        store_index(self.file.disk, self.path, self.header, About(self.last_seq, self.file.end))
        return Sealed(self.file.disk, self.path, self.header, self.last_seq, self.file.end)


def store_index(disk: Disk, path: Path, header: Header, about: About, index: Index | None = None) -> None:
    try:
        replace_file(disk, index_path(path), [event_chains.index_bytes(header, about, index)], durable=False)
    except OSError as problem:
        if not is_full(problem):
            raise
        log.warning("event_index_not_written", path=str(path), problem=str(problem))


def load_about(disk: Disk, path: Path) -> tuple[Header, About] | None:
    """What is known of a sealed segment without reading all of it; None where it must be."""
    try:
        fd = disk.open(index_path(path))
    except FileNotFoundError:
        return None
    try:
        data = disk.read(fd, ABOUT_BYTES, 0)
    finally:
        disk.close(fd)
    fd = disk.open(path)
    try:
        header, size = read_header(disk.read(fd, HEADER_BYTES, 0)), disk.size(fd)
    finally:
        disk.close(fd)
    if header is None or not is_header_of(header, path):
        return None
    about = event_chains.read_about(data, header)
    return (header, about) if about is not None and about.end <= size else None


def read_events(disk: Disk, path: Path, seed: int, chain: Chain, account: int, after: int, last: int) -> list[Numbered]:
    """An account's events `after` + 1 to `last`, all in one segment. EventLogDamaged, OSError."""
    parts: list[list[Numbered]] = []
    offset, first = chain.offset_of(last), last + 1
    fd = disk.open(path)
    try:
        while first > after + 1:
            frame = read_frame(disk, fd, path, seed, offset)
            try:
                spans, records = RECORDS.decode(frame.payload)
                first, previous = next((first, previous) for holder, first, _, previous in spans if holder == account)
            except (msgspec.MsgspecError, StopIteration):
                raise EventLogDamaged(path, offset) from None
            parts.append(numbered(records, account, after, last))
            if previous >= offset:
                raise EventLogDamaged(path, offset)
            offset = previous
    finally:
        disk.close(fd)
    parts.reverse()
    return [event for part in parts for event in part]


def read_frame(disk: Disk, fd: int, path: Path, seed: int, offset: int) -> Frame:
    data = disk.read(fd, READ_AHEAD_BYTES, offset)
    if len(data) == READ_AHEAD_BYTES:
        missing = FRAME_BYTES + payload_length(data) - len(data)
        data += disk.read(fd, max(missing, 0), offset + len(data))
    frame = frame_at(data, 0, seed)
    if frame is None:
        raise EventLogDamaged(path, offset)
    return frame
