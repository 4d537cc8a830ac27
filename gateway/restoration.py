"""Restoring a backup: any copy of a data folder, taken while the engine ran, each file of it at another moment.

What was acknowledged before the copy began is in it, because files only grow, and what was in them stays. What came
later may be there in parts: so the journal is cut where it ceases to be whole, and all that goes beyond it is left out.

    journal    . . . . . . . . . |  [hole] . . . . .      read behind the cut: copied later than what is before it
    snapshots       S         S  |    S
    event log  . . . . . . . .   | . .                    filled in, and cut off, as at any start

Space that was not written yet when it was copied reads as zeros; a batch may end there, or where the file ended. Where
it is broken otherwise it is no trace of the copying but damage, and is not passed over unless that is asked for: what
is behind it may have been acknowledged long before.

All is put together in `DATA/restoring`, replayed and verified there, and moved to its place at last, the journal after
everything else: so a start finds a folder that was restored whole, or one without a journal.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from gateway import snapshots
from gateway.disk import DRAFT, LOCAL_DISK, read_all, write_all
from gateway.event_segments import SUFFIX as EVENTS_SUFFIX
from gateway.frames import FRAME_BYTES, HEADER_BYTES, frame_after, frames, payload_length
from gateway.journal import Durability
from gateway.lock import DirectoryLock
from gateway.manifest import Manifest, load, store
from gateway.read_only import READ_ONLY_DISK
from gateway.recovery import recover
from gateway.segments import SUFFIX, JournalDamaged, first_seq_of, segment_header, segment_names
from gateway.snapshots import SnapshotDamaged, snapshot_name, snapshot_seqs
from gateway.verification import Report, verify

WORKSHOP = "restoring"
FOLDERS = ("keys", "snapshots", "events", "journal")  # in the order in which they are moved to their place
UNWRITTEN_BYTES = 8  # zeros in a row: more than stand next to each other in a command


class NotRestorable(Exception):
    """There is no backup, or no room for one; the message names the flag."""


class Part(Struct, frozen=True):
    """A segment as far as it counts."""

    name: str
    last_seq: int
    end: int


class Cut(Struct):
    """What of a backup's journal goes on from its first command; `notes` say what does not."""

    parts: list[Part] = []
    notes: list[str] = []

    @property
    def last_seq(self) -> int:
        return self.parts[-1].last_seq if self.parts else 0


def restore(backup: Path, data: Path, *, pass_over_damage: bool = False) -> tuple[Report, list[str]]:
    """Make `data` what the backup holds; what was found by verifying it, and what was left out.

    NotRestorable, JournalUnusable, DirectoryLocked or OSError, and then `data` has no journal.
    """
    if not list((backup / "journal").glob(f"*{SUFFIX}")):
        raise NotRestorable(f"{backup} is no data folder: it has no journal")
    data.mkdir(parents=True, exist_ok=True)
    lock = DirectoryLock.acquire(data, wait_ns=0)
    try:
        workshop = empty_workshop(data)
        cut = whole_part(backup, pass_over_damage=pass_over_damage)
        copy(backup, workshop, cut)
        start(workshop)
        report = verify(workshop)
        if report.fault is None:
            settle(workshop, data)
            report.data = str(data)
        return report, cut.notes
    finally:
        lock.release()


def empty_workshop(data: Path) -> Path:
    """A folder to put things together in. What an interrupted restoration has left goes; anything else is refused."""
    workshop = data / WORKSHOP
    if list((data / "journal").glob("*")):
        raise NotRestorable(f"--data {data} has a journal already: give a folder that has none")
    for name in FOLDERS:
        if list((data / name).glob("*")) and not workshop.exists():
            raise NotRestorable(f"--data {data} has {name} already: give an empty folder")
    if workshop.exists():
        for folder in (workshop, *(data / name for name in FOLDERS)):
            shutil.rmtree(folder, ignore_errors=True)
    workshop.mkdir(mode=0o700)
    return workshop


def whole_part(backup: Path, *, pass_over_damage: bool) -> Cut:
    """Where the journal ceases to be whole. JournalDamaged, OSError."""
    directory, cut = backup / "journal", Cut()
    known = load(READ_ONLY_DISK, directory) or Manifest()
    covered = max(snapshot_seqs(READ_ONLY_DISK, backup / snapshots.FOLDER), default=0)
    for name in segment_names(READ_ONLY_DISK, directory, known):
        path = directory / name
        if cut.parts and first_seq_of(name) != cut.last_seq + 1:
            last = cut.parts[-1]
            sealed = known.of(first_seq_of(last.name))
            if sealed is None or sealed.last_seq != last.last_seq:
                cut.notes.append(f"{path}, which goes on with a later command than the journal has before it")
                continue
            # The segment before is complete, so one is missing. If a snapshot covers it, it was deleted meanwhile.
            if first_seq_of(name) > covered + 1:
                raise JournalDamaged(path, 0, f"a segment that starts with command {cut.last_seq + 1} is missing")
            cut.notes += [f"{directory / part.name}, from before a segment that is missing" for part in cut.parts]
            cut.parts = []
        part = part_of(path, read_all(READ_ONLY_DISK, path), cut.notes, pass_over_damage=pass_over_damage)
        if part is not None:
            cut.parts.append(part)
    return cut


def part_of(path: Path, data: bytes, notes: list[str], *, pass_over_damage: bool) -> Part | None:
    """A segment up to where it ceases to be whole; None where there is not even a header."""
    header = segment_header(path, data)
    if header is None:
        if data.strip(b"\0") and len(data) > HEADER_BYTES and not pass_over_damage:
            raise JournalDamaged(path, 0, "the header is not whole")
        notes.append(f"{path}, which has no whole header")
        return None
    last_seq, end = header.first_seq - 1, HEADER_BYTES
    for frame in frames(data, HEADER_BYTES, header.seed):
        if frame.first_seq != last_seq + 1:
            raise JournalDamaged(path, end, f"command {last_seq + 1} must follow, not {frame.first_seq}")
        last_seq, end = frame.last_seq, frame.end
    rest = data[end:]
    if rest.strip(b"\0"):
        if not pass_over_damage and not was_on_its_way(rest, header.seed):
            raise JournalDamaged(path, end, "a batch is damaged, and not only half copied")
        notes.append(f"{path} from offset {end:,} on, where it was written to while it was copied")
    return Part(path.name, last_seq, end)


def was_on_its_way(rest: bytes, seed: int) -> bool:
    """Whether a broken batch, with which `rest` begins, was being written when it was copied."""
    later = frame_after(rest, 0, seed)
    end = FRAME_BYTES + payload_length(rest) if len(rest) >= FRAME_BYTES else len(rest) + 1
    if later is None and end > len(rest):
        return True  # the file ended there
    return bytes(UNWRITTEN_BYTES) in rest[: later or end]


def copy(backup: Path, workshop: Path, cut: Cut) -> None:
    """Bring what counts into the workshop. OSError."""
    (workshop / "journal").mkdir(mode=0o700)
    for part in cut.parts:
        data = read_all(READ_ONLY_DISK, backup / "journal" / part.name)[: part.end]
        write(workshop / "journal" / part.name, data)
    for seq in snapshot_seqs(READ_ONLY_DISK, backup / snapshots.FOLDER):
        copy_snapshot(backup / snapshots.FOLDER, workshop / snapshots.FOLDER, seq, cut)
    for path in files(backup / "events", EVENTS_SUFFIX):  # their indexes are made again
        copy_file(path, workshop / "events")
    for path in files(backup / "keys", ".key"):
        copy_file(path, workshop / "keys")


def files(folder: Path, suffix: str) -> Iterator[Path]:
    return (folder / name for name in READ_ONLY_DISK.names(folder) if name.endswith(suffix) and DRAFT not in name)


def copy_snapshot(folder: Path, target: Path, seq: int, cut: Cut) -> None:
    path = folder / snapshot_name(seq)
    if seq > cut.last_seq:
        cut.notes.append(f"{path}, which is of a later state than the journal leads up to")
        return
    try:
        snapshots.load(READ_ONLY_DISK, folder, seq)
    except SnapshotDamaged as problem:
        cut.notes.append(str(problem))
        return
    copy_file(path, target)


def copy_file(path: Path, folder: Path) -> None:
    """A copy that its owner alone can read."""
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / path.name
    os.close(LOCAL_DISK.open(target, make=True))
    shutil.copyfile(path, target)


def write(path: Path, data: bytes) -> None:
    fd = LOCAL_DISK.open(path, make=True)
    try:
        write_all(LOCAL_DISK, fd, data, 0)
    finally:
        LOCAL_DISK.close(fd)


def start(workshop: Path) -> None:
    """Do what a start does: cut off what was not finished, replay, and complete the event log. JournalUnusable."""
    recovered = recover(workshop, Durability.WRITE)
    recovered.event_log.flush()
    recovered.event_log.close()
    journal = recovered.journal
    journal.close()
    made = Manifest(first_seq=journal.first_seq, sealed=journal.sealed)
    store(LOCAL_DISK, workshop / "journal", made, durable=True)


def settle(workshop: Path, data: Path) -> None:
    """Make all of it durable, and move it to its place: the journal last, for without it nothing counts."""
    for path in workshop.rglob("*"):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    for name in FOLDERS:
        if (workshop / name).exists():
            (data / name).mkdir(exist_ok=True)  # an empty one is replaced
            (workshop / name).rename(data / name)
    LOCAL_DISK.sync_directory(data)
    shutil.rmtree(workshop)
