"""Small event logs of many segments to write, damage and read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.disk import Disk
from gateway.event_log import EventLog, NoLongerKept
from gateway.event_records import Numbered, Record
from tests.gateway.test_event_log import Story

SEGMENT_BYTES = 700


def open_log(directory: Path, last_seq: int, replay_after: int = 0, disk: Disk | None = None) -> EventLog:
    return EventLog.open(
        directory, last_seq, replay_after=replay_after, segment_bytes=SEGMENT_BYTES, ahead=0, disk=disk
    )


class Written:
    """A closed log of several segments, and what went in."""

    def __init__(self, directory: Path, batches: int = 30) -> None:
        self.directory = directory
        self.story = Story(4)
        self.records: list[Record] = []
        event_log = open_log(directory, 0)
        for _ in range(batches):
            self.records += (batch := self.story.batch())
            event_log.append(batch)
        assert self.story.holds(event_log)
        event_log.close()

    @property
    def segments(self) -> list[Path]:
        return sorted(self.directory.glob("*.events"))

    def open(self, replay_after: int = 0) -> EventLog:
        return open_log(self.directory, self.story.seq, replay_after)

    def rebuilt(self) -> bool:
        """Whether a start that can replay everything ends with all of it."""
        event_log = self.open()
        event_log.append(self.records[event_log.last_seq :])
        try:
            return self.story.holds(event_log)
        finally:
            event_log.close()


def has_no_hole(event_log: EventLog, story: Story) -> bool:
    """Whether all is served that is said to be kept, as it was, and nothing else."""
    for account, told in story.told.items():
        first, last = event_log.first_number(account), event_log.last_number(account)
        found: list[Numbered] = []
        while more := event_log.read(account, first - 1 + len(found), 50):
            found += more
        assert found == told[first - 1 : last]
        if first > 1:
            with pytest.raises(NoLongerKept):
                event_log.read(account, first - 2, 50)
    return True
