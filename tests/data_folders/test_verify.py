"""`outcry verify`: what is kept agrees, or it says where it does not; and it leaves no trace."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import grpc
import msgspec
import pytest
from msgspec.structs import replace

from engine.exchange import Exchange
from gateway import manifest, snapshots, verification
from gateway.disk import LOCAL_DISK, Disk
from gateway.event_records import Record
from gateway.event_segments import ENCODER, RECORDS
from gateway.frames import HEADER_BYTES, Frame, frame_bytes, frames, header_bytes, read_header
from gateway.manifest import Manifest
from gateway.read_only import ReadOnlyDisk
from gateway.verification import Report, verify
from tests.data_folders.recorder import record
from tests.gateway.test_order_entry import order
from tests.venues import Stubs, engine_process


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """328 commands in six segments, with snapshots after 100 and 200."""
    record(tmp_path / "data", snapshots_after=(100, 200))
    return tmp_path / "data"


def run(data: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "outcry", "verify", "--data", str(data), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and the time of its last change, and every folder."""
    return {
        str(path.relative_to(folder)): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def segments(data: Path) -> list[Path]:
    return sorted((data / "journal").glob("*.journal"))


def frames_in(path: Path) -> list[Frame]:
    whole = path.read_bytes()
    header = read_header(whole)
    assert header is not None
    return list(frames(whole, HEADER_BYTES, header.seed))


def fault(data: Path) -> verification.Fault:
    found = verify(data).fault
    assert found is not None
    return found


def test_a_sound_folder_agrees_and_is_told_in_numbers(tmp_path: Path) -> None:
    recorder = record(tmp_path / "data", snapshots_after=(100, 200))
    report = verify(tmp_path / "data")
    accounts = recorder.exchange.accounts
    assert report == Report(
        data=str(tmp_path / "data"),
        last_seq=recorder.seq,
        last_time_ns=recorder.now,
        segments=len(segments(tmp_path / "data")),
        snapshots=[100, 200],
        accounts=3,
        orders=recorder.exchange.entry.last_order_id,
        open_orders=sum(len(account.resting) for account in accounts.values()),
        trades=recorder.exchange.matching.last_trade_id,
        events=sum(account.number for account in accounts.values()),
        event_log_first_seq=1,
        event_log_last_seq=recorder.seq,
        event_log_events=sum(account.number for account in accounts.values()),
        digest=recorder.exchange.digest(),
    )
    assert report.trades > 10
    assert report.open_orders > 0


def test_nothing_is_changed_made_or_locked(data: Path) -> None:
    with segments(data)[-1].open("ab") as file:
        file.write(b"\xff\xd3OX" + bytes(100))
    (data / "snapshots" / "00000000000000000300.snapshot.new").write_bytes(b"draft")
    before = content(data)
    assert verify(data).fault is None
    assert content(data) == before


def test_a_torn_tail_is_told_and_is_no_fault(data: Path) -> None:
    path = segments(data)[-1]
    *_, before_last, last = frames_in(path)
    path.write_bytes(path.read_bytes()[: last.end - 3] + bytes(50))
    (events,) = (data / "events").iterdir()
    event_frames = frames_in(events)
    kept = max(frame.end for frame in event_frames if frame.last_seq <= before_last.last_seq)
    events.write_bytes(events.read_bytes()[: kept + 10])
    report = verify(data)
    assert report.fault is None
    assert report.last_seq == before_last.last_seq
    assert [(torn.file, torn.offset) for torn in report.torn] == [(str(path), before_last.end), (str(events), kept)]
    said = run(data)
    assert said.returncode == 0
    assert f"{events}: 10 bytes from offset {kept:,}" in said.stdout


def test_any_damaged_byte_of_the_journal_is_found_with_its_file_and_offset(data: Path) -> None:
    for path in segments(data)[:-1]:
        whole = path.read_bytes()
        begins = [0, *(frame.offset for frame in frames_in(path))]
        for at in range(0, len(whole), 41):
            damaged = bytearray(whole)
            damaged[at] ^= 0x10
            path.write_bytes(damaged)
            found = fault(data)
            assert (found.file, found.offset) == (str(path), max(begin for begin in begins if begin <= at)), at
        path.write_bytes(whole)
    assert verify(data).fault is None


def rewrite(path: Path, change: Callable[[int, bytes], bytes]) -> None:
    """Write a file of frames anew, with each payload as `change` has it."""
    whole = path.read_bytes()
    header = read_header(whole)
    assert header is not None
    parts = [
        frame_bytes(header.seed, f.first_seq, f.last_seq, change(i, f.payload)) for i, f in enumerate(frames_in(path))
    ]
    path.write_bytes(header_bytes(header) + b"".join(parts))


def test_time_that_goes_back_is_found(data: Path) -> None:
    path = segments(data)[2]

    def change(index: int, payload: bytes) -> bytes:
        batch = msgspec.msgpack.decode(payload)
        if index == 1:
            batch[-1][1] -= 10**18
        return msgspec.msgpack.encode(batch)

    (data / "journal" / manifest.NAME).unlink()
    rewrite(path, change)
    found = fault(data)
    assert (found.file, found.offset) == (str(path), frames_in(path)[1].offset)
    assert "is earlier than the one before it" in found.why


def test_another_command_than_the_one_that_was_carried_out_is_found_by_what_it_said(data: Path) -> None:
    def change(index: int, payload: bytes) -> bytes:
        batch = msgspec.msgpack.decode(payload)
        for _, _, command in batch:
            if command[0] == 1 and index == 3:
                command[7] += 5 * 10**8  # the quantity
        return msgspec.msgpack.encode(batch)

    rewrite(segments(data)[0], change)
    (data / "journal" / manifest.NAME).unlink()
    (events,) = (data / "events").iterdir()
    found = fault(data)
    assert found.file in (str(events), str(data / "snapshots" / snapshots.snapshot_name(100)))
    for path in (*(data / "snapshots").iterdir(), events):
        path.unlink()
    assert verify(data).fault is None, "nothing is left that could tell"


@pytest.mark.parametrize("missing", [0, 3])
def test_a_missing_segment_is_found(data: Path, missing: int) -> None:
    path = segments(data)[missing]
    path.unlink()
    found = fault(data)
    assert found.file == str(path)
    assert "is missing" in found.why


def test_a_manifest_that_knows_of_more_is_believed(data: Path) -> None:
    path = segments(data)[1]
    path.write_bytes(path.read_bytes()[: frames_in(path)[-2].end])
    found = fault(data)
    assert found.file == str(path)
    assert "the manifest has it end with command" in found.why


def test_a_snapshot_of_another_state_is_found(data: Path) -> None:
    folder = data / snapshots.FOLDER
    about, exchange = snapshots.load(LOCAL_DISK, folder, 200)
    exchange.registry.put_venue(replace(exchange.venue, registration="closed"))
    snapshots.store(LOCAL_DISK, folder, 200, about.time_ns, exchange)
    found = fault(data)
    assert found.file.endswith("200.snapshot")
    assert about.digest in found.why


def test_a_damaged_snapshot_is_found(data: Path) -> None:
    path = data / snapshots.FOLDER / snapshots.snapshot_name(100)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert fault(data).file == str(path)


def test_a_snapshot_beyond_the_journal_is_found(data: Path) -> None:
    folder = data / snapshots.FOLDER
    (folder / snapshots.snapshot_name(200)).rename(folder / snapshots.snapshot_name(2000))
    assert "acknowledged commands are missing" in fault(data).why


def test_a_state_that_does_not_balance_is_found(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "audit", lambda exchange: iter(["all that there is of USD comes to 1"]))
    assert fault(data).why == "after command 100, all that there is of USD comes to 1"


def test_without_its_oldest_segments_the_journal_is_replayed_from_a_snapshot(data: Path) -> None:
    whole = verify(data)
    (_, second, *_) = [int(path.stem) for path in segments(data)]
    known = manifest.load(LOCAL_DISK, data / "journal")
    assert known is not None
    kept = Manifest(first_seq=second, sealed=known.sealed[1:])
    manifest.store(LOCAL_DISK, data / "journal", kept, durable=False)
    segments(data)[0].unlink()
    report = verify(data)
    assert report.fault is None
    assert (report.first_seq, report.replayed_after) == (second, 100)
    assert (report.digest, report.last_seq, report.snapshots) == (whole.digest, whole.last_seq, [100, 200])
    for path in (data / snapshots.FOLDER).iterdir():
        path.unlink()
    assert "no snapshot leads up to that" in fault(data).why


def test_any_event_that_is_missing_added_or_changed_is_found_by_its_command(data: Path) -> None:
    (events,) = (data / "events").iterdir()
    whole = events.read_bytes()
    at = next(i for i, record in enumerate(records(events)) if record.events)
    seq = records(events)[at].seq

    def less(found: list[Record]) -> None:
        found[at] = replace(found[at], events=found[at].events[:-1])

    def more(found: list[Record]) -> None:
        found[at] = replace(found[at], events=[*found[at].events, *found[at].events])

    def other(found: list[Record]) -> None:
        found[at] = replace(found[at], events=[replace(event, number=9) for event in found[at].events])

    def later(found: list[Record]) -> None:
        found[at] = replace(found[at], time_ns=found[at].time_ns + 1)

    def none(found: list[Record]) -> None:
        del found[at]

    for change in (less, more, other, later, none):
        events.write_bytes(whole)
        rewrite(events, lambda index, payload, change=change: changed(payload, change) if index == 1 else payload)  # type: ignore[misc]
        found = fault(data)
        assert found.file == str(events)
        assert f"command {seq}" in found.why, change


def records(path: Path) -> list[Record]:
    return RECORDS.decode(frames_in(path)[1].payload)[1]


def changed(payload: bytes, change: Callable[[list[Record]], None]) -> bytes:
    spans, found = RECORDS.decode(payload)
    change(found)
    return ENCODER.encode((spans, found))


def test_a_damaged_event_log_is_found_and_one_that_is_missing_is_not_missed(data: Path) -> None:
    (events,) = (data / "events").iterdir()
    damaged = bytearray(events.read_bytes())
    second = frames_in(events)[1].offset
    damaged[second + 40] ^= 1
    events.write_bytes(damaged)
    found = fault(data)
    assert (found.file, found.offset) == (str(events), second)
    events.unlink()
    report = verify(data)
    assert (report.fault, report.event_log_events) == (None, 0)


def test_events_beyond_the_journal_are_found(data: Path) -> None:
    path = segments(data)[-1]
    path.write_bytes(path.read_bytes()[: frames_in(path)[0].end])
    assert "acknowledged commands are missing" in fault(data).why


def test_the_numbers_that_an_event_log_begins_with_are_compared(data: Path) -> None:
    (events,) = (data / "events").iterdir()
    wrong = msgspec.msgpack.encode((5).to_bytes(8, "little"))  # of the venue's own account, which is told nothing
    rewrite(events, lambda index, payload: payload if index else wrong)
    assert "the accounts' last numbers before it are others" in fault(data).why


class Hurried(ReadOnlyDisk):
    """Files are written while they are read: at first, what is to come at some place of each is not there yet."""

    def __init__(self, holes: dict[Path, range]) -> None:
        self.holes = holes
        self.paths: dict[int, Path] = {}

    def open(self, path: Path, *, make: bool = False) -> int:
        fd = super().open(path)
        self.paths[fd] = path
        return fd

    def read(self, fd: int, size: int, offset: int) -> bytes:
        data = bytearray(super().read(fd, size, offset))
        hole = self.holes.pop(self.paths[fd], range(0))
        data[hole.start : hole.stop] = bytes(len(hole))
        return bytes(data)


def test_what_was_on_its_way_when_it_was_read_is_read_again(data: Path) -> None:
    (events,) = (data / "events").iterdir()
    last = segments(data)[-1]
    holes = {path: range(frames_in(path)[1].offset, frames_in(path)[1].end) for path in (events, last)}
    disk = Hurried(dict(holes))
    assert verify(data, disk=disk).fault is None
    assert disk.holes == {}
    for path, hole in holes.items():
        whole = path.read_bytes()
        path.write_bytes(whole[: hole.start] + bytes(len(hole)) + whole[hole.stop :])
        assert (fault(data).file, fault(data).offset) == (str(path), hole.start)
        path.write_bytes(whole)


def test_a_snapshot_that_is_restored_to_another_state_than_it_says_is_found(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = snapshots.load

    def changed(disk: Disk, folder: Path, seq: int) -> tuple[snapshots.About, Exchange]:
        about, exchange = load(disk, folder, seq)
        exchange.registry.put_venue(replace(exchange.venue, registration="closed"))
        return about, exchange

    monkeypatch.setattr(snapshots, "load", changed)
    assert "what is restored from it has another digest than it says" in fault(data).why


async def test_it_agrees_again_and_again_while_the_engine_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with engine_process(data) as engine:
        async with grpc.aio.insecure_channel(engine.address) as channel:
            stubs = Stubs(channel)
            keys = [(await stubs.register())[1] for _ in range(2)]

            async def trade(key: list[tuple[str, str]], first: int) -> None:
                for side in cycle((first, 3 - first)):
                    await stubs.orders.SubmitOrder(order(side, 1), metadata=key)

            traders = [asyncio.ensure_future(trade(key, side)) for side, key in enumerate(keys * 4, start=1)]
            reports = [await asyncio.to_thread(verify, data) for _ in range(30)]
            for trader in traders:
                trader.cancel()
            await asyncio.gather(*traders, return_exceptions=True)
    assert [report.fault for report in reports] == [None] * 30
    assert reports[-1].last_seq > reports[0].last_seq


def test_the_command_says_what_is_wrong_and_where_and_exits_with_1(data: Path) -> None:
    sound = run(data)
    assert (sound.returncode, sound.stderr) == (0, "")
    assert verify(data).digest in sound.stdout
    assert sound.stdout.endswith("All agrees.\n")
    path = segments(data)[1]
    whole = bytearray(path.read_bytes())
    whole[40] ^= 1
    path.write_bytes(whole)
    wrong = run(data)
    assert wrong.returncode == 1
    assert f"WRONG: {path} at offset {HEADER_BYTES}: " in wrong.stdout
    told = run(data, "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["fault"]["offset"] == HEADER_BYTES


def test_a_folder_without_a_journal_is_refused_in_one_line_and_not_made(tmp_path: Path) -> None:
    refused = run(tmp_path / "nowhere")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"outcry verify: --data {tmp_path / 'nowhere'}: there is no journal\n"
    assert not (tmp_path / "nowhere").exists()
