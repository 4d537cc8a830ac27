"""Data folders as people leave them: with files that are none of ours, and with what nobody may read. Each is told in
one line, or makes no difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.journal import Durability
from gateway.recovery import recover
from gateway.restoration import restore
from gateway.verification import verify
from tests.data_folders.recorder import record


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
