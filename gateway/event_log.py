"""The event log: what was said to each account, by number. Derived from the journal, and rebuilt from it.

Feeds resume from it, and a reader outside (the projector) may tail it. It is written after the commit, never synced,
and repaired at start: what is torn, damaged or beyond the journal's end is cut off, and the replay of the journal fills
in what is missing. So it needs no care on the way of an order, and is written lazily: what is added waits for a full
frame, for the next beat, or for a reader.

One file, `DATA/events/00000000000000000001.events`, in the form of `frames.py`. A payload is a msgpack array of

    accounts   [account, first number, last number, offset of the previous frame with events of this account or 0] ...
    records    [journal seq, time_ns, [private event ...]] ... one for each command, in order, with or without events

An account's frames are thus a chain that leads backwards. In memory there is, for each account, the newest frame and
every SPACING-th event's frame, where a reader steps in:

    anchors   1 ............ 65 ............ 129 ...... newest
    chain     [1..9] ◀─ [10..40] ◀─ [41..66] ◀─ ... ◀─ [150..152]

so that reading any N events costs at most N + SPACING frames, however many events of others lie between.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeGuard

import msgspec
import structlog
from msgspec import Struct

from engine import events as said
from engine.events import Event, PrivateEvent
from gateway.disk import LOCAL_DISK, Disk, write_all
from gateway.frames import (
    FRAME_BYTES,
    HEADER_BYTES,
    Frame,
    Header,
    frame_at,
    frame_bytes,
    header_bytes,
    new_header,
    payload_length,
    read_header,
)

MAGIC = b"OUTCRYE\n"
VERSION = 1
NAME = "00000000000000000001.events"
SPACING = 64  # events between two anchors of an account
FRAME_RECORDS = 128  # in one frame, so that stepping through a chain decodes little
READ_LIMIT = 256  # events in one read, whatever was asked for
READ_AHEAD_BYTES = 8 << 10  # most frames are read at once

PRIVATE = frozenset(
    {
        said.OrderAccepted,
        said.OrderRejected,
        said.OrderFilled,
        said.OrderCancelled,
        said.CancelRejected,
        said.OrderReplaced,
        said.ReplaceRejected,
        said.OrderExpired,
        said.PositionUpdated,
    }
)
log = structlog.get_logger()


def is_private(event: Event) -> TypeGuard[PrivateEvent]:
    return type(event) in PRIVATE


def private(events: Iterable[Any]) -> list[PrivateEvent]:
    """Those events that have an account and a number."""
    return [event for event in events if type(event) in PRIVATE]  # inlined, because every order passes here


class Record(Struct, frozen=True, gc=False, array_like=True):
    """What one command said in private."""

    seq: int
    time_ns: int
    events: Sequence[PrivateEvent]


class Numbered(Struct, frozen=True, gc=False):
    """One event of an account's feed, and the command that caused it."""

    number: int
    journal_seq: int
    time_ns: int
    event: PrivateEvent


# The events of one account in one frame: account, first and last number, and the offset of the frame before with any.
Span = tuple[int, int, int, int]


class Chain(Struct):
    """What is remembered of one account: `anchors[k]` is the offset of the frame with its event k * SPACING + 1."""

    last: int = 0
    newest: int = 0
    anchors: array[int] = msgspec.field(default_factory=lambda: array("Q"))

    def anchor(self, last: int, offset: int) -> None:
        """The frame at `offset` holds the events up to `last`, among them some to step in at."""
        while len(self.anchors) * SPACING < last:
            self.anchors.append(offset)

    def entry(self, number: int) -> int:
        """The offset of the frame with event `number`, or of one at most SPACING events behind it."""
        newest, anchor = self.newest, -(-(number - 1) // SPACING)
        return self.anchors[anchor] if anchor < len(self.anchors) else newest


ENCODER = msgspec.msgpack.Encoder()
SPANS = msgspec.msgpack.Decoder(tuple[list[Span], msgspec.Raw])
RECORDS = msgspec.msgpack.Decoder(tuple[list[Span], list[Record]])


class JournalBehind(Exception):
    """The event log knows of commands that the journal does not have."""

    def __init__(self, path: Path, seq: int, last_seq: int) -> None:
        super().__init__(
            f"{path} holds what command {seq} said, but the journal ends at command {last_seq}: acknowledged commands"
            " are missing. Restore the journal, or remove the event log to go on without them"
        )
        self.path = path


class EventLogDamaged(Exception):
    """The event log is not what was written. The next start repairs it."""


class EventLog:
    """`append` is for one thread; `read` may run in others at the same time."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self.disk = disk
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.header = new_header(MAGIC, VERSION, 1)
        self.seed = self.header.seed
        self.end = 0
        self.buffer: list[Record] = []
        self.last_seq = 0
        self.chains: dict[int, Chain] = {}

    @classmethod
    def open(cls, directory: Path, last_seq: int, *, strict: bool = False, disk: Disk | None = None) -> EventLog:
        """Find what is there, and keep what is whole and not beyond the journal's `last_seq`. OSError.

        It is written after the commit. So where commits are synced, `strict`, one that goes on beyond the journal
        proves that the journal has lost what was acknowledged: JournalBehind, and nothing is changed.
        """
        directory.mkdir(parents=True, exist_ok=True)
        event_log = cls(directory / NAME, disk or LOCAL_DISK)
        with event_log.path.open("rb") as file:
            header = read_header(file.read(HEADER_BYTES))
            if header is None or header.magic != MAGIC or header.version != VERSION:
                event_log.start()
            else:
                event_log.scan(file, header, last_seq, strict)
        return event_log

    def start(self) -> None:
        """Throw away what is there, if anything; the replay of the journal will fill in."""
        size = os.fstat(self.fd).st_size
        if size:
            log.warning("event_log_rebuilt", path=str(self.path), bytes=size)
        os.ftruncate(self.fd, 0)
        write_all(self.disk, self.fd, header_bytes(self.header), 0)
        self.end = HEADER_BYTES

    def scan(self, file: BufferedReader, header: Header, last_seq: int, strict: bool) -> None:
        """Remember what is whole and known to the journal, and cut off the rest."""
        self.header, self.seed, self.end = header, header.seed, HEADER_BYTES
        while frame := next_frame(file, self.seed):
            if strict and frame.last_seq > last_seq:
                raise JournalBehind(self.path, frame.last_seq, last_seq)
            spans = self.continuation(frame, last_seq)
            if spans is None:
                break
            self.extend(spans, frame.last_seq, self.end + FRAME_BYTES + len(frame.payload))
        dropped = os.fstat(self.fd).st_size - self.end
        if dropped:
            log.warning("event_log_tail_dropped", path=str(self.path), offset=self.end, bytes=dropped)
            os.ftruncate(self.fd, self.end)

    def continuation(self, frame: Frame, last_seq: int) -> list[Span] | None:
        """What a frame says of its accounts; None where it does not go on from what is remembered."""
        if not self.last_seq < frame.first_seq <= frame.last_seq <= last_seq:
            return None
        try:
            spans, _ = SPANS.decode(frame.payload)
        except msgspec.MsgspecError:
            return None
        whole = all(first == self.last_number(account) + 1 for account, first, _, _ in spans)
        return spans if whole else None

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
        # The last of an account's numbers wins, and the first is the one after what is remembered.
        last_numbers = {event.account: event.number for record in records for event in record.events}
        spans = []
        for account, last in last_numbers.items():
            chain = self.chains.get(account) or NO_CHAIN
            spans.append((account, chain.last + 1, last, chain.newest))
        first_seq, last_seq = records[0].seq, records[-1].seq
        frame = frame_bytes(self.seed, first_seq, last_seq, ENCODER.encode((spans, records)))
        write_all(self.disk, self.fd, frame, self.end)
        self.extend(spans, last_seq, self.end + len(frame))

    def extend(self, spans: list[Span], last_seq: int, end: int) -> None:
        """Remember the frame from the present end to `end`, which is written."""
        chains, offset = self.chains, self.end
        for account, first, last, _ in spans:
            chain = chains.get(account)
            if chain is None:
                chain = chains[account] = Chain()
            if (first - 1) // SPACING != (last - 1) // SPACING or first % SPACING == 1:
                chain.anchor(last, offset)
            chain.newest = offset
            chain.last = last  # last of all: a reader in another thread goes by it
        self.end = end
        self.last_seq = last_seq

    def first_number(self, account: int) -> int:
        """The oldest event that is kept. Nothing is pruned yet."""
        return 1

    def last_number(self, account: int) -> int:
        """The number of the account's last event; 0 where there is none."""
        return (self.chains.get(account) or NO_CHAIN).last

    def read(self, account: int, after: int, limit: int) -> list[Numbered]:
        """The account's events `after` + 1 onwards: at most `limit`, at most READ_LIMIT. EventLogDamaged, OSError."""
        chain = self.chains.get(account) or NO_CHAIN
        last = min(chain.last, after + min(limit, READ_LIMIT))
        if last <= after:
            return []
        parts: list[list[Numbered]] = []
        offset, first = chain.entry(last), last + 1
        while first > after + 1:
            spans, records = RECORDS.decode(self.frame(offset).payload)
            parts.append(numbered(records, account, after, last))
            first, offset = next((first, previous) for holder, first, _, previous in spans if holder == account)
        parts.reverse()
        return [event for part in parts for event in part]

    def frame(self, offset: int) -> Frame:
        data = os.pread(self.fd, READ_AHEAD_BYTES, offset)
        if len(data) == READ_AHEAD_BYTES:
            missing = FRAME_BYTES + payload_length(data) - len(data)
            data += os.pread(self.fd, max(missing, 0), offset + len(data))
        frame = frame_at(data, 0, self.seed)
        if frame is None:
            raise EventLogDamaged(f"{self.path} has changed at offset {offset} since it was opened")
        return frame

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


NO_CHAIN = Chain()


def next_frame(file: BufferedReader, seed: int) -> Frame | None:
    """The frame at the file's position, which moves behind it; None where there is no whole one."""
    lead = file.read(FRAME_BYTES)
    if len(lead) < FRAME_BYTES:
        return None
    return frame_at(lead + file.read(payload_length(lead)), 0, seed)


def numbered(records: Sequence[Record], account: int, after: int, last: int) -> list[Numbered]:
    return [
        Numbered(event.number, record.seq, record.time_ns, event)
        for record in records
        for event in record.events
        if event.account == account and after < event.number <= last
    ]
