"""Data folders as people leave them: with files that are none of ours, and with what nobody may read. Each is told in
one line, or makes no difference."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gateway.frames import checksum
from gateway.journal import Durability
from gateway.manifest import ManifestTooNew
from gateway.recovery import recover
from gateway.restoration import restore
from gateway.verification import verify
from tests.data_folders.recorder import record
from tests.data_folders.test_verify import content


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """328 commands in six segments, with snapshots after 100 and 200."""
    record(tmp_path / "data", snapshots_after=(100, 200))
    return tmp_path / "data"


@pytest.mark.parametrize("name", ["foo", "{} (copy)", "1", "\u0663", "0{}"])
@pytest.mark.parametrize("folder", ["journal", "events"])
def test_a_file_whose_name_is_that_of_no_segment_makes_no_difference(
    data: Path, tmp_path: Path, folder: str, name: str
) -> None:
    wanted, first = verify(data), min((data / folder).glob(f"*.{folder}"))
    stray = first.with_name(f"{name.format(first.stem)}.{folder}")
    stray.write_bytes(first.read_bytes())
    assert verify(data) == wanted
    assert restore(data, tmp_path / "restored")[0].digest == wanted.digest
    recovered = recover(data, Durability.WRITE)
    recovered.event_log.close()
    recovered.journal.close()
    assert recovered.exchange.digest() == wanted.digest
    assert stray.exists() or folder == "events", "a journal is never deleted"


def manifest_of_a_later_version(line: bytes) -> bytes:
    later = msgspec.json.encode(msgspec.json.decode(line.split(b"\n")[0]) | {"format": 2, "sealed": "otherwise"})
    return b"%s\n%08x\n" % (later, checksum(0, later))


@pytest.mark.parametrize(
    "damage", [lambda data: b"\xff\xfe", lambda data: data.replace(b"1", b"2", 1), manifest_of_a_later_version]
)
def test_a_manifest_that_cannot_be_used_is_found(data: Path, damage: Callable[[bytes], bytes]) -> None:
    path = data / "journal" / "manifest.json"
    path.write_bytes(damage(path.read_bytes()))
    done = run("verify", data)
    assert done.returncode == 1
    assert f"WRONG: {path}" in done.stdout or f"WRONG: {path.parent}: {path} has format 2" in done.stdout


def test_a_manifest_of_a_later_version_is_refused(data: Path, tmp_path: Path) -> None:
    path = data / "journal" / "manifest.json"
    path.write_bytes(manifest_of_a_later_version(path.read_bytes()))
    before = content(data)
    with pytest.raises(ManifestTooNew, match="has format 2; this version of Outcry reads up to format 1"):
        recover(data, Durability.FSYNC)
    assert content(data) == before
    with pytest.raises(ManifestTooNew):
        restore(data, tmp_path / "restored")


@pytest.mark.parametrize("folder", ["events", "snapshots"])
def test_a_file_in_the_place_of_a_folder_is_found(data: Path, folder: str) -> None:
    shutil.rmtree(data / folder)
    (data / folder).write_bytes(b"")
    done = run("verify", data)
    assert (done.returncode, done.stdout) == (2, "")
    assert str(data / folder) in done.stderr
    assert done.stderr.count("\n") == 1


def run(command: str, data: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "outcry", command, "--data", str(data), *flags]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def run_unprivileged(command: str, data: Path) -> subprocess.CompletedProcess[str]:
    """As one to whom the modes of files apply."""
    capabilities = "-dac_override,-dac_read_search"
    under = ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}"] if os.geteuid() == 0 else []
    words = [*under, sys.executable, "-m", "outcry", command, "--data", str(data)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv where it is run by root")
@pytest.mark.parametrize("closed", [".", "journal", "events", "snapshots"])
def test_a_folder_that_may_not_be_read_is_told_without_a_traceback(data: Path, closed: str) -> None:
    (data / closed).chmod(0)
    try:
        verified, checked = run_unprivileged("verify", data), run_unprivileged("doctor", data)
    finally:
        (data / closed).chmod(0o700)
    assert (verified.returncode, verified.stdout) == (2, "")
    assert str(data / closed) in verified.stderr
    assert (checked.returncode, checked.stderr) == (1, "")
    assert "FAIL data" in checked.stdout
    assert "Traceback" not in verified.stderr


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv where it is run by root")
@pytest.mark.parametrize("closed", ["journal", "events", "snapshots", "keys"])
def test_a_folder_that_may_not_be_written_to_fails_the_check(data: Path, closed: str) -> None:
    (data / closed).mkdir(exist_ok=True)
    (data / closed).chmod(0o500)
    checked = run_unprivileged("doctor", data)
    assert checked.returncode == 1
    assert f"{data / closed} cannot be read and written to by this user" in checked.stdout


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv where it is run by root")
def test_a_folder_under_one_that_may_not_be_looked_into_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    verified, checked = (run_unprivileged(command, tmp_path / "closed" / "data") for command in ("verify", "doctor"))
    (tmp_path / "closed").chmod(0o700)
    assert (verified.returncode, verified.stderr.count("\n")) == (2, 1)
    assert (checked.returncode, checked.stderr) == (1, "")
    assert "FAIL data" in checked.stdout


def test_a_folder_that_cannot_be_made_fails_the_check() -> None:
    checked = run("doctor", Path("/proc/outcry"))
    assert checked.returncode == 1
    assert "cannot be made in /proc" in checked.stdout


@pytest.mark.parametrize("command", ["verify", "restore", "doctor"])
def test_the_exit_statuses_are_in_the_help(command: str) -> None:
    assert "Exit status: 0" in run(command, Path("data"), "--help").stdout
