from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from engine.commands import (
    AdvanceTime,
    CancelAll,
    CancelOrder,
    Command,
    CreateInvite,
    NewOrder,
    PutAccount,
    PutFeeSchedule,
    PutInstrument,
    PutRiskProfile,
    PutRole,
    PutVenue,
    Register,
    ReplaceOrder,
)
from engine.instrument import FeeSchedule, Instrument, RiskProfile, Role
from gateway.disk import LocalDisk
from gateway.journal import Durability, Journal
from gateway.segments import Entry
from tests.gateway.journals import TIME_NS, committed, entry, make_journal, order, read_journal, write_batches

HANG_GUARD_S = 20


def test_what_was_committed_is_replayed_in_order(tmp_path: Path) -> None:
    make_journal(tmp_path, [1, 3, 2])
    assert read_journal(tmp_path) == [entry(seq) for seq in range(1, 7)]


def test_a_new_journal_is_empty_and_starts_at_command_one(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "journal") == []
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["00000000000000000001.journal"]


def test_every_kind_of_command_comes_back_as_it_was(tmp_path: Path) -> None:
    commands: list[Command] = [
        NewOrder(1, "a", "AAPL", 1, 2, 4, 10**18, None, 2**63 - 1, 3, 2),
        CancelOrder(1, 0, "a"),
        ReplaceOrder(1, 5, "", None, -1),
        CancelAll(1, "AAPL", 2),
        AdvanceTime(),
        PutInstrument(Instrument("BTC/USDT", 10_000_000, 10_000, "USDT", "BTC", True, None, 10_000_000_000)),
        PutFeeSchedule(FeeSchedule("standard", -20_000_000, 30_000_000)),
        PutRiskProfile(RiskProfile("unlimited", True)),
        PutRole(Role("trader", "standard", "standard", {"USD": 10**15}, False)),
        PutVenue("invite", 5),
        PutAccount("demo", "trader", "unlimited", bytes(range(32)), {"USD": 1}),
        Register("Jürgen ±", "trader", b"k" * 32, b"i" * 32),
        CreateInvite(b"i" * 32, "retail"),
    ]
    journal = Journal.open(tmp_path, durability=Durability.WRITE)
    for seq, command in enumerate(commands, 1):
        journal.append(seq, TIME_NS, command)
    journal.commit(lambda error: None)
    journal.close()
    assert [found.command for found in read_journal(tmp_path)] == commands


def test_nothing_is_written_before_the_commit(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, durability=Durability.WRITE)
    journal.append(1, TIME_NS + 1, order(1))
    assert read_journal(tmp_path) == []
    journal.commit(lambda error: None)
    assert read_journal(tmp_path) == [entry(1)]
    journal.close()


def test_a_restart_goes_on_where_the_journal_ended(tmp_path: Path) -> None:
    for sizes in ([2], [1, 1], [3]):
        make_journal(tmp_path, sizes)
    assert read_journal(tmp_path) == [entry(seq) for seq in range(1, 8)]


def test_segments_begin_at_batch_boundaries_and_are_named_by_their_first_command(tmp_path: Path) -> None:
    paths = make_journal(tmp_path, [3, 3, 3, 3], segment_bytes=200)
    assert [path.name for path in paths] == [f"{seq:020d}.journal" for seq in (1, 4, 7, 10)]
    assert read_journal(tmp_path) == [entry(seq) for seq in range(1, 13)]


def test_a_restart_goes_on_in_the_last_segment(tmp_path: Path) -> None:
    make_journal(tmp_path, [3, 3, 1], segment_bytes=200)
    paths = make_journal(tmp_path, [1, 1], segment_bytes=10_000)
    assert [path.name for path in paths] == [f"{seq:020d}.journal" for seq in (1, 4, 7)]
    assert read_journal(tmp_path) == [entry(seq) for seq in range(1, 10)]


def test_replay_reads_one_segment_at_a_time(tmp_path: Path) -> None:
    make_journal(tmp_path, [3, 3], segment_bytes=200)
    journal = Journal.open(tmp_path, durability=Durability.WRITE)
    replay = journal.replay()
    assert [next(replay).seq for _ in range(3)] == [1, 2, 3]
    (tmp_path / f"{4:020d}.journal").unlink()
    with pytest.raises(FileNotFoundError):
        next(replay)
    journal.close()


def test_an_empty_commit_is_durable_at_once(tmp_path: Path) -> None:
    (path,) = make_journal(tmp_path, [1])
    size = path.stat().st_size
    journal = Journal.open(tmp_path, durability=Durability.WRITE)
    reports: list[BaseException | None] = []
    journal.commit(reports.append)
    assert reports == [None]
    journal.close()
    assert path.stat().st_size == size


class ShortDisk(LocalDisk):
    """Takes a few bytes at a time, as a disk that is nearly full may."""

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(fd, data[:5], offset)


def test_short_writes_are_finished(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, durability=Durability.WRITE, disk=ShortDisk())
    assert write_batches(journal, [2, 2]) == [None, None]
    journal.close()
    assert read_journal(tmp_path) == [entry(seq) for seq in range(1, 5)]


class FailingDisk(LocalDisk):
    """Works `good` times, then fails at every sync, or at every write after half of the bytes."""

    def __init__(self, *, writes: int = 1_000, syncs: int = 1_000) -> None:
        self.writes = writes
        self.syncs = syncs
        self.failures = 0

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        self.writes -= 1
        if self.writes < 0:
            self.failures += 1
            os.pwrite(fd, data[: len(data) // 2], offset)
            raise OSError(28, "No space left on device")
        return super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        self.syncs -= 1
        if self.syncs < 0:
            self.failures += 1
            raise OSError(5, "Input/output error")
        super().sync(fd)


def test_a_failed_write_is_reported_final_and_leaves_a_torn_tail(tmp_path: Path) -> None:
    disk = FailingDisk(writes=2)  # the header, the first batch
    journal = Journal.open(tmp_path, durability=Durability.WRITE, disk=disk)
    first, second, third = write_batches(journal, [1, 1, 1])
    assert first is None
    assert isinstance(second, OSError)
    assert third is second
    assert disk.failures == 1
    journal.close()
    assert read_journal(tmp_path) == [entry(1)]


def test_a_command_that_cannot_be_encoded_fails_the_commit(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, durability=Durability.WRITE)
    journal.append(1, TIME_NS, CancelAll(2**70))
    reports: list[BaseException | None] = []
    journal.commit(reports.append)
    journal.commit(reports.append)
    assert isinstance(reports[0], OverflowError)
    assert reports[1] is reports[0]
    journal.close()
    assert read_journal(tmp_path) == []


async def test_a_failed_sync_is_reported_and_final(tmp_path: Path) -> None:
    disk = FailingDisk()
    journal = Journal.open(tmp_path, durability=Durability.FSYNC, disk=disk)
    journal.append(1, TIME_NS, order(1))
    assert await committed(journal) is None
    disk.syncs = 0
    errors = []
    for seq in (2, 3):
        journal.append(seq, TIME_NS, order(seq))
        errors.append(await committed(journal))
    assert isinstance(errors[0], OSError)
    assert errors[1] is errors[0]
    assert disk.failures == 1, "a failed sync must not be tried again"
    journal.close()


class StalledDisk(LocalDisk):
    """Its syncs wait until they are let go, once it is stalled; `order` is what it was asked to do."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.syncing = threading.Event()
        self.calls: list[str] = []

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        self.calls.append("write")
        return super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        self.syncing.set()
        assert self.go.wait(HANG_GUARD_S)
        self.calls.append("sync")
        super().sync(fd)


async def test_the_loop_runs_on_while_the_disk_syncs(tmp_path: Path) -> None:
    disk = StalledDisk()
    journal = Journal.open(tmp_path, durability=Durability.FSYNC, disk=disk)
    disk.go.clear()
    disk.syncing.clear()
    journal.append(1, TIME_NS, order(1))
    commit = asyncio.ensure_future(committed(journal))
    assert await asyncio.to_thread(disk.syncing.wait, HANG_GUARD_S)
    journal.append(2, TIME_NS, order(2))
    assert not commit.done(), "nothing is durable before its sync"
    disk.go.set()
    assert await commit is None
    assert await committed(journal) is None
    journal.close()
    assert [found.seq for found in read_journal(tmp_path)] == [1, 2]


async def test_in_fsync_each_batch_is_written_and_synced_before_it_is_durable(tmp_path: Path) -> None:
    disk = StalledDisk()
    journal = Journal.open(tmp_path, durability=Durability.FSYNC, disk=disk)
    seen: list[list[str]] = []
    for seq in (1, 2):
        disk.calls.clear()
        journal.append(seq, TIME_NS, order(seq))
        assert await committed(journal) is None
        seen.append(disk.calls.copy())
    journal.close()
    assert seen == [["write", "sync"]] * 2


async def test_a_new_segment_and_its_name_are_on_the_disk_before_a_batch_is(tmp_path: Path) -> None:
    disk = StalledDisk()
    journal = Journal.open(tmp_path, durability=Durability.FSYNC, segment_bytes=1, disk=disk)
    for seq in (1, 2):
        disk.calls.clear()
        journal.append(seq, TIME_NS, order(seq))
        assert await committed(journal) is None
    journal.close()
    # the second sync is that of a name
    header, manifest, batch = ["write", "sync", "sync"], ["write", "sync", "sync"], ["write", "sync"]
    assert disk.calls == [*header, *manifest, *batch]


async def test_what_a_killed_engine_left_is_written_again_and_synced_before_it_is_shown(tmp_path: Path) -> None:
    make_journal(tmp_path, [2])
    disk = StalledDisk()
    journal = Journal.open(tmp_path, durability=Durability.FSYNC, disk=disk)
    assert disk.calls == ["write", "sync", "sync"]
    journal.close()


async def test_close_waits_for_the_batch_in_flight(tmp_path: Path) -> None:
    disk = StalledDisk()
    journal = Journal.open(tmp_path, durability=Durability.FSYNC, disk=disk)
    disk.go.clear()
    journal.append(1, TIME_NS, order(1))
    report: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    journal.commit(report.set_result)
    closing = asyncio.ensure_future(asyncio.to_thread(journal.close))
    disk.go.set()
    await closing
    assert await report is None
    assert disk.calls[-2:] == ["write", "sync"]


async def test_batches_are_durable_in_the_order_of_their_commits(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, durability=Durability.FSYNC)
    done: list[int] = []
    expected: list[Entry] = []
    for seq in range(1, 31):
        journal.append(seq, TIME_NS + seq, order(seq))
        expected.append(entry(seq))
        if seq % 3 == 0:
            assert await committed(journal) is None
            done.append(seq)
    journal.close()
    assert done == list(range(3, 31, 3))
    assert read_journal(tmp_path) == expected
