"""`outcry restore`: a copy of a data folder that was taken while the engine ran, each file at another moment, is a
backup: all that was acknowledged before the copy began is in it, once, and the engine goes on from there."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import count, cycle
from pathlib import Path

import grpc
import pytest

from gateway import snapshots
from gateway.frames import HEADER_BYTES
from gateway.journal import Durability
from gateway.recovery import RestorationUnfinished, recover
from gateway.restoration import NotRestorable, restore
from gateway.segments import JournalDamaged, JournalUnusable
from gateway.verification import verify
from outcry import v1
from tests.data_folders.recorder import record
from tests.data_folders.test_verify import content, frames_in, segments
from tests.gateway.test_order_entry import order
from tests.venues import EngineProcess, Stubs, engine_process, until

PIECE_BYTES = 500
Key = list[tuple[str, str]]


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """328 commands in six segments, with snapshots after 100 and 200, and a key."""
    folder = tmp_path / "backup"
    record(folder, snapshots_after=(100, 200))
    (folder / "keys").mkdir()
    (folder / "keys" / "operator.key").write_text("outcry_" + "k" * 40 + "\n")
    (folder / "keys" / "operator.key").chmod(0o644)
    return folder


def test_a_backup_that_is_whole_is_restored_whole_and_left_as_it_is(backup: Path, tmp_path: Path) -> None:
    before, wanted = content(backup), verify(backup)
    for name in ("lock", "grpc.sock", "keys/operator.new", "snapshots/1.snapshot.new", "journal/manifest.json.new"):
        (backup / name).write_bytes(b"no part of a backup")
        before = content(backup)
    report, notes = restore(backup, tmp_path / "data")
    assert (report.fault, report.digest, report.last_seq, notes) == (None, wanted.digest, wanted.last_seq, [])
    assert content(backup) == before
    assert verify(tmp_path / "data") == report
    names = {path.name for path in (tmp_path / "data").rglob("*") if path.is_file()}
    assert names >= {"operator.key", "manifest.json", "lock"}
    assert not names & {"grpc.sock", "operator.new", "1.snapshot.new", "manifest.json.new"}
    assert (tmp_path / "data" / "lock").read_text() == f"{os.getpid()}\n"
    for path in (tmp_path / "data" / "keys").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data" / "keys").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("at", "kept", "behind"), [(2, [100], 3), (4, [100, 200], 1)])
def test_what_was_read_later_than_what_is_before_it_is_left_out(
    backup: Path, tmp_path: Path, at: int, kept: list[int], behind: int
) -> None:
    """One segment was read while it grew; those behind it, and the events, later. No snapshot is behind the hole."""
    for seq in {100, 200} - set(kept):
        (backup / snapshots.FOLDER / snapshots.snapshot_name(seq)).unlink()
    path = segments(backup)[at]
    whole, (_, second, third, *_) = path.read_bytes(), frames_in(path)
    for end in (second.end, third.offset + 50):
        path.write_bytes(whole[:end] + bytes(third.end - end) + whole[third.end :])
        report, notes = restore(backup, tmp_path / f"data {end}")
        assert (report.fault, report.last_seq, report.snapshots) == (None, second.last_seq, kept)
        assert report.event_log_last_seq == second.last_seq
        assert f"{path} from offset {second.end:,} on" in notes[0]
        assert len(notes) == 1 + behind, "the segments behind it"


def test_control_a_start_on_such_a_copy_as_it_is_finds_it_damaged(backup: Path) -> None:
    path = segments(backup)[4]
    whole, (_, second, third, *_) = path.read_bytes(), frames_in(path)
    path.write_bytes(whole[: second.end] + bytes(third.end - second.end) + whole[third.end :])
    with pytest.raises(JournalUnusable):
        recover(backup, Durability.FSYNC)


@pytest.mark.parametrize("kept", [1, 60])
def test_a_file_that_ends_within_a_batch_was_growing(backup: Path, tmp_path: Path, kept: int) -> None:
    path = segments(backup)[3]
    _, second, *_ = frames_in(path)
    path.write_bytes(path.read_bytes()[: second.offset + kept])
    report, _ = restore(backup, tmp_path / "data")
    assert (report.fault, report.last_seq) == (None, second.first_seq - 1)


@pytest.mark.parametrize("at", [0, 2, -1])
def test_damage_is_not_taken_for_a_trace_of_the_copying_unless_that_is_asked_for(
    backup: Path, tmp_path: Path, at: int
) -> None:
    shutil.rmtree(backup / snapshots.FOLDER)
    path = segments(backup)[1]
    frame = frames_in(path)[at]
    damaged = bytearray(path.read_bytes())
    damaged[frame.offset + 40] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(JournalDamaged) as refusal:
        restore(backup, tmp_path / "data")
    assert (refusal.value.path, refusal.value.offset) == (path, frame.offset)
    assert not list((tmp_path / "data").glob("journal"))
    report, notes = restore(backup, tmp_path / "data", pass_over_damage=True)
    assert (report.fault, report.last_seq) == (None, frame.first_seq - 1)
    assert str(path) in notes[0]


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 30] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_short, flip, empty, Path.unlink])
@pytest.mark.parametrize("oldest_is_deleted", [False, True])
def test_what_a_snapshot_and_the_journal_behind_a_hole_hold_is_restored_if_that_leads_further(
    backup: Path, tmp_path: Path, damage: Callable[[Path], None], oldest_is_deleted: bool
) -> None:
    wanted, (first, damaged, *_) = verify(backup), segments(backup)
    if oldest_is_deleted:
        (backup / "journal" / "manifest.json").unlink()
        first.unlink()
    damage(damaged)
    report, notes = restore(backup, tmp_path / "data")
    assert (report.fault, report.digest, report.last_seq) == (None, wanted.digest, wanted.last_seq)
    assert report.first_seq > int(damaged.stem)
    assert report.beyond_seq == 0
    assert len(notes) == first.exists() + damaged.exists()
    recovered = recover(tmp_path / "data", Durability.WRITE)
    recovered.event_log.close()
    recovered.journal.close()
    assert recovered.exchange.digest() == wanted.digest


@pytest.mark.parametrize("oldest_is_deleted", [False, True])
def test_damage_that_no_snapshot_bridges_is_refused_by_the_name_it_has_in_the_backup(
    backup: Path, tmp_path: Path, oldest_is_deleted: bool
) -> None:
    shutil.rmtree(backup / snapshots.FOLDER)
    if oldest_is_deleted:
        (backup / "journal" / "manifest.json").unlink()
        segments(backup)[0].unlink()
    path = segments(backup)[1]
    flip(path)
    with pytest.raises(JournalDamaged) as refusal:
        restore(backup, tmp_path / "data")
    assert refusal.value.path == path


@pytest.mark.parametrize("damage", [cut_short, empty, Path.unlink])
def test_what_the_backup_tells_of_but_its_journal_does_not_hold_is_said(
    backup: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """It may be that the journal was copied before the event log was; or that its newest segment is lost."""
    wanted, path = verify(backup).last_seq, segments(backup)[-1]
    path.write_bytes(path.read_bytes().rstrip(b"\0"))
    damage(path)
    done = run("restore", str(backup), "--data", str(tmp_path / "data"), "--json")
    report = json.loads(done.stdout)["report"]
    assert (done.returncode, report["beyond_seq"]) == (0, wanted)
    assert report["last_seq"] < wanted
    done = run("restore", str(backup), "--data", str(tmp_path / "other"))
    assert (
        f"WARNING: the backup tells of commands up to {wanted:,}, but those after {report['last_seq']:,}" in done.stdout
    )


def test_a_segment_that_was_deleted_while_the_copy_was_taken_is_not_missed(backup: Path, tmp_path: Path) -> None:
    digest = verify(backup).digest
    segments(backup)[1].unlink()
    report, notes = restore(backup, tmp_path / "data")
    assert (report.fault, report.digest, report.replayed_after) == (None, digest, 200)
    assert len(notes) == 1
    for path in (backup / snapshots.FOLDER).iterdir():
        path.unlink()
    with pytest.raises(JournalDamaged, match="is missing"):
        restore(backup, tmp_path / "other")


def test_without_manifest_event_log_or_good_snapshots_a_backup_is_restored(backup: Path, tmp_path: Path) -> None:
    wanted = verify(backup)
    (backup / "journal" / "manifest.json").unlink()
    shutil.rmtree(backup / "events")
    path = backup / snapshots.FOLDER / snapshots.snapshot_name(200)
    path.write_bytes(path.read_bytes()[:-1])
    report, notes = restore(backup, tmp_path / "data")
    assert (report.fault, report.digest, report.snapshots) == (None, wanted.digest, [100])
    assert report.event_log_events == wanted.events
    assert str(path) in notes[0]


def test_a_folder_that_has_something_already_is_refused_and_left_alone(backup: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    restore(backup, data)
    before = content(data)
    with pytest.raises(NotRestorable, match="has a journal already"):
        restore(backup, data)
    assert content(data).keys() == before.keys()
    shutil.rmtree(data / "journal")
    with pytest.raises(NotRestorable, match="has keys already"):
        restore(backup, data)
    with pytest.raises(NotRestorable, match="is no data folder"):
        restore(tmp_path / "nowhere", tmp_path / "other")


@pytest.mark.parametrize("moved", range(4))
def test_a_restoration_that_was_interrupted_is_done_again(backup: Path, tmp_path: Path, moved: int) -> None:
    data = tmp_path / "data"
    digest = restore(backup, data)[0].digest
    (data / "restoring" / "journal").mkdir(parents=True)
    for name in ("journal", "events", "snapshots", "keys")[: 4 - moved]:
        shutil.rmtree(data / name)
    with pytest.raises(RestorationUnfinished, match="run `outcry restore` again"):
        recover(data, Durability.FSYNC)
    report, _ = restore(backup, data)
    assert (report.fault, report.digest) == (None, digest)
    assert not (data / "restoring").exists()


def test_an_engine_is_not_started_on_a_restoration_that_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "data" / "restoring").mkdir(parents=True)
    command = [sys.executable, "-m", "gateway", "--data", str(tmp_path / "data"), "--grpc", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"outcry engine: {tmp_path / 'data' / 'restoring'} is what a restoration has left" in done.stderr


def test_a_restoration_that_was_interrupted_behind_its_last_step_is_one(backup: Path, tmp_path: Path) -> None:
    digest = restore(backup, tmp_path / "data")[0].digest
    (tmp_path / "data" / "restoring").mkdir()
    recovered = recover(tmp_path / "data", Durability.WRITE)
    recovered.event_log.close()
    recovered.journal.close()
    assert recovered.exchange.digest() == digest


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """`outcry` with these words."""
    command = [sys.executable, "-m", "outcry", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_the_command_refuses_in_one_line(backup: Path, tmp_path: Path) -> None:
    refused = run("restore", str(tmp_path / "nowhere"), "--data", str(tmp_path / "data"))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"outcry restore: {tmp_path / 'nowhere'} is no data folder: it has no journal\n"
    shutil.rmtree(backup / snapshots.FOLDER)
    path = segments(backup)[0]
    flip(path)
    refused = run("restore", str(backup), "--data", str(tmp_path / "data"))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"{path} is damaged at offset {HEADER_BYTES}" in refused.stderr


class Traders:
    """Two accounts that trade with each other, each order under a client order id of its own."""

    def __init__(self, stubs: Stubs, keys: list[Key]) -> None:
        self.stubs = stubs
        self.keys = keys
        self.numbers = count(1)
        self.acknowledged: dict[str, tuple[int, int, int]] = {}  # which of the keys, the side, the order's id
        self.tasks = [asyncio.ensure_future(self.trade(at % 2)) for at in range(8)]

    async def trade(self, at: int) -> None:
        for side in cycle((1 + at, 2 - at)):  # so that positions stay small
            name = f"order {next(self.numbers)}"
            request = order(side, 1, client_order_id=name)
            result = await self.stubs.orders.SubmitOrder(request, metadata=self.keys[at])
            assert not result.HasField("reject"), result
            self.acknowledged[name] = (at, side, result.order_id)

    async def have_traded(self, more: int) -> None:
        wanted = len(self.acknowledged) + more
        await until(lambda: len(self.acknowledged) >= wanted or any(task.done() for task in self.tasks), 60)
        assert not any(task.done() for task in self.tasks)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def copy_while_it_changes(data: Path, target: Path, traders: Traders, chance: random.Random) -> None:
    """File by file in any order, each in small pieces, with orders in between."""
    paths = [path for path in data.rglob("*") if path.is_file()]
    growing = max(data.glob("journal/*.journal")), max(data.glob("events/*.events"))
    chance.shuffle(paths)
    for path in paths:
        copy = target / path.relative_to(data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            source = path.open("rb", buffering=0)
        except FileNotFoundError:  # deleted since
            continue
        with source, copy.open("wb") as file:
            while piece := source.read(PIECE_BYTES):
                file.write(piece)
                if path in growing and chance.random() < 0.1:
                    await traders.have_traded(20)  # so that it is overtaken, and overtakes


@pytest.mark.parametrize(("seed", "snapshot_every"), [(0, 400), (2, 0), (3, 0)])
async def test_a_copy_taken_under_load_has_all_that_was_acknowledged_before_it_once(
    tmp_path: Path, seed: int, snapshot_every: int
) -> None:
    data, backup, restored = tmp_path / "data", tmp_path / "backup", tmp_path / "restored"
    flags = ("--durability", "write", "--snapshot-every", str(snapshot_every))
    with engine_process(data, *flags, module="tests.data_folders.small_engine") as engine:
        async with grpc.aio.insecure_channel(engine.address) as channel:
            stubs = Stubs(channel)
            keys = [(await stubs.register())[1] for _ in range(2)]
            traders = Traders(stubs, keys)
            await traders.have_traded(500)
            while snapshot_every and not list((data / snapshots.FOLDER).glob("*.snapshot")):
                await traders.have_traded(10)
            before = dict(traders.acknowledged)
            await copy_while_it_changes(data, backup, traders, random.Random(seed))
            await traders.stop()
    done = await asyncio.to_thread(run, "restore", str(backup), "--data", str(restored))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Restored to {restored}, up to command " in done.stdout
    with engine_process(restored) as engine:
        await goes_on(engine, keys, before)
    assert verify(restored).fault is None


async def goes_on(engine: EngineProcess, keys: list[Key], before: dict[str, tuple[int, int, int]]) -> None:
    """All orders are there once, with their numbers; sent again they are known; and a new one is taken."""
    async with grpc.aio.insecure_channel(engine.address) as channel:
        stubs = Stubs(channel)
        there: Counter[str] = Counter()
        for key in keys:
            after = 0
            while True:
                request = v1.ListOrdersRequest(include_closed=True, after_order_id=after)
                page = await stubs.accounts.ListOrders(request, metadata=key)
                there.update(listed.client_order_id for listed in page.orders)
                if not page.more:
                    break
                after = page.orders[-1].order_id
        assert there.keys() >= before.keys()
        assert set(there.values()) == {1}
        for name, (at, side, order_id) in list(before.items())[-50:]:
            again = await stubs.orders.SubmitOrder(order(side, 1, client_order_id=name), metadata=keys[at])
            assert (again.order_id, again.duplicate) == (order_id, True)
        fresh = await stubs.orders.SubmitOrder(order(1, 1, client_order_id="fresh"), metadata=keys[0])
        assert not fresh.duplicate
        assert fresh.order_id > max(order_id for _, _, order_id in before.values())
