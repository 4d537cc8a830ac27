"""Whole data folders of a small venue, written in this process by the code that writes them always."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

from engine.commands import Command
from engine.events import Event
from engine.exchange import Exchange
from gateway import snapshots
from gateway.disk import LOCAL_DISK
from gateway.event_log import EventLog
from gateway.event_records import Record, private
from gateway.journal import Durability, Journal
from tests.engine.flows import HOLDERS, Pair, instruction, opened
from tests.gateway.journals import TIME_NS

BATCH = 7  # commands


class Recorder(Pair):
    """A random flow, journalled as it is applied."""

    def __init__(
        self,
        data: Path,
        *,
        segment_bytes: int,
        snapshots_after: Sequence[int],
        opening: Sequence[Command] | None = None,
    ) -> None:
        super().__init__()
        self.data = data
        self.exchange = Exchange()
        self.journal = Journal.open(data / "journal", durability=Durability.WRITE, segment_bytes=segment_bytes)
        self.event_log = EventLog.open(data / "events", 0)
        self.snapshots_after = snapshots_after
        self.now = TIME_NS
        for command in opening or opened(HOLDERS):
            self.record(command)

    def apply(self, command: Command) -> list[Event]:
        self.naive.apply(self.seq + 1, self.now, command)  # it knows what orders there are
        return self.record(command)

    def record(self, command: Command) -> list[Event]:
        self.seq += 1
        seq, time_ns = self.seq, self.now
        events = self.exchange.apply(seq, time_ns, command)
        self.journal.append(seq, time_ns, command)
        self.event_log.add([Record(seq, time_ns, private(events))])
        if seq % BATCH == 0 or seq in self.snapshots_after:
            self.journal.commit(lambda problem: None)
        if seq in self.snapshots_after:
            snapshots.store(LOCAL_DISK, self.data / snapshots.FOLDER, seq, time_ns, self.exchange)
        return events

    def close(self) -> None:
        self.journal.commit(lambda problem: None)
        self.journal.close()
        self.event_log.flush()
        self.event_log.close()


def record(
    data: Path, count: int = 300, *, segment_bytes: int = 2_000, snapshots_after: Sequence[int] = (), seed: int = 1
) -> Recorder:
    """A closed data folder of `count` random instructions and those that open the venue."""
    recorder, seeds = Recorder(data, segment_bytes=segment_bytes, snapshots_after=snapshots_after), Random(seed)
    for _ in range(count):
        recorder.run(*instruction(seeds.randrange(2**64)))
    recorder.close()
    return recorder
