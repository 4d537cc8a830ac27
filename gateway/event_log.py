"""The event log: what was said to each account, by number. Derived from the journal, and rebuilt from it.

Feeds resume from it, and a reader outside (the projector) may tail it. It is written after the commit, never synced,
and repaired at start: what is torn, damaged or beyond the journal's end is cut off, and the replay of the journal fills
in what is missing. So it needs no care on the way of an order, and is written lazily: what is added waits for a full
frame, for the next beat, or for a reader.

    segments   [sealed] [sealed] [sealed] [growing ...... | space ahead]      form: `event_segments.py`
                                    │
    a read:    the segment whose numbers begin before it ─▶ its chain of the account ─▶ frames

Each segment begins with every account's last number before it, so that the one that holds an event is found by halving,
and what is before the first one kept is known not to be. A start scans only the segment that grows, and looks whether
the others are as long as they were; their indexes are loaded when they are read, a few at a time.

What the log serves has no hole. Where it is found to have one, it ends before the hole, if replay can go on from there;
else it begins behind it, and the numbers before are no longer kept.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import structlog

from gateway.disk import DRAFT, LOCAL_DISK, Disk, is_full, read_all
from gateway.event_chains import Chain, Numbers, Span, number_of
from gateway.event_records import Numbered, Record
from gateway.event_segments import (
    INDEX_SUFFIX,
    SUFFIX,
    EventLogDamaged,
    Growing,
    Sealed,
    index_path,
    read_events,
    scan,
)
from gateway.event_survey import Found, survey, unbroken

SEGMENT_BYTES = 32 << 20
AHEAD_BYTES = 4 << 20
FRAME_RECORDS = 128  # in one frame, so that stepping through a chain decodes little
READ_LIMIT = 256  # events in one read, whatever was asked for
NUMBERS_CACHED = 16  # segments whose first frame is in memory: as many as one search looks at, and a few
INDEXES_CACHED = 8

log = structlog.get_logger()


class JournalBehind(Exception):
    """The event log knows of commands that the journal does not have."""

    def __init__(self, path: Path, seq: int, last_seq: int) -> None:
        super().__init__(
            f"{path} holds what command {seq} said, but the journal ends at command {last_seq}: acknowledged commands"
            " are missing. Restore the journal, or remove the event log to go on without them"
        )
        self.path = path


class NoLongerKept(Exception):
    """The events that were asked for have been deleted."""


class EventLog:
    """`append` and what else changes it are for one thread; `read` may run in others at the same time.

    `last_seq` is the last command that it knows of. `is_short` and `room` are as the journal's.
    """

    segments: tuple[Sealed | Growing, ...]  # replaced as a whole, so that a reader may go on with what it has got
    growing: Growing

    def __init__(self, directory: Path, segment_bytes: int, ahead: int, disk: Disk) -> None:
        self.directory = directory
        self.segment_bytes = segment_bytes
        self.ahead = ahead
        self.disk = disk
        self.buffer: list[Record] = []
        self.first_numbers: Numbers = array("Q")  # before all that is kept
        self.last_numbers: Numbers = array("Q")
        self.is_short = False
        self.numbers_of = lru_cache(NUMBERS_CACHED)(Sealed.numbers)
        self.index_of = lru_cache(INDEXES_CACHED)(Sealed.index)

    @classmethod
    def open(
        cls,
        directory: Path,
        last_seq: int,
        *,
        strict: bool = False,
        replay_after: int = 0,
        segment_bytes: int | None = None,
        ahead: int = AHEAD_BYTES,
        disk: Disk | None = None,
    ) -> EventLog:
        """Find what is there, and keep what is whole and not beyond the journal's `last_seq`. OSError.

        It is written after the commit. So where commits are synced, `strict`, one that goes on beyond the journal
        proves that the journal has lost what was acknowledged: JournalBehind, and nothing is changed.

        `replay_after` is the oldest command after which a replay can start. Where the log is damaged behind that, all
        from there on is dropped, to be filled in: `last_seq` says from where. `begin` must follow.
        """
        event_log = cls(directory, segment_bytes or SEGMENT_BYTES, ahead, disk or LOCAL_DISK)
        found = survey(event_log.disk, directory, last_seq)
        beyond = next((segment for segment in found if segment.beyond), None)
        if strict and beyond is not None:
            raise JournalBehind(beyond.path, beyond.beyond, last_seq)
        event_log.keep([segment for segment in found if segment.first_seq <= last_seq + 1], replay_after)
        if beyond is not None:
            event_log.settle()
        return event_log

    # What is there

    def keep(self, found: list[Found], replay_after: int) -> None:
        """Delete what does not belong to an unbroken log, and go on at the end of what does."""
        run = unbroken(found, replay_after)
        while run and not (self.begins_whole(run[0]) and self.begins_whole(run[-1])):
            run = unbroken(found, replay_after)
        kept = {segment.path.name for segment in run}
        kept |= {index_path(segment.path).name for segment in run[:-1]}
        for name in self.disk.names(self.directory):
            if name not in kept and name.endswith((SUFFIX, INDEX_SUFFIX, DRAFT)):
                if name.endswith(SUFFIX):
                    log.warning("event_log_segment_dropped", path=str(self.directory / name))
                self.disk.remove(self.directory / name)
        if run:
            self.resume(run)
        else:
            self.start(1, array("Q"))

    def settle(self) -> None:
        """Let no loss of power bring back what was cut off: other commands will have its place in the journal."""
        self.growing.file.make_durable()

    def begins_whole(self, segment: Found) -> bool:
        """Whether it can be told which numbers are before it; if not, it is not usable."""
        if segment.sealed is not None:
            try:
                self.numbers_of(segment.sealed)
            except EventLogDamaged:
                segment.sealed = None
        return segment.is_usable

    def resume(self, run: list[Found]) -> None:
        last = run[-1]
        found = last.scan or scan(last.path, read_all(self.disk, last.path), last.last_seq)
        if found is None:
            raise EventLogDamaged(last.path, 0)
        self.last_numbers = array("Q", found.numbers)
        for account, chain in found.chains.items():
            self.count(account, chain.last)
        self.growing = Growing.resume(self.disk, last.path, found, self.ahead)
        self.is_short = self.growing.file.is_short
        self.segments = (*(segment.sealed for segment in run[:-1] if segment.sealed), self.growing)
        self.first_numbers = self.numbers_before(self.segments[0])

    def start(self, first_seq: int, numbers: Numbers) -> None:
        """Hold nothing, and go on with `first_seq`."""
        self.growing = Growing.start(self.disk, self.directory, first_seq, numbers, self.ahead)
        self.first_numbers, self.last_numbers = numbers, array("Q", numbers)
        self.segments = (self.growing,)

    def begin(self, after_seq: int, numbers: Iterable[tuple[int, int]]) -> None:
        """A replay starts after this command, when these were the accounts' last numbers.

        Where the log ends before that, what is between is lost to it, and what is before is no longer kept.
        """
        if after_seq <= self.last_seq:
            return
        if self.last_seq:
            log.warning("event_log_begins_later", path=str(self.directory), last_seq=self.last_seq, after_seq=after_seq)
        gone = self.segments
        self.growing.file.close()
        self.last_numbers = array("Q")
        for account, number in numbers:
            self.count(account, number)
        self.start(after_seq + 1, array("Q", self.last_numbers))
        self.remove(gone)

    # What is added

    @property
    def path(self) -> Path:
        """The file that is written to."""
        return self.growing.path

    @property
    def last_seq(self) -> int:
        return self.growing.last_seq

    @property
    def room(self) -> int:
        """Bytes that can be written whatever becomes of the disk's free space."""
        return self.growing.file.room

    def add(self, records: Sequence[Record]) -> None:
        """Take the records of a durable batch; they are written with others, or by `flush`. OSError."""
        self.buffer.extend(records)
        if len(self.buffer) >= FRAME_RECORDS:
            self.flush()

    def flush(self) -> None:
        """Write what was added: readers may see it from now on. OSError."""
        if self.buffer:
            records, self.buffer = self.buffer, []
            self.append(records)

    def append(self, records: Sequence[Record]) -> None:
        """Write the records of one batch; those that are there already are passed over. OSError."""
        if records and records[0].seq <= self.last_seq:
            records = [record for record in records if record.seq > self.last_seq]
        for start in range(0, len(records), FRAME_RECORDS):
            self.write(records[start : start + FRAME_RECORDS])

    def write(self, records: Sequence[Record]) -> None:
        first_seq = records[0].seq
        if first_seq != self.last_seq + 1:
            raise ValueError(f"what command {self.last_seq + 1} said must follow, not what {first_seq} did")
        if self.growing.file.end >= self.segment_bytes and self.last_seq >= self.growing.header.first_seq:
            self.rotate(first_seq)
        growing = self.growing
        chains, numbers = growing.chains, self.last_numbers
        # The last of an account's numbers wins, and the first is the one after what is remembered.
        lasts = {event.account: event.number for record in records for event in record.events}
        spans: list[Span] = []
        for account, last in lasts.items():
            chain = chains.get(account)
            newest = 0 if chain is None else chain.newest
            spans.append((account, number_of(numbers, account) + 1, last, newest))
        growing.append(spans, records)
        for account, last in lasts.items():
            self.count(account, last)
        if growing.file.room < self.ahead // 2:
            self.find_room()

    def count(self, account: int, number: int) -> None:
        numbers = self.last_numbers
        if account >= len(numbers):
            numbers.extend([0] * (account + 1 - len(numbers)))
        numbers[account] = number

    def find_room(self) -> None:
        """Look for space ahead. OSError where that fails for another reason than a full disk."""
        self.growing.file.allocate()
        self.is_short = self.growing.file.is_short

    def rotate(self, first_seq: int) -> None:
        """Go on in a new segment with command `first_seq`, if there is room for one; else in this one while it has."""
        try:
            growing = Growing.start(self.disk, self.directory, first_seq, array("Q", self.last_numbers), self.ahead)
        except OSError as problem:
            if not is_full(problem):
                raise
            self.is_short = True
            return
        self.segments = (*self.segments[:-1], self.growing.seal(), growing)
        self.growing = growing

    def prune(self, before_seq: int) -> None:
        """Delete the segments that hold nothing of command `before_seq` or after it. EventLogDamaged, OSError."""
        segments = self.segments
        is_kept = (segment is self.growing or segment.last_seq >= before_seq for segment in segments)
        count = [*is_kept].index(True)
        if count:
            self.first_numbers = self.numbers_before(segments[count])
            self.segments = segments[count:]
            self.remove(segments[:count])

    def remove(self, segments: Iterable[Sealed | Growing]) -> None:
        for segment in segments:
            with suppress(FileNotFoundError):
                self.disk.remove(index_path(segment.path))
            self.disk.remove(segment.path)

    # What is read

    def first_number(self, account: int) -> int:
        """The oldest event that is kept; the one after the last, where none is."""
        return number_of(self.first_numbers, account) + 1

    def last_number(self, account: int) -> int:
        """The number of the account's last event; 0 where there is none."""
        return number_of(self.last_numbers, account)

    def read(self, account: int, after: int, limit: int) -> list[Numbered]:
        """The account's events `after` + 1 onwards: at most `limit`, at most READ_LIMIT, and at least one if there is.

        NoLongerKept, EventLogDamaged, OSError.
        """
        last = self.last_number(account)  # before all else: what is counted is in the segments that are found then
        segments = self.segments
        if last <= after:
            return []
        try:
            return self.read_from(segments, account, after, min(limit, READ_LIMIT))
        except (EventLogDamaged, FileNotFoundError) as problem:
            if segments[0] is not self.segments[0]:  # it has been deleted meanwhile
                return self.read(account, after, limit)
            raise self.suspect(problem) from None

    def read_from(self, segments: tuple[Sealed | Growing, ...], account: int, after: int, limit: int) -> list[Numbered]:
        at = bisect_right(segments, after, key=lambda segment: number_of(self.numbers_before(segment), account)) - 1
        if at < 0:
            raise NoLongerKept
        segment = segments[at]
        chain = self.chain(segment, account)
        if chain.last <= after:
            raise EventLogDamaged(segment.path, 0)
        last = min(chain.last, after + limit)
        return read_events(self.disk, segment.path, segment.header.seed, chain, account, after, last)

    def numbers_before(self, segment: Sealed | Growing) -> Numbers:
        return segment.numbers if isinstance(segment, Growing) else self.numbers_of(segment)

    def chain(self, segment: Sealed | Growing, account: int) -> Chain:
        before = number_of(self.numbers_before(segment), account)
        if isinstance(segment, Growing):
            return segment.chains.get(account) or Chain(before, before)
        return self.index_of(segment).chain(account, before)

    def suspect(self, problem: EventLogDamaged | FileNotFoundError) -> EventLogDamaged:
        """Let the next start look closely at the segment that is damaged."""
        path = problem.path if isinstance(problem, EventLogDamaged) else Path(problem.filename)
        with suppress(OSError):
            self.disk.remove(index_path(path))
        return problem if isinstance(problem, EventLogDamaged) else EventLogDamaged(path, 0)

    def close(self) -> None:
        self.growing.file.close()
