"""The event log in segments: all of it is served, by number, however many there are and whatever was deleted."""

from __future__ import annotations

import threading
from errno import ENOSPC
from pathlib import Path

import pytest

from gateway import event_log as module
from gateway.disk import LocalDisk
from gateway.event_log import EventLog, NoLongerKept
from gateway.event_records import Record
from tests.gateway.event_logs import Written, has_no_hole, open_log
from tests.gateway.test_event_log import HANG_GUARD_S, Story


@pytest.fixture
def written(tmp_path: Path) -> Written:
    written = Written(tmp_path / "events")
    assert len(written.segments) > 5
    return written


def test_events_are_read_across_segments_from_any_number_and_after_any_restart(written: Written) -> None:
    for _ in range(2):
        event_log = written.open()
        assert event_log.last_seq == written.story.seq
        assert written.story.holds(event_log)
        for account, told in written.story.told.items():
            for after in range(len(told)):
                found = event_log.read(account, after, 7)
                assert found == told[after : after + len(found)] != []
        event_log.append(batch := written.story.batch())
        written.records += batch
        event_log.close()


def test_an_account_that_has_been_silent_for_many_segments_keeps_its_numbers(tmp_path: Path) -> None:
    written = Written(tmp_path / "events", 1)
    told = written.story.told[5] = []
    event_log = written.open()
    quiet = Story(8, accounts=3)
    quiet.seq, quiet.told = written.story.seq, written.story.told
    for _ in range(30):
        event_log.append(quiet.batch())
    assert (event_log.first_number(5), event_log.last_number(5), told) == (1, 0, [])
    loud = Story(9, accounts=5)
    loud.seq, loud.told = quiet.seq, written.story.told
    for _ in range(10):
        event_log.append(loud.batch())
    assert loud.holds(event_log)
    event_log.close()


def test_a_start_reads_the_last_segment_and_of_the_others_their_heads(written: Written) -> None:
    class CountingDisk(LocalDisk):
        bytes_read = 0

        def read(self, fd: int, size: int, offset: int) -> bytes:
            data = super().read(fd, size, offset)
            self.bytes_read += len(data)
            return data

    disk = CountingDisk()
    event_log = open_log(written.directory, written.story.seq, disk=disk)
    last, others = written.segments[-1].stat().st_size, len(written.segments) - 1
    opening = 8 << 10
    assert disk.bytes_read <= 2 * last + others * 200 + opening
    event_log.close()


def test_memory_holds_a_few_indexes_however_many_segments_there_are(tmp_path: Path) -> None:
    written = Written(tmp_path / "events", 120)
    event_log = written.open()
    assert len(event_log.segments) > 2 * module.NUMBERS_CACHED
    assert written.story.holds(event_log)
    assert event_log.index_of.cache_info().currsize == module.INDEXES_CACHED
    assert event_log.numbers_of.cache_info().currsize == module.NUMBERS_CACHED
    event_log.close()


def test_what_is_wholly_before_a_command_is_pruned_and_the_first_numbers_move(written: Written) -> None:
    event_log = written.open()
    kept = written.segments[3]
    event_log.prune(int(kept.stem) + 1)
    assert written.segments[0] == kept
    assert sorted(written.directory.glob("*.index"))[0] == kept.with_suffix(".index")
    for account, told in written.story.told.items():
        before = sum(event.journal_seq < int(kept.stem) for event in told)
        assert event_log.first_number(account) == before + 1
    assert has_no_hole(event_log, written.story)
    event_log.close()
    event_log = written.open(int(kept.stem))
    assert event_log.first_number(1) > 1
    assert has_no_hole(event_log, written.story)
    event_log.prune(written.story.seq + 100)
    assert [event_log.path] == written.segments
    event_log.close()


def test_a_reader_in_another_thread_reads_right_or_is_told_while_segments_are_added_and_deleted(
    tmp_path: Path,
) -> None:
    written = Written(tmp_path / "events")
    event_log, story, problems = written.open(), written.story, list[str]()
    finished = threading.Event()

    def follow(account: int) -> None:
        after, told = 0, story.told[account]
        while not finished.is_set() or after < event_log.last_number(account):
            try:
                found = event_log.read(account, after, 7)
            except NoLongerKept:
                after = event_log.first_number(account) - 1
                continue
            if found != told[after : after + len(found)]:
                problems.append(f"account {account} after {after}")
            after += len(found)
            if after >= len(told) - 3:
                after = max(event_log.first_number(account) - 1, 0) if not finished.is_set() else after

    threads = [threading.Thread(target=follow, args=(account,)) for account in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        event_log.append(story.batch())
        event_log.prune(story.seq - 60)
    finished.set()
    for thread in threads:
        thread.join(HANG_GUARD_S)
    assert not any(thread.is_alive() for thread in threads)
    assert problems == []
    event_log.close()


def test_a_replay_that_starts_behind_the_log_s_end_leaves_no_hole(written: Written) -> None:
    missing = [written.story.batch() for _ in range(3)]
    after_seq = written.story.seq
    numbers = {account: len(told) for account, told in written.story.told.items()}
    event_log = open_log(written.directory, after_seq, after_seq)
    assert event_log.last_seq < after_seq
    assert missing
    event_log.begin(after_seq, numbers.items())
    assert (event_log.last_seq, len(written.segments)) == (after_seq, 1)
    assert all(event_log.first_number(account) == number + 1 for account, number in numbers.items())
    event_log.append(written.story.batch())
    assert has_no_hole(event_log, written.story)
    event_log.close()
    event_log = open_log(written.directory, written.story.seq, after_seq)
    assert event_log.last_seq == written.story.seq
    assert has_no_hole(event_log, written.story)
    event_log.close()


def test_a_replay_that_starts_within_the_log_changes_nothing(written: Written) -> None:
    event_log = written.open()
    event_log.begin(5, ())
    event_log.append(written.records)
    assert written.story.holds(event_log)
    event_log.close()


def test_a_record_that_does_not_follow_is_not_taken(written: Written) -> None:
    event_log = written.open()
    with pytest.raises(ValueError, match="must follow"):
        event_log.append([Record(written.story.seq + 2, 0, [])])
    event_log.close()


class SmallDisk(LocalDisk):
    """Has `free` bytes; what is allocated can be written whatever else is."""

    free = 1 << 20

    def allocate(self, fd: int, offset: int, size: int) -> None:
        if size > self.free:
            raise OSError(ENOSPC, "No space left on device")
        self.free -= size
        super().allocate(fd, offset, size)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        missing = max(0, offset + len(data) - self.size(fd))
        if missing > self.free:
            raise OSError(ENOSPC, "No space left on device")
        self.free -= missing
        return super().write(fd, data, offset)


def test_a_full_disk_is_told_of_while_there_is_room_and_the_log_goes_on_until_it_is_used(tmp_path: Path) -> None:
    disk, story = SmallDisk(), Story(7)
    event_log = EventLog.open(tmp_path, 0, disk=disk, ahead=8_000, segment_bytes=2_000)
    assert not event_log.is_short
    event_log.append(story.batch())
    disk.free = 0
    while not event_log.is_short:
        event_log.append(story.batch())
    assert event_log.room >= 2_000
    for _ in range(5):  # no new segment, though this one is full
        event_log.append(story.batch())
    assert len(list(tmp_path.glob("*.events"))) == 1
    assert story.holds(event_log)
    disk.free = 1 << 20
    event_log.find_room()
    assert not event_log.is_short
    event_log.append(story.batch())
    assert len(list(tmp_path.glob("*.events"))) == 2
    assert story.holds(event_log)
    event_log.close()
