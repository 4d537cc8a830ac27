"""From the data folder to the exchange as it was: the newest good snapshot, then the journal's commands after it.

    snapshots   . . . . . . S
    journal     [.............|--- replayed --->] last command
    event log   [..............E|-- filled in ->]

Replay starts at the newest snapshot that can be used and that the event log reaches, so that what the event log lacks
is filled in on the way. Where no snapshot is as old as that, and the journal does not reach back to its beginning,
replay starts at the newest there is, and events before it are no longer kept. A snapshot that cannot be used is passed
over for an older one, and in the end for the whole journal.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from msgspec import Struct

from engine.exchange import Exchange
from gateway import snapshots
from gateway.disk import LOCAL_DISK, Disk
from gateway.event_log import EventLog
from gateway.event_records import Record, private
from gateway.journal import Durability, Journal, Worker
from gateway.manifest import Manifest
from gateway.segments import JournalUnusable, segment_names
from gateway.snapshots import SnapshotDamaged, snapshot_name, snapshot_seqs

REPLAY_BATCH = 1_000
WORKSHOP = "restoring"  # in a data folder: what a restoration has put together so far
log = structlog.get_logger()


class SnapshotAhead(JournalUnusable):
    """A snapshot is of a state that the journal does not lead up to."""

    def __init__(self, path: Path, seq: int, last_seq: int) -> None:
        super().__init__(
            f"{path} is the state after command {seq}, but the journal ends at command {last_seq}: acknowledged"
            " commands are missing. Restore the journal, or remove the snapshot to go on without them"
        )


class JournalGone(JournalUnusable):
    """There are snapshots, and no journal."""

    def __init__(self, directory: Path, seq: int) -> None:
        super().__init__(
            f"{directory} holds no segment, but there is a snapshot of the state after command {seq}: what was"
            " acknowledged since is missing. Restore the journal"
        )


class RestorationUnfinished(JournalUnusable):
    """The folder is to hold a backup, and does not yet; to begin at nothing would be to forget it."""

    def __init__(self, workshop: Path) -> None:
        super().__init__(
            f"{workshop} is what a restoration has left that did not finish: run `outcry restore` again, or remove it"
            " to begin a new exchange"
        )


class Recovered(Struct):
    """What a start begins with. `snapshot_seq` is the command after which it replayed; 0 where from the first."""

    exchange: Exchange
    journal: Journal
    event_log: EventLog
    snapshot_seq: int


def recover(data: Path, durability: Durability, *, disk: Disk = LOCAL_DISK, worker: Worker | None = None) -> Recovered:
    """Open what is in a data folder, and bring the state up to the last command. JournalUnusable, JournalBehind.

    What was torn is cut off on the way; nothing else of the journal is changed.
    """
    require_restored(disk, data)
    folder = data / snapshots.FOLDER
    seqs = snapshot_seqs(disk, folder)
    after_seq = max(seqs, default=0)
    journal = Journal.open(
        data / "journal", durability=durability, after_seq=after_seq, prepared=False, disk=disk, worker=worker
    )
    strict = durability is Durability.FSYNC
    if strict and seqs and journal.is_empty:
        raise JournalGone(journal.directory, after_seq)
    snapshots.drop_drafts(disk, folder)
    oldest = 0 if journal.first_seq == 1 else min((seq for seq in seqs if seq + 1 >= journal.first_seq), default=0)
    event_log = EventLog.open(data / "events", journal.last_seq, strict=strict, replay_after=oldest, disk=disk)
    seqs = drop_ahead(disk, folder, seqs, journal)
    start, exchange = starting_point(disk, folder, seqs, journal, event_log)
    journal.prepare()
    event_log.begin(start, ((account.account_id, account.number) for account in exchange.accounts.values()))
    begun = time.process_time()
    replay(exchange, journal, event_log, start)
    seconds = round(time.process_time() - begun, 3)
    log.info("recovered", snapshot_seq=start, replayed=journal.last_seq - start, seconds=seconds)
    return Recovered(exchange, journal, event_log, start)


def require_restored(disk: Disk, data: Path) -> None:
    """RestorationUnfinished where one was begun whose last step, the journal, was not done."""
    if WORKSHOP in disk.names(data) and not segment_names(disk, data / "journal", Manifest()):
        raise RestorationUnfinished(data / WORKSHOP)


def drop_ahead(disk: Disk, folder: Path, seqs: list[int], journal: Journal) -> list[int]:
    """Drop the snapshots that the journal does not lead up to, and return the rest: commands to come will have their
    place in the journal, and they must not be taken for the state then. SnapshotAhead where commits are synced."""
    for seq in seqs:
        if seq > journal.last_seq:
            if journal.durability is Durability.FSYNC:
                raise SnapshotAhead(folder / snapshot_name(seq), seq, journal.last_seq)
            log.warning("snapshot_dropped", seq=seq, problem=f"the journal ends at command {journal.last_seq}")
            disk.remove(folder / snapshot_name(seq))
            disk.sync_directory(folder)
    return [seq for seq in seqs if seq <= journal.last_seq]


def starting_point(
    disk: Disk, folder: Path, seqs: list[int], journal: Journal, event_log: EventLog
) -> tuple[int, Exchange]:
    """The newest good snapshot that the event log reaches, or else the first command, or else the newest good one."""
    newest: tuple[int, Exchange] | None = None
    for seq in seqs:
        try:
            about, exchange = snapshots.load(disk, folder, seq)
        except SnapshotDamaged as problem:
            log.warning("snapshot_passed_over", seq=seq, problem=str(problem))
            continue
        journal.last_time_ns = max(journal.last_time_ns, about.time_ns)  # of a journal that has lost all
        if seq <= event_log.last_seq and seq + 1 >= journal.first_seq:
            return seq, exchange
        newest = newest or (seq, exchange)
    if journal.first_seq == 1:
        return 0, Exchange()
    if newest is None or newest[0] + 1 < journal.first_seq:
        words = f"{journal.directory} begins with command {journal.first_seq}, and no good snapshot leads up to it"
        raise JournalUnusable(words)
    return newest


def replay(exchange: Exchange, journal: Journal, event_log: EventLog, after_seq: int) -> None:
    """Fold the journal into the state, and into the event log what that does not hold yet."""
    records: list[Record] = []
    known = event_log.last_seq
    apply = exchange.apply
    with without_collections():
        for entry in journal.replay(after_seq):
            seq, time_ns = entry.seq, entry.time_ns
            events = apply(seq, time_ns, entry.command)
            if seq > known:
                records.append(Record(seq, time_ns, private(events)))
                if len(records) == REPLAY_BATCH:
                    event_log.append(records)
                    records = []
        event_log.append(records)


@contextmanager
def without_collections() -> Iterator[None]:
    """Nothing that a replay leaves behind is garbage in cycles, and looking for it would take most of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
