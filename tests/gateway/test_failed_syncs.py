"""What a start must do about files of which it is not known how much of them is on the disk."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from gateway.disk import LOCAL_DISK
from gateway.event_log import EventLog, JournalBehind
from gateway.event_records import Record
from gateway.journal import Durability, Inline, Journal
from gateway.recovery import recover
from gateway.segments import segment_name
from tests.gateway.journals import make_journal, write_batches
from tests.simulation.disk import PLENTY, SimulatedDisk


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_that_a_start_shows_after_its_sync_had_failed_survives_a_loss_of_power(seed: int) -> None:
    """After a failed sync the kernel holds what it lost for clean: the next sync succeeds, and does nothing for it."""
    disk = SimulatedDisk(Random(seed))

    def opened() -> Journal:
        return Journal.open(Path("/journal"), durability=Durability.FSYNC, ahead=0, disk=disk, worker=Inline())

    assert write_batches(opened(), [10]) == [None]
    disk.kill()
    disk.fails_in["sync"] = 2  # the two of the start succeed
    journal = opened()
    assert [type(report) for report in write_batches(journal, [10])] == [OSError]

    disk.kill()
    journal = opened()
    assert journal.last_seq == 20
    assert write_batches(journal, [10]) == [None]
    disk.cut_power()
    assert opened().last_seq == 30


def test_a_start_that_misses_what_the_event_log_tells_of_cuts_nothing_off(tmp_path: Path) -> None:
    (path,) = make_journal(tmp_path / "journal", [2, 3])
    event_log = EventLog.open(tmp_path / "events", 5)
    event_log.append([Record(seq, 0, []) for seq in range(1, 6)])
    event_log.close()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(JournalBehind):
            recover(tmp_path, Durability.FSYNC, disk=LOCAL_DISK)
        assert path.read_bytes() == content


@pytest.mark.parametrize("seed", range(20))
def test_what_a_start_cut_off_the_event_log_does_not_come_back_with_a_loss_of_power(seed: int) -> None:
    """Other commands have got its place in the journal by then."""
    disk = SimulatedDisk(Random(seed))

    def opened(last_seq: int) -> EventLog:
        return EventLog.open(Path("/events"), last_seq, ahead=0, disk=disk)

    opened(0).append([Record(1, 0, []), Record(2, 0, [])])
    for file in (*disk.files(), *disk.folders.values()):
        file.sync()
    assert opened(2).last_seq == 2
    assert opened(1).last_seq == 0  # both were in one frame
    disk.cut_power()
    assert opened(2).last_seq == 0


@pytest.mark.parametrize("seed", range(20))
def test_a_segment_that_a_full_disk_kept_from_being_made_does_not_come_back_with_a_loss_of_power(seed: int) -> None:
    """Its name would say that the commands begin there which went into the one before it."""
    disk = SimulatedDisk(Random(seed))

    def opened() -> Journal:
        return Journal.open(
            Path("/journal"), durability=Durability.FSYNC, segment_bytes=64, ahead=4096, disk=disk, worker=Inline()
        )

    journal = opened()
    assert write_batches(journal, [3]) == [None]
    disk.fill(0)
    assert write_batches(journal, [2]) == [None]
    assert disk.listing(Path("/journal")) == [segment_name(1)]
    disk.cut_power()
    disk.capacity = PLENTY
    assert opened().last_seq == 5


@pytest.mark.parametrize("seed", range(20))
def test_what_was_committed_in_write_survives_a_loss_of_power_once_a_start_in_fsync_has_shown_it(seed: int) -> None:
    disk = SimulatedDisk(Random(seed))

    def opened(durability: Durability) -> Journal:
        return Journal.open(
            Path("/journal"), durability=durability, segment_bytes=64, ahead=0, disk=disk, worker=Inline()
        )

    assert write_batches(opened(Durability.WRITE), [3, 3, 3]) == [None] * 3
    assert opened(Durability.FSYNC).last_seq == 9
    disk.cut_power()
    assert len(list(opened(Durability.FSYNC).replay())) == 9
