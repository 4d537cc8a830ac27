"""Starts after a loss of power in `write`, where the journal may have lost what snapshots know of."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import snapshots, snapshotter
from gateway.disk import LOCAL_DISK
from gateway.journal import Durability, Journal
from gateway.recovery import Recovered, SnapshotAhead, recover
from gateway.segments import segment_name
from tests.gateway.journals import TIME_NS, make_journal, write_batches


def restart(data: Path) -> Recovered:
    recovered = recover(data, Durability.WRITE)
    recovered.journal.close()
    recovered.event_log.close()
    return recovered


def lose_after(data: Path, size: int) -> None:
    """Leave of the journal its first batch, of so many commands."""
    (data / "journal" / segment_name(1)).unlink()
    make_journal(data / "journal", [size])


def test_a_snapshot_of_what_the_journal_has_lost_is_gone_before_others_have_its_place(tmp_path: Path) -> None:
    make_journal(tmp_path / "journal", [2, 3])
    snapshotter.make(LOCAL_DISK, tmp_path, 5)
    lose_after(tmp_path, 2)
    with pytest.raises(SnapshotAhead):
        recover(tmp_path, Durability.FSYNC)
    assert snapshots.snapshot_seqs(LOCAL_DISK, tmp_path / snapshots.FOLDER) == [5]

    assert restart(tmp_path).journal.last_seq == 2
    journal = Journal.open(tmp_path / "journal", durability=Durability.WRITE)
    write_batches(journal, [3])
    journal.close()
    assert [restart(tmp_path).snapshot_seq for _ in range(2)] == [0, 0]


def test_time_does_not_go_back_behind_a_snapshot_of_which_the_journal_has_lost_all(tmp_path: Path) -> None:
    make_journal(tmp_path / "journal", [5])
    snapshotter.make(LOCAL_DISK, tmp_path, 5)
    (tmp_path / "journal" / segment_name(1)).unlink()
    journal = restart(tmp_path).journal
    assert (journal.last_seq, journal.last_time_ns) == (5, TIME_NS + 5)
