"""`outcry doctor`: one line for each thing that matters, and what to do about it; nothing is left behind."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import checkup_disk, checkup_machine
from gateway.checkup import Level
from gateway.doctor import DoctorSettings, findings
from gateway.frames import Header, header_bytes
from gateway.segments import MAGIC, VERSION, segment_name
from tests.data_folders.recorder import record
from tests.data_folders.test_verify import content
from tests.venues import engine_process

NAMES = [
    "versions",
    "grpc",
    "http",
    "data",
    "lock",
    "formats",
    "room",
    "fsync",
    "clock",
    "descriptors",
    "cores",
    "memory",
]
Usage = namedtuple("Usage", "total used free")


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "outcry", "doctor", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def free_ports() -> Iterator[str]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]
    for listener in listeners:
        listener.close()
    yield from ("--grpc", addresses[0], "--http", addresses[1])


def test_each_thing_that_matters_is_one_line_and_nothing_is_left_behind(tmp_path: Path) -> None:
    record(tmp_path / "data", 20)
    before = content(tmp_path).keys()
    said = run("--data", str(tmp_path / "data"), *free_ports())
    assert (said.returncode, said.stderr) == (0, "")
    lines = said.stdout.splitlines()
    assert [re.match(r"(?:OK|WARN|FAIL) +(\w+) +\S.*\.$", line)[1] for line in lines] == NAMES  # type: ignore[index]
    assert content(tmp_path).keys() == before
    told = json.loads(run("--data", str(tmp_path / "data"), *free_ports(), "--json").stdout)
    assert [finding["name"] for finding in told] == NAMES
    assert all(finding["advice"] for finding in told if finding["level"] != "OK")


def test_a_folder_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    said = run("--data", str(tmp_path / "a" / "b"), *free_ports())
    assert said.returncode == 0
    assert "is not there yet, and can be made" in said.stdout
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_folder_fails_with_status_1(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    said = run("--data", str(tmp_path / "data"), *free_ports())
    assert said.returncode == 1
    assert f"FAIL data         {tmp_path / 'data'} is no folder. Give another --data." in said.stdout


def found(data: Path, **settings: str) -> dict[str, tuple[Level, str]]:
    chosen = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", **settings}
    return {f.name: (f.level, f.words) for f in findings(DoctorSettings(data=data, **chosen))}


def test_an_engine_that_runs_is_found_at_its_port_and_on_its_folder(tmp_path: Path) -> None:
    with engine_process(tmp_path / "data") as engine:
        told = found(tmp_path / "data", grpc=engine.address)
        assert told["grpc"] == (Level.WARN, f"{engine.address} is taken: a gRPC server, which says it is SERVING")
        assert told["lock"] == (Level.WARN, f"process {engine.process.pid} runs on this folder")
        assert engine.process.poll() is None
    assert found(tmp_path / "data", grpc=engine.address)["lock"] == (Level.OK, "no engine runs on this folder")


def test_a_port_that_another_has_is_found(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert found(tmp_path, http=address)["http"] == (Level.WARN, f"{address} is taken: something listens there")


def test_a_journal_of_a_later_version_fails(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / segment_name(1)).write_bytes(header_bytes(Header(MAGIC, VERSION + 1, 1, bytes(8))))
    level, words = found(tmp_path)["formats"]
    assert (level, words) == (
        Level.FAIL,
        f"the journal has format {VERSION + 1}, and this version reads up to {VERSION}",
    )


@pytest.mark.parametrize(("free", "level"), [(1 << 20, Level.FAIL), (100 << 20, Level.WARN), (1 << 40, Level.OK)])
def test_little_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    monkeypatch.setattr(checkup_disk.shutil, "disk_usage", lambda path: Usage(1 << 41, 0, free))
    assert found(tmp_path)["room"][0] is level


@pytest.mark.parametrize(("slowest", "level"), [(0.5, Level.OK), (20.0, Level.WARN), (500.0, Level.WARN)])
def test_a_slow_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slowest: float, level: Level) -> None:
    monkeypatch.setattr(checkup_disk, "sync_times_ms", lambda place: iter([0.25] * 49 + [slowest]))
    told = found(tmp_path)["fsync"]
    assert told == (level, f"a small write is durable after 0.25 ms (median of 50), {slowest:.2f} ms (slowest)")


@pytest.mark.parametrize(
    ("clock", "is_kept", "level"),
    [
        ([5, 6, 7], True, Level.OK),
        ([5, 6, 7], None, Level.OK),
        ([5, 6, 7], False, Level.WARN),
        ([5, 3, 4], True, Level.WARN),
    ],
)
def test_a_clock_that_steps_back_or_is_not_kept_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[int], is_kept: bool | None, level: Level
) -> None:
    readings = iter(clock)
    monkeypatch.setattr(checkup_machine, "LOOKS", len(clock))
    monkeypatch.setattr(checkup_machine, "now_ns", lambda: next(readings))
    monkeypatch.setattr(checkup_machine, "synchronisation", lambda: is_kept)
    assert found(tmp_path)["clock"][0] is level


def test_few_file_descriptors_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup_machine.resource, "getrlimit", lambda what: (1024, 1 << 20))
    assert found(tmp_path)["descriptors"][0] is Level.WARN
