from __future__ import annotations

import os
import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from engine import events as said
from engine.events import PrivateEvent
from engine.order import Liquidity, OrderStatus
from engine.reject import Refusal, RejectReason
from gateway import event_segments
from gateway.disk import Disk, LocalDisk
from gateway.event_log import EventLog
from gateway.event_records import PRIVATE, Numbered, Record, is_private, private
from gateway.event_segments import EventLogDamaged
from gateway.frames import HEADER_BYTES, Frame, frames, read_header

TIME_NS = 1_705_314_645_000_000_000
HANG_GUARD_S = 20
AHEAD = 0  # no space ahead: most of these logs are opened many times


class Story:
    """Batches of records in which accounts are talked to at random, and what each was told."""

    def __init__(self, seed: int = 1, *, accounts: int = 5, largest_batch: int = 5) -> None:
        self.random = random.Random(seed)
        self.accounts = accounts
        self.largest_batch = largest_batch
        self.seq = 0
        self.told: dict[int, list[Numbered]] = defaultdict(list)

    def batch(self) -> list[Record]:
        return [self.record() for _ in range(self.random.randint(1, self.largest_batch))]

    def record(self) -> Record:
        self.seq += 1
        events = [self.event() for _ in range(self.random.choice((0, 1, 1, 2, 5)))]
        return Record(self.seq, TIME_NS + self.seq, events)

    def event(self) -> PrivateEvent:
        account = min(self.random.randint(1, self.accounts) for _ in range(2))
        number = len(self.told[account]) + 1
        event = said.PositionUpdated(account, number, "SPX_4500_CALL", self.random.randint(-50, 50))
        self.told[account].append(Numbered(number, self.seq, TIME_NS + self.seq, event))
        return event

    def holds(self, event_log: EventLog) -> bool:
        return all(
            read_all(event_log, account) == told and event_log.last_number(account) == len(told)
            for account, told in self.told.items()
        )


def read_all(event_log: EventLog, account: int, limit: int = 1_000) -> list[Numbered]:
    found: list[Numbered] = []
    while more := event_log.read(account, len(found), limit):
        found += more
    return found


def open_log(directory: Path, last_seq: int) -> EventLog:
    event_log = EventLog.open(directory, last_seq, ahead=AHEAD)
    assert event_log.last_seq <= last_seq
    return event_log


@pytest.fixture
def written(tmp_path: Path) -> Iterator[tuple[Story, list[list[Record]], EventLog]]:
    """A log of eight small batches, and what went in."""
    story = Story()
    batches = [story.batch() for _ in range(8)]
    event_log = open_log(tmp_path, 0)
    for batch in batches:
        event_log.append(batch)
    yield story, batches, event_log
    event_log.close()


Written = tuple[Story, list[list[Record]], EventLog]


def test_each_account_reads_its_own_events_by_number(written: Written) -> None:
    story, _, event_log = written
    assert story.holds(event_log)
    told = story.told[1]
    assert event_log.read(1, 3, 4) == told[3:7]
    assert event_log.read(1, len(told) - 1, 10) == told[-1:]
    assert event_log.read(1, len(told), 10) == []
    assert event_log.read(99, 0, 10) == []
    assert (event_log.first_number(1), event_log.last_number(1)) == (1, len(told))
    assert (event_log.first_number(99), event_log.last_number(99)) == (1, 0)


def test_every_kind_of_private_event_comes_back_as_it_was(tmp_path: Path) -> None:
    refusal = Refusal(RejectReason.INSUFFICIENT_FUNDS, "±", {"required_balance": 5}, {"a": "b", "c": ["d", "e"]})
    filled = (OrderStatus.FILLED, Liquidity.MIXED, -20_000_000)
    events: list[PrivateEvent] = [
        said.OrderAccepted(1, 1, 12345, "a", "AAPL", 1, 1, 3, 10**9, None, 2**63 - 1),
        said.OrderRejected(1, 2, "b", "NOPE", refusal),
        said.OrderFilled(1, 3, 12345, "a", 7, "AAPL", 2, 1, 2, 0, *filled),
        said.OrderCancelled(1, 4, 12345, "a", 10**9, "no_liquidity"),
        said.CancelRejected(1, 5, 0, "x", "not_found"),
        said.OrderReplaced(1, 6, 12345, "a", 2, None, 1),
        said.ReplaceRejected(1, 7, 12345, "a", refusal),
        said.OrderExpired(1, 8, 12345, "a", 1),
        said.PositionUpdated(1, 9, "AAPL", -5),
    ]
    event_log = open_log(tmp_path, 0)
    event_log.append([Record(1, TIME_NS, events)])
    assert [found.event for found in event_log.read(1, 0, 100)] == events
    assert {type(event) for event in events} == PRIVATE
    event_log.close()


def test_only_events_with_an_account_and_a_number_are_private() -> None:
    update = said.PositionUpdated(1, 1, "AAPL", 1)
    outcome = said.AdminOutcome(1)
    public = said.TradePrinted("AAPL", 1, 1, 1, 1, 1), said.BookChanged("AAPL", 2, ())
    assert private([update, *public, outcome]) == [update]
    assert is_private(update)
    assert not is_private(outcome)


def test_a_restart_holds_what_was_written_and_goes_on(tmp_path: Path, written: Written) -> None:
    story, _, _ = written
    for _ in range(5):
        event_log = open_log(tmp_path, story.seq)
        assert event_log.last_seq == story.seq
        event_log.append(story.batch())
        assert story.holds(event_log)
        event_log.close()


def test_replay_fills_in_what_is_missing_and_nothing_twice(tmp_path: Path, written: Written) -> None:
    story, batches, _ = written
    records = [record for batch in batches for record in batch]
    for last_seq in range(story.seq + 1):
        event_log = open_log(tmp_path, last_seq)
        assert event_log.last_seq in {0, *(batch[-1].seq for batch in batches)}
        event_log.append(records)
        assert event_log.last_seq == story.seq
        assert story.holds(event_log)
        event_log.close()


def test_what_the_journal_does_not_know_is_cut_off(tmp_path: Path, written: Written) -> None:
    _, batches, _ = written
    event_log = open_log(tmp_path, batches[3][-1].seq)
    known = {e.account: e.number for batch in batches[:4] for r in batch for e in r.events}
    assert {account: event_log.last_number(account) for account in range(1, 6)} == {
        account: known.get(account, 0) for account in range(1, 6)
    }
    event_log.close()


def damaged_copies(data: bytes) -> Iterator[bytes]:
    for size in range(0, len(data), 3):
        yield data[:size]
    for bit in range(0, len(data) * 8, 5):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)
    yield b"OUTCRYE\n" + bytes(3)
    yield bytes(len(data))


def test_whatever_the_damage_the_replay_repairs_it(tmp_path: Path, written: Written) -> None:
    story, batches, original = written
    records = [record for batch in batches for record in batch]
    for data in damaged_copies(original.path.read_bytes()):
        with original.path.open("r+b") as file:
            file.write(data)
            file.truncate(len(data))
        event_log = open_log(tmp_path, story.seq)
        event_log.append(records)
        assert story.holds(event_log)
        event_log.close()


@pytest.mark.parametrize("version", [1, 3])
def test_a_log_of_another_version_is_thrown_away(
    tmp_path: Path, written: Written, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    story, batches, _ = written
    monkeypatch.setattr(event_segments, "VERSION", version)
    event_log = open_log(tmp_path, story.seq)
    assert event_log.last_seq == 0
    for batch in batches:
        event_log.append(batch)
    assert story.holds(event_log)
    event_log.close()


def test_a_batch_is_one_write_and_is_never_synced(tmp_path: Path) -> None:
    class CountingDisk(LocalDisk):
        writes = 0

        def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
            self.writes += 1
            return super().write(fd, data, offset)

        def sync(self, fd: int) -> None:
            raise AssertionError("the event log is derived: it is not synced")

    disk = CountingDisk()
    event_log = EventLog.open(tmp_path, 0, disk=disk)
    story = Story(largest_batch=100)
    disk.writes = 0
    for _ in range(3):
        event_log.append(story.batch())
    assert disk.writes == 3
    event_log.close()


def test_large_batches_and_long_chains_read_as_they_were_written(tmp_path: Path) -> None:
    story = Story(2, accounts=40, largest_batch=700)
    event_log = open_log(tmp_path, 0)
    for _ in range(30):
        event_log.append(story.batch())
    assert story.holds(event_log)
    for account, told in story.told.items():
        for after in range(0, len(told), 17):
            assert event_log.read(account, after, 33) == told[after : after + 33]
    again = open_log(tmp_path, story.seq)
    assert story.holds(again)
    event_log.close()
    again.close()


@pytest.mark.parametrize("limit", [1, 10, 1_000_000])
def test_a_read_s_work_is_bounded_however_much_lies_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    event_log = open_log(tmp_path, 0)
    numbers: dict[int, int] = defaultdict(int)
    for seq in range(1, 3_001):
        account = 1 if seq % 5 == 0 else 2
        numbers[account] += 1
        event_log.append([Record(seq, seq, [said.PositionUpdated(account, numbers[account], "AAPL", 0)])])
    read_frame, touched = event_segments.read_frame, list[int]()

    def counted(disk: Disk, fd: int, path: Path, seed: int, offset: int) -> Frame:
        touched.append(offset)
        return read_frame(disk, fd, path, seed, offset)

    monkeypatch.setattr(event_segments, "read_frame", counted)
    for after in (0, 1, 64, 299, 300, 555, 599):
        touched.clear()
        found = event_log.read(1, after, limit)
        assert [event.number for event in found] == list(range(after + 1, min(after + limit, after + 256, 600) + 1))
        assert len(touched) <= len(found) + 64
    event_log.close()


def test_memory_holds_one_offset_for_64_events(tmp_path: Path) -> None:
    event_log = open_log(tmp_path, 0)
    for seq in range(1, 1_001):
        event_log.append([Record(seq, seq, [said.PositionUpdated(1, seq, "AAPL", 0)])])
    assert len(event_log.growing.chains[1].anchors or ()) == 15
    event_log.close()


def test_a_thread_reads_while_the_loop_writes(tmp_path: Path) -> None:
    event_log = open_log(tmp_path, 0)
    story = Story(3, accounts=2)
    found: dict[int, list[Numbered]] = {1: [], 2: []}
    finished = threading.Event()

    def follow() -> None:
        while True:
            last_look = finished.is_set()
            for account, events in found.items():
                while more := event_log.read(account, len(events), 7):
                    events += more
            if last_look:
                return

    reader = threading.Thread(target=follow)
    reader.start()
    for _ in range(400):
        event_log.append(story.batch())
    finished.set()
    reader.join(HANG_GUARD_S)
    assert not reader.is_alive()
    assert found == {account: story.told[account] for account in (1, 2)}
    event_log.close()


def test_damage_in_use_is_told_and_never_read(tmp_path: Path, written: Written) -> None:
    _, _, event_log = written
    data = bytearray(event_log.path.read_bytes())
    data[HEADER_BYTES + 40] ^= 1
    with event_log.path.open("r+b") as file:
        file.write(data)
    with pytest.raises(EventLogDamaged):
        event_log.read(1, 0, 100)


def test_a_failed_write_is_raised_and_not_remembered(tmp_path: Path) -> None:
    class FullDisk(LocalDisk):
        full = False

        def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
            if self.full:
                os.pwrite(fd, data[:10], offset)
                raise OSError(28, "No space left on device")
            return super().write(fd, data, offset)

    disk, story = FullDisk(), Story()
    event_log = EventLog.open(tmp_path, 0, disk=disk)
    batches = [story.batch() for _ in range(2)]
    event_log.append(batches[0])
    before = (event_log.last_seq, event_log.last_number(1))
    disk.full = True
    with pytest.raises(OSError, match="No space left"):
        event_log.append(batches[1])
    assert (event_log.last_seq, event_log.last_number(1)) == before
    event_log.close()
    event_log = open_log(tmp_path, story.seq)
    event_log.append([*batches[0], *batches[1]])
    assert story.holds(event_log)
    event_log.close()


def test_the_form_on_disk_is_the_one_that_is_documented(written: Written) -> None:
    """A reader outside goes by it: frames of spans and records, and each account's chain of frames."""
    _, batches, event_log = written
    data = event_log.path.read_bytes()
    header = read_header(data)
    assert header is not None
    assert (header.magic, header.version, header.first_seq) == (b"OUTCRYE\n", 2, 1)
    newest: dict[int, int] = {}
    opening, *found = frames(data, HEADER_BYTES, header.seed)
    assert msgspec.msgpack.decode(opening.payload) == b""
    for frame, batch in zip(found, batches, strict=True):
        spans, records = event_segments.RECORDS.decode(frame.payload)
        assert [structs.astuple(record) for record in records] == [structs.astuple(record) for record in batch]
        assert {account: previous for account, _, _, previous in spans} == {
            account: newest.get(account, 0) for account in {e.account for r in batch for e in r.events}
        }
        newest.update(dict.fromkeys((account for account, *_ in spans), frame.offset))
