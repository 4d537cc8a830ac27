"""What keeps the data folder in order while the engine runs: snapshots from time to time, and no files beyond need.

A snapshot is made by a process of its own (`snapshotter.py`) once enough commands have come since the last. Two are
kept, so that there is one to fall back to. What of the journal and of the event log may be deleted, because it is older
or more than is to be kept, goes after a snapshot, and never what the older of the two snapshots needs. None of this is
needed for a command to be durable: what fails here is logged, and tried again later.
"""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
from msgspec import Struct

from gateway import snapshots
from gateway.disk import Disk
from gateway.event_log import EventLog
from gateway.journal import Journal
from gateway.manifest import Retention
from gateway.sequencer import settle

KEPT_SNAPSHOTS = 2
LOOK_S = 1.0
LONGEST_PAUSE_S = 600.0  # between two tries, of which each waits twice as long as the one before
LAST_WORDS = 500  # of a process that failed
HOUR_NS = 3_600 * 10**9
log = structlog.get_logger()


class SnapshotFailed(Exception):
    """The process that was to make a snapshot has not; the message is its last words."""


class Wanted(Struct, frozen=True):
    """A snapshot every so many commands, 0 for none; and how much of the journal is kept, None for all."""

    snapshot_every: int
    kept_bytes: int | None = None
    kept_hours: float | None = None


class Upkeep:
    """`run` until it is cancelled. `snapshot_seq` is the command of the newest snapshot, 0 where there is none."""

    def __init__(
        self,
        data: Path,
        wanted: Wanted,
        journal: Journal,
        event_log: EventLog,
        disk: Disk,
        *,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.data = data
        self.folder = data / snapshots.FOLDER
        self.wanted = wanted
        self.journal = journal
        self.event_log = event_log
        self.disk = disk
        self.clock = clock
        self.snapshot_seq = max(snapshots.snapshot_seqs(disk, self.folder), default=0)

    async def run(self) -> None:
        pause_s = LOOK_S
        while self.wanted.snapshot_every:
            await asyncio.sleep(pause_s)
            seq = self.journal.durable_seq
            if seq - self.snapshot_seq < self.wanted.snapshot_every:
                continue
            try:
                await self.tidy()  # which may make the room that the snapshot needs
                await self.snapshot(seq)
                self.snapshot_seq, pause_s = seq, LOOK_S
                await self.tidy()
            except Exception as problem:  # whatever it is, orders go on without it
                log.error("upkeep_failed", seq=seq, problem=str(problem) or repr(problem))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def snapshot(self, seq: int) -> None:
        """Let a process make the snapshot after command `seq`. SnapshotFailed, OSError."""
        command = (sys.executable, "-m", "gateway.snapshotter", "--data", str(self.data), "--until", str(seq))
        process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
        try:
            said, problem = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            raise SnapshotFailed(problem.decode(errors="replace").strip()[-LAST_WORDS:])
        log.info("snapshot_made", seq=seq, said=said.decode().strip())

    async def tidy(self) -> None:
        """Delete what is kept no longer: old snapshots first, then what the oldest of the rest does not need."""
        snapshots.prune(self.disk, self.folder, KEPT_SNAPSHOTS)
        kept = snapshots.snapshot_seqs(self.disk, self.folder)
        if len(kept) < KEPT_SNAPSHOTS:
            return
        done: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self.journal.prune(self.retention(kept[-1]), partial(settle, done))  # which may be cancelled by then
        if problem := await done:
            raise problem
        self.event_log.prune(self.journal.first_seq)

    def retention(self, until_seq: int) -> Retention:
        hours = self.wanted.kept_hours
        since_ns = None if hours is None else self.clock() - int(hours * HOUR_NS)
        return Retention(until_seq, self.wanted.kept_bytes, since_ns)
