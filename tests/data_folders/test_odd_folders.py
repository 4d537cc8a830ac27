"""Data folders as people leave them: with files that are none of ours, and with what nobody may read. Each is told in
one line, or makes no difference."""

from __future__ import annotations

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
