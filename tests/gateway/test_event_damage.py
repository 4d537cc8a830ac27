"""Whatever becomes of the event log's files, what is served has no hole, and nothing is served wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.disk import LocalDisk
from gateway.event_log import EventLog, JournalBehind
from gateway.event_records import Record
from gateway.event_segments import EventLogDamaged
from tests.gateway.event_logs import Written, has_no_hole, open_log
from tests.gateway.test_event_log import Story, read_all


@pytest.fixture
def written(tmp_path: Path) -> Written:
    written = Written(tmp_path / "events")
    assert len(written.segments) > 5
    return written


def changed_copies(data: bytes) -> Iterator[bytes | None]:
    """A file as damage leaves it; None where it is gone."""
    yield None
    for size in range(0, len(data), 97):
        yield data[:size]
    for bit in range(0, len(data) * 8, 311):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def put(path: Path, data: bytes | None) -> None:
    path.unlink(missing_ok=True)
    if data is not None:
        path.write_bytes(data)


def test_an_index_that_is_missing_or_damaged_is_made_again(written: Written) -> None:
    for path in sorted(written.directory.glob("*.index"))[:3]:
        whole = path.read_bytes()
        for data in changed_copies(whole):
            put(path, data)
            event_log = written.open()
            assert written.story.holds(event_log)
            event_log.close()
        put(path, None)
        event_log = written.open()
        assert written.story.holds(event_log)
        event_log.close()
        assert path.read_bytes() == whole


def numbers_at(seq: int, story: Story) -> list[tuple[int, int]]:
    """The accounts' last numbers after this command."""
    return [(account, sum(event.journal_seq <= seq for event in told)) for account, told in story.told.items()]


def starts_until_it_is_mended(written: Written, replay_after: int) -> EventLog:
    """Start, and read everything; a reader that finds damage ends the process, and the next start knows where."""
    for _ in range(3):
        event_log = written.open(replay_after)
        told = written.story.told.items()
        event_log.begin(
            replay_after, [(account, sum(e.journal_seq <= replay_after for e in es)) for account, es in told]
        )
        event_log.append(written.records[event_log.last_seq :])
        try:
            assert has_no_hole(event_log, written.story)
        except EventLogDamaged:
            event_log.close()
            continue
        return event_log
    raise AssertionError("it is not mended")


def kept_aside(written: Written) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in written.directory.iterdir()}


def put_back(written: Written, files: dict[Path, bytes]) -> None:
    for path in written.directory.iterdir():
        path.unlink()
    for path, data in files.items():
        path.write_bytes(data)


@pytest.mark.parametrize("at", [0, 2, -2])
def test_a_damaged_segment_is_rebuilt_by_a_replay_from_before_it(written: Written, at: int) -> None:
    files = kept_aside(written)
    path = written.segments[at]
    for data in changed_copies(files[path]):
        put(path, data)
        event_log = starts_until_it_is_mended(written, 0)
        assert written.story.holds(event_log)
        event_log.close()
        put_back(written, files)


@pytest.mark.parametrize("at", [0, 2, -2])
def test_where_no_replay_reaches_the_damage_the_numbers_before_it_are_no_longer_kept(written: Written, at: int) -> None:
    files = kept_aside(written)
    path, following = written.segments[at], int(written.segments[at + 1].stem)
    for data in changed_copies(files[path]):
        put(path, data)
        event_log = starts_until_it_is_mended(written, written.story.seq)
        assert int(event_log.segments[0].path.stem) in {following, 1}
        assert event_log.last_seq == written.story.seq
        event_log.close()
        put_back(written, files)


def test_damage_that_a_reader_finds_is_looked_for_at_the_next_start(written: Written) -> None:
    path = written.segments[2]
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    event_log = written.open()
    assert event_log.last_seq == written.story.seq  # nobody has looked
    with pytest.raises(EventLogDamaged, match=path.name):
        written.story.holds(event_log)
    event_log.close()
    event_log = written.open()
    assert int(path.stem) <= event_log.last_seq < int(path.stem) + 10 < written.story.seq
    event_log.close()
    assert written.rebuilt()


def test_a_segment_that_is_shorter_than_it_was_is_noticed_by_the_start(written: Written) -> None:
    path = written.segments[2]
    path.write_bytes(path.read_bytes()[:-1])
    event_log = written.open()
    assert event_log.last_seq < int(written.segments[-1].stem) + 10 < written.story.seq
    event_log.close()


@pytest.mark.parametrize("offset", [3, 50, 300])
def test_a_start_gets_over_damage_before_a_segment_that_was_about_to_be_made(written: Written, offset: int) -> None:
    *_, path, made = written.segments
    made.write_bytes(b"")
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    event_log = written.open()
    assert event_log.last_seq < int(made.stem) - 1
    event_log.close()
    assert written.rebuilt()


@pytest.mark.parametrize("offset", [3, 50, 300])
def test_damage_in_use_is_told_whatever_it_is(written: Written, offset: int) -> None:
    for path in written.directory.glob("*.index"):
        path.write_bytes(path.read_bytes()[:70])  # without chains: who reads must scan
    event_log = written.open()
    path = written.segments[1]
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(EventLogDamaged, match=path.name):
        written.story.holds(event_log)
    event_log.close()


def test_what_was_cut_off_is_gone(written: Written, tmp_path: Path) -> None:
    last_seq = int(written.segments[-1].stem)
    event_log = open_log(written.directory, last_seq)
    event_log.append([Record(event_log.last_seq + 1, 0, [])])
    copy = tmp_path / "copy"
    shutil.copytree(written.directory, copy)  # as a crash leaves it
    event_log.close()
    EventLog.open(copy, event_log.last_seq, strict=True, ahead=0).close()


@pytest.mark.parametrize("journal_ends_in", [0, 2, -1])
def test_a_journal_that_ends_before_the_log_does_is_behind_and_nothing_is_changed(
    written: Written, journal_ends_in: int
) -> None:
    files = kept_aside(written)
    last_seq = int(written.segments[journal_ends_in].stem)
    with pytest.raises(JournalBehind):
        EventLog.open(written.directory, last_seq, strict=True, ahead=0)
    assert kept_aside(written) == files
    event_log = open_log(written.directory, last_seq)
    assert event_log.last_seq <= last_seq
    event_log.append(written.records[event_log.last_seq : last_seq])
    for account, told in written.story.told.items():
        assert read_all(event_log, account) == [event for event in told if event.journal_seq <= last_seq]
    event_log.close()


def test_damage_in_the_last_segment_does_not_hide_that_the_journal_is_behind(written: Written) -> None:
    path = written.segments[-1]
    data = bytearray(path.read_bytes())
    data[data.rindex(b"\xff\xd3OX", 0, data.rindex(b"\xff\xd3OX")) + 40] ^= 1  # in the last frame but one
    path.write_bytes(data)
    with pytest.raises(JournalBehind):
        EventLog.open(written.directory, written.story.seq - 1, strict=True, ahead=0)


class Crash(BaseException):
    """The process ends here."""


class CrashingDisk(LocalDisk):
    """Takes `left` more changes, and half of a write after them."""

    def __init__(self, left: int) -> None:
        self.left = left

    def change(self) -> None:
        if not self.left:
            raise Crash
        self.left -= 1

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        try:
            self.change()
        except Crash:
            super().write(fd, data[: len(data) // 2], offset)
            raise
        return super().write(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        self.change()
        super().truncate(fd, size)

    def rename(self, source: Path, target: Path) -> None:
        self.change()
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        self.change()
        super().remove(path)


def test_a_crash_at_any_change_of_the_disk_leaves_what_a_replay_makes_whole(tmp_path: Path) -> None:
    crashes = 0
    while True:
        story, records, directory, replay_after = Story(6), list[Record](), tmp_path / str(crashes), 0
        try:
            event_log = open_log(directory, 0, disk=CrashingDisk(crashes))
            for _ in range(30):
                records += (batch := story.batch())
                event_log.append(batch)
            replay_after = story.seq - 20
            event_log.prune(replay_after + 1)
            break
        except Crash:
            crashes += 1
        event_log = open_log(directory, story.seq, replay_after)
        event_log.append(records[event_log.last_seq :])
        assert event_log.last_seq == story.seq
        assert has_no_hole(event_log, story)
        assert event_log.first_number(1) == 1 or replay_after
        event_log.close()
    assert crashes > 50
