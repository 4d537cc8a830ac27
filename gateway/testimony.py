"""The event log as a witness: what it holds is what a replay of the journal says.

Both are told in the order of their commands, so a segment, and the replay's records for one frame of it, are all that
is in memory. A frame is compared as bytes first; only one that differs is decoded to find out where. The segment that
grows is read before the journal is: so whatever it tells of must be in the journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway.disk import Disk, read_all
from gateway.event_records import Record
from gateway.event_segments import ENCODER, RECORDS, SPANS, Scan, is_header_of, read_numbers, segment_paths
from gateway.frames import HEADER_BYTES, Frame, frame_after, frame_at, frames, read_header


class EventLogDiffers(Exception):
    """The event log is not what was said."""

    def __init__(self, path: Path, offset: int, why: str) -> None:
        super().__init__(f"{path} at offset {offset}: {why}")
        self.path = path
        self.offset = offset
        self.why = why


class Torn(Struct, frozen=True):
    """What was being written to a file when it ended: `bytes` from `offset` on that are nothing whole."""

    file: str
    offset: int
    bytes: int


class Segment:
    """One file of the event log: its frames, which go on from each other, and what is torn at its end.

    EventLogDiffers where it is damaged.
    """

    def __init__(self, path: Path, data: bytes, *, is_last: bool) -> None:
        self.path = path
        self.torn: Torn | None = None
        self.frames: list[Frame] = []
        header = read_header(data)
        opening = None if header is None else frame_at(data, HEADER_BYTES, header.seed)
        numbers = None if opening is None else read_numbers(opening)
        if header is None or opening is None or numbers is None:
            self.end_at(data, 0, 0 if header is None else header.seed, is_last=is_last)
            return
        if not is_header_of(header, path):
            raise EventLogDiffers(path, 0, "it is no event log of this version, or has another's name")
        self.first_seq = header.first_seq
        self.numbers = {account: number for account, number in enumerate(numbers) if number}
        scan = Scan(header, numbers, {}, header.first_seq - 1, opening.end)
        for frame in frames(data, opening.end, header.seed):
            if not scan.extend(frame):
                raise EventLogDiffers(path, frame.offset, f"what command {scan.last_seq + 1} said must follow")
            self.frames.append(frame)
        if data[scan.end :].strip(b"\0"):
            self.end_at(data, scan.end, header.seed, is_last=is_last)

    def end_at(self, data: bytes, end: int, seed: int, *, is_last: bool) -> None:
        """What follows is a torn tail, or hides what is whole."""
        later = frame_after(data, end, seed)
        if later is not None or not is_last:
            follows = "another segment" if later is None else f"a whole frame at offset {later}"
            raise EventLogDiffers(self.path, end, f"it is damaged, and {follows} follows")
        self.torn = Torn(str(self.path), end, len(data) - end)


def read_growing(disk: Disk, path: Path) -> Segment:
    """The last segment. It may grow meanwhile, and what is read late in it hides a hole that is filled by then."""
    offset = -1
    while True:
        try:
            return Segment(path, read_all(disk, path), is_last=True)
        except EventLogDiffers as damaged:
            if damaged.offset <= offset:
                raise
            offset = damaged.offset


class Testimony:
    """`begin`, then `take` what the replay says, command by command, then `finish`.

    `first_seq` to `last_seq` are the commands for which the log was compared, and agrees; `events` is how many events
    it has of them.
    """

    def __init__(self, disk: Disk, directory: Path) -> None:
        self.disk = disk
        self.paths = segment_paths(disk, directory)
        self.growing: Segment | EventLogDiffers | None = None
        if self.paths:
            try:
                self.growing = read_growing(disk, self.paths[-1])
            except EventLogDiffers as damaged:
                self.growing = damaged  # to be told in its turn
        self.first_seq = self.last_seq = self.events = 0
        self.pending: list[Record] = []
        self.numbers: Mapping[int, int] = {}
        self.path = directory
        self.frame: Frame | None = None

    @property
    def torn(self) -> Torn | None:
        return self.growing.torn if isinstance(self.growing, Segment) else None

    def begin(self, after_seq: int, numbers: Mapping[int, int]) -> None:
        """The replay goes on behind this command; `numbers` are the accounts' last ones, kept up to date by whoever
        replays, before what `take` is given. EventLogDiffers."""
        self.numbers = numbers
        self.following = self.walk(after_seq)
        self.advance()

    def walk(self, after_seq: int) -> Iterator[tuple[Segment, Frame]]:
        """All frames of which the replay tells something."""
        for path, later in pairwise([*self.paths, None]):
            if path is None or (later is not None and int(later.stem) <= after_seq + 1):
                continue
            segment = self.growing if later is None else Segment(path, read_all(self.disk, path), is_last=False)
            if isinstance(segment, EventLogDiffers):
                raise segment
            if segment is not None:
                yield from ((segment, frame) for frame in segment.frames if frame.last_seq > after_seq)

    def advance(self) -> None:
        segment, self.frame = next(self.following, (None, None))
        if segment is None or self.frame is None:
            return
        self.path, self.segment = segment.path, segment
        if self.first_seq and self.frame.first_seq != self.last_seq + 1:
            raise EventLogDiffers(self.path, 0, f"what command {self.last_seq + 1} said must follow")

    def take(self, record: Record) -> None:
        """What the next command said, by the replay. EventLogDiffers."""
        frame = self.frame
        if frame is None or record.seq < frame.first_seq:
            return
        if record.seq == self.segment.first_seq:
            self.require_numbers(self.segment)
        self.pending.append(record)
        if record.seq == frame.last_seq:
            self.compare(frame)
            self.first_seq = self.first_seq or self.pending[0].seq
            self.last_seq, self.pending = frame.last_seq, []
            self.advance()

    def require_numbers(self, segment: Segment) -> None:
        if segment.numbers != {account: number for account, number in self.numbers.items() if number}:
            raise EventLogDiffers(segment.path, HEADER_BYTES, "the accounts' last numbers before it are others")

    def finish(self, last_seq: int) -> None:
        """The journal ends here, so the log, which was looked at before, must not go on. EventLogDiffers."""
        if self.frame is not None:
            why = f"it holds what command {self.frame.last_seq} said, but the journal ends at command {last_seq}"
            raise EventLogDiffers(self.path, self.frame.offset, f"{why}: acknowledged commands are missing")

    def compare(self, frame: Frame) -> None:
        try:
            _, raw = SPANS.decode(frame.payload)
            if bytes(raw) != ENCODER.encode(self.pending):
                _, found = RECORDS.decode(frame.payload)
                self.require_equal(frame, found)
        except msgspec.MsgspecError as problem:
            raise EventLogDiffers(self.path, frame.offset, f"it holds what is no event: {problem}") from None
        self.events += sum(len(record.events) for record in self.pending)

    def require_equal(self, frame: Frame, found: list[Record]) -> None:
        """The same, if perhaps written otherwise, by an earlier version. The replay may begin within the frame."""
        expected = {record.seq: record for record in self.pending}
        for record in found:
            if record.seq >= self.pending[0].seq and record != expected.pop(record.seq, None):
                raise EventLogDiffers(self.path, frame.offset, f"it has other events of command {record.seq}")
        for seq in expected:
            raise EventLogDiffers(self.path, frame.offset, f"what command {seq} said is missing")
