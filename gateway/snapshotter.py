"""`python -m gateway.snapshotter`: make a snapshot beside a running engine, from what it has on the disk.

It begins with the newest snapshot there is, replays the journal's commands up to the one it is told, which are durable,
and writes down the state. The engine starts it and goes on meanwhile; it has the second core and the leftovers of the
disk, and a lock, so that one that outlived its engine is not joined by another.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from engine.exchange import Exchange
from gateway import snapshots
from gateway.disk import LOCAL_DISK, Disk
from gateway.lock import DirectoryLock, DirectoryLocked
from gateway.recovery import without_collections
from gateway.segments import JournalUnusable, read_journal
from gateway.snapshots import About, SnapshotDamaged, snapshot_seqs

NICENESS = 10  # orders go first


class Settings(BaseSettings):
    """Make a snapshot of the state after a command that is on the disk."""

    model_config = SettingsConfigDict(
        env_prefix="OUTCRY_", extra="ignore", cli_prog_name="python -m gateway.snapshotter", cli_kebab_case=True
    )

    data: Path = Field(Path("data"), description="folder of the journal")
    until: int = Field(description="the command after which the state is taken", gt=0)


def main() -> None:
    settings = CliApp.run(Settings)
    os.nice(NICENESS)
    folder = settings.data / snapshots.FOLDER
    LOCAL_DISK.names(folder)
    try:
        lock = DirectoryLock.acquire(folder, wait_ns=0)
        about = make(LOCAL_DISK, settings.data, settings.until)
        lock.release()
    except (DirectoryLocked, JournalUnusable, OSError) as problem:
        sys.exit(f"snapshot: {problem}")
    print(f"snapshot seq={about.seq} digest={about.digest} bytes={about.size}")


def make(disk: Disk, data: Path, until_seq: int) -> About:
    """Write the snapshot of the state after command `until_seq`. JournalUnusable, OSError."""
    folder = data / snapshots.FOLDER
    seq, time_ns, exchange = newest(disk, folder, until_seq)
    with without_collections():
        for entry in read_journal(disk, data / "journal", seq, until_seq):
            exchange.apply(entry.seq, entry.time_ns, entry.command)
            time_ns = entry.time_ns
    return snapshots.store(disk, folder, until_seq, time_ns, exchange)


def newest(disk: Disk, folder: Path, until_seq: int) -> tuple[int, int, Exchange]:
    """The newest state that is known, its command and its time."""
    for seq in snapshot_seqs(disk, folder):
        if seq <= until_seq:
            try:
                about, exchange = snapshots.load(disk, folder, seq)
            except SnapshotDamaged:
                continue
            return seq, about.time_ns, exchange
    return 0, 0, Exchange()


if __name__ == "__main__":
    main()
