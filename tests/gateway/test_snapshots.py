"""Snapshots as files, and what a start makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from errno import ENOSPC
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from engine.commands import AdvanceTime, CancelOrder, Command
from engine.exchange import Exchange
from gateway import manifest, snapshots, snapshotter
from gateway.disk import DRAFT, LOCAL_DISK, LocalDisk
from gateway.event_records import Numbered
from gateway.journal import Durability, Journal
from gateway.manifest import Retention
from gateway.recovery import Recovered, SnapshotAhead, recover
from gateway.segments import JournalUnusable, segment_name
from gateway.snapshots import SnapshotDamaged
from tests.engine.flows import HOLDERS, OWNER, Dice, opened
from tests.gateway.journals import TIME_NS

COMMANDS = 600


def instructions(random: Random, count: int) -> Iterator[Command]:
    """Orders that meet, rest, are cancelled and expire; some are sent again."""
    dice = Dice(0)
    dice.below = random.randrange
    for number in range(count):
        kind = random.randrange(10)
        if kind < 7:
            order = dice.new_order()
            while order.account == OWNER:
                order = dice.new_order()
            name = order.client_order_id and f"{order.client_order_id}{number}"
            yield replace(order, client_order_id=name, expires_at_ns=TIME_NS + 500 if order.expires_at_ns else None)
        elif kind < 9:
            yield CancelOrder(random.randrange(1, 4), random.randrange(1, number + 2))
        else:
            yield AdvanceTime()


@pytest.fixture(scope="module")
def flow() -> list[Command]:
    opening = opened(HOLDERS, kept=50)
    return [*opening, *instructions(Random(7), COMMANDS - len(opening))]


@pytest.fixture
def data(tmp_path: Path, flow: list[Command]) -> Path:
    """A data folder whose journal has the flow, in batches and small segments, and whose event log has all of it."""
    journal = Journal.open(tmp_path / "journal", durability=Durability.WRITE, segment_bytes=4_000)
    for seq, command in enumerate(flow, 1):
        journal.append(seq, TIME_NS + seq, command)
        if seq % 7 == 0 or seq == len(flow):
            journal.commit(lambda error: None)
    journal.close()
    close(recover(tmp_path, Durability.WRITE))
    return tmp_path


def state_after(flow: list[Command], seq: int) -> Exchange:
    exchange = Exchange()
    for number, command in enumerate(flow[:seq], 1):
        exchange.apply(number, TIME_NS + number, command)
    return exchange


def close(recovered: Recovered) -> None:
    recovered.journal.close()
    recovered.event_log.close()


def recovered_digest(data: Path) -> tuple[str, int]:
    """The digest after a start, and the snapshot that it began with."""
    recovered = recover(data, Durability.WRITE)
    close(recovered)
    return recovered.exchange.digest(), recovered.snapshot_seq


def feeds(data: Path) -> dict[int, list[Numbered]]:
    recovered = recover(data, Durability.WRITE)
    try:
        return {account: list(events_of(recovered, account)) for account in recovered.exchange.accounts}
    finally:
        close(recovered)


def events_of(recovered: Recovered, account: int) -> Iterator[Numbered]:
    number = 0
    while events := recovered.event_log.read(account, number, 100):
        yield from events
        number = events[-1].number


@pytest.mark.parametrize("seq", [1, 14, 300, COMMANDS])
def test_a_snapshot_is_the_state_that_the_journal_led_to(data: Path, flow: list[Command], seq: int) -> None:
    about = snapshotter.make(LOCAL_DISK, data, seq)
    assert (about.seq, about.time_ns, about.digest) == (seq, TIME_NS + seq, state_after(flow, seq).digest())
    loaded, exchange = snapshots.load(LOCAL_DISK, data / snapshots.FOLDER, seq)
    assert (loaded, exchange.digest()) == (about, about.digest)


def test_a_start_begins_with_the_newest_snapshot_and_ends_in_the_same_state(data: Path, flow: list[Command]) -> None:
    whole = recovered_digest(data)
    assert whole == (state_after(flow, COMMANDS).digest(), 0)
    before = feeds(data)
    for seq in (100, 400):
        snapshotter.make(LOCAL_DISK, data, seq)
        assert recovered_digest(data) == (whole[0], seq)
        assert feeds(data) == before


def test_a_snapshot_begins_with_the_one_before_it(data: Path, flow: list[Command]) -> None:
    snapshotter.make(LOCAL_DISK, data, 300)
    (data / "journal" / segment_name(1)).unlink()
    assert snapshotter.make(LOCAL_DISK, data, 500).digest == state_after(flow, 500).digest()


def test_a_damaged_snapshot_is_passed_over_for_the_one_before_it(data: Path) -> None:
    digest, _ = recovered_digest(data)
    older, newer = (snapshotter.make(LOCAL_DISK, data, seq).seq for seq in (200, 400))
    path = data / snapshots.FOLDER / snapshots.snapshot_name(newer)
    whole = path.read_bytes()
    for offset in range(0, len(whole), max(1, len(whole) // 50)):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        assert recovered_digest(data) == (digest, older), offset
    for size in (0, 1, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert recovered_digest(data) == (digest, older), size
    path.write_bytes(whole + b"\0")
    assert recovered_digest(data) == (digest, older)
    path.unlink()
    assert recovered_digest(data) == (digest, older)


def test_without_a_good_snapshot_the_whole_journal_is_replayed(data: Path) -> None:
    digest, _ = recovered_digest(data)
    snapshotter.make(LOCAL_DISK, data, 200)
    (data / snapshots.FOLDER / snapshots.snapshot_name(200)).write_bytes(b"nothing")
    assert recovered_digest(data) == (digest, 0)


def test_an_event_log_that_ends_before_the_snapshot_is_filled_in(data: Path) -> None:
    before = feeds(data)
    snapshotter.make(LOCAL_DISK, data, 400)
    for path in (data / "events").iterdir():
        path.unlink()
    assert feeds(data) == before


def test_a_snapshot_of_commands_that_the_journal_does_not_have_is_used_only_where_they_may_be_lost(data: Path) -> None:
    """`write` promises nothing about a loss of power; in `fsync` such commands were acknowledged."""
    snapshotter.make(LOCAL_DISK, data, COMMANDS)
    for path in (data / "events").iterdir():
        path.unlink()
    last = sorted((data / "journal").glob("*.journal"))[-1]
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(SnapshotAhead, match="acknowledged commands are missing"):
        recover(data, Durability.FSYNC)
    assert recovered_digest(data)[1] == 0


def pruned(data: Path, until_seq: int, **limits: int) -> Journal:
    journal = Journal.open(data / "journal", durability=Durability.WRITE, after_seq=until_seq)
    reports: list[BaseException | None] = []
    journal.prune(Retention(until_seq, **limits), reports.append)
    assert reports == [None]
    journal.close()
    return journal


def test_a_pruned_journal_is_started_from_behind_a_snapshot(data: Path) -> None:
    digest, _ = recovered_digest(data)
    snapshotter.make(LOCAL_DISK, data, 400)
    journal = pruned(data, 400, size=0)
    assert 1 < journal.first_seq <= 401
    assert min(path.name for path in (data / "journal").glob("*.journal")) == segment_name(journal.first_seq)
    assert recovered_digest(data) == (digest, 400)
    (data / "journal" / manifest.NAME).unlink()
    assert recovered_digest(data) == (digest, 400)
    (data / snapshots.FOLDER / snapshots.snapshot_name(400)).unlink()
    with pytest.raises(JournalUnusable):
        recover(data, Durability.WRITE)


def test_what_a_snapshot_does_not_cover_is_never_deleted(data: Path) -> None:
    digest, _ = recovered_digest(data)
    assert pruned(data, 0, size=0).first_seq == 1
    assert recovered_digest(data) == (digest, 0)


def test_the_journal_is_kept_up_to_its_size_and_age(data: Path) -> None:
    segments = sorted((data / "journal").glob("*.journal"))
    sizes = [path.stat().st_size for path in segments]
    assert pruned(data, COMMANDS, size=sum(sizes)).first_seq == 1
    first, second, third = (int(path.name.removesuffix(".journal")) for path in segments[:3])
    assert pruned(data, COMMANDS, since_ns=TIME_NS + second - 1).first_seq == first
    assert pruned(data, COMMANDS, since_ns=TIME_NS + second).first_seq == second
    assert pruned(data, COMMANDS, size=sum(sizes[2:])).first_seq == third


def test_a_segment_that_was_being_deleted_goes_at_the_next_start(data: Path) -> None:
    first = data / "journal" / segment_name(1)
    content = first.read_bytes()
    snapshotter.make(LOCAL_DISK, data, 400)
    digest, _ = recovered_digest(data)
    pruned(data, 400, size=0)
    first.write_bytes(content)
    assert recovered_digest(data) == (digest, 400)
    assert not first.exists()


def test_a_snapshot_of_a_later_format_is_told_as_such(data: Path) -> None:
    snapshotter.make(LOCAL_DISK, data, 10)
    path = data / snapshots.FOLDER / snapshots.snapshot_name(10)
    whole = path.read_bytes()
    header = snapshots.read_header(whole)
    assert header is not None
    later = snapshots.header_bytes(snapshots.new_header(snapshots.MAGIC, snapshots.VERSION + 1, 10))
    path.write_bytes(later + whole[len(later) :])
    with pytest.raises(SnapshotDamaged, match="format 2; this version reads up to format 1"):
        snapshots.load(LOCAL_DISK, data / snapshots.FOLDER, 10)


def test_a_snapshot_without_a_journal_is_refused_where_commands_were_synced(data: Path) -> None:
    snapshotter.make(LOCAL_DISK, data, 400)
    for folder in ("journal", "events"):
        shutil.rmtree(data / folder)
    with pytest.raises(JournalUnusable, match="holds no segment"):
        recover(data, Durability.FSYNC)
    recovered = recover(data, Durability.WRITE)
    close(recovered)
    assert (recovered.snapshot_seq, recovered.journal.last_seq) == (400, 400)


def test_what_was_never_finished_of_a_snapshot_goes_at_the_next_start(data: Path) -> None:
    draft = data / snapshots.FOLDER / (snapshots.snapshot_name(7) + DRAFT)
    draft.write_bytes(b"half of a")
    recovered_digest(data)
    assert not draft.exists()


def test_a_snapshot_for_which_there_is_no_room_takes_none(data: Path) -> None:
    class NearlyFull(LocalDisk):
        def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
            if offset:
                raise OSError(ENOSPC, "No space left on device")
            return super().write(fd, data, offset)

    with pytest.raises(OSError, match="No space left"):
        snapshotter.make(NearlyFull(), data, 400)
    assert list((data / snapshots.FOLDER).iterdir()) == []


def test_the_space_that_was_allocated_is_kept_over_a_restart(data: Path) -> None:
    """On a disk that is full since, cancels still have it."""

    class Full(LocalDisk):
        def allocate(self, fd: int, offset: int, size: int) -> None:
            if offset + size > self.size(fd):
                raise OSError(ENOSPC, "No space left on device")

    last = sorted((data / "journal").glob("*.journal"))[-1]
    end = last.stat().st_size
    with last.open("ab") as file:
        file.write(b"torn" + bytes(100_000))
    journal = Journal.open(data / "journal", durability=Durability.WRITE, disk=Full())
    assert journal.is_short
    assert (journal.file.end, journal.room) == (end, 100_004)
    assert not last.read_bytes()[end:].strip(b"\0"), "what was torn is no part of it"
    journal.close()
