"""Restoring a backup: any copy of a data folder, taken while the engine ran, each file of it at another moment.

What was acknowledged before the copy began is in it, because files only grow, and what was in them stays. What came
later may be there in parts: so the journal is cut where it ceases to be whole, and all that goes beyond it is left out.
Only where a good snapshot and what the journal holds from there on lead further, that is restored: the journal then
begins behind the hole, as it does where its oldest segments were deleted.

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
from gateway.event_segments import scan
from gateway.frames import FRAME_BYTES, HEADER_BYTES, frame_after, frames, payload_length
from gateway.journal import Durability
from gateway.lock import DirectoryLock
from gateway.manifest import Manifest, load, store
from gateway.read_only import READ_ONLY_DISK
from gateway.recovery import WORKSHOP, recover
from gateway.segments import SUFFIX, JournalDamaged, first_seq_of, segment_header, segment_name, segment_names
from gateway.snapshots import SnapshotDamaged, snapshot_name, snapshot_seqs
from gateway.verification import Report, verify

FOLDERS = ("keys", "snapshots", "events", "journal")  # in the order in which they are moved to their place
UNWRITTEN_BYTES = 8  # zeros in a row: more than stand next to each other in a command


class NotRestorable(Exception):
    """There is no backup, or no room for one; the message names the flag."""


class Part(Struct, frozen=True):
    """A segment as far as it is whole: up to `last_seq`, which is the one before `first_seq` where nothing is.

    `note` says what follows that is not; `damage` is told where that is no trace of the copying.
    """

    name: str
    first_seq: int
    last_seq: int
    end: int
    note: str = ""
    damage: JournalDamaged | None = None


class Cut(Struct):
    """What of a backup's journal goes on from its beginning, or from one of the good `snapshots`; `notes` say what does
    not. `beyond_seq` is the newest later command that anything in the backup tells of; 0 where nothing does."""

    parts: list[Part] = []
    snapshots: list[int] = []
    notes: list[str] = []
    beyond_seq: int = 0

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
        report.beyond_seq = cut.beyond_seq
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
    """The longest history that is whole. JournalUnusable, OSError."""
    directory, folder = backup / "journal", backup / snapshots.FOLDER
    known = load(READ_ONLY_DISK, directory) or Manifest()
    names = segment_names(READ_ONLY_DISK, directory, known)
    found = [part_of(directory / name, is_last=name == names[-1]) for name in names]
    good, notes = good_snapshots(folder)
    cut = Cut(longest(directory, unbroken(found), good))
    if cut.parts and not pass_over_damage:
        require_explained(directory, cut.parts[-1], known, is_last=cut.parts[-1] is found[-1])
    for part in found:
        if part not in cut.parts:
            cut.notes.append(f"{directory / part.name}, which does not go on with what is restored")
        elif part.note:
            cut.notes.append(part.note)
    cut.notes += notes
    cut.snapshots = [seq for seq in good if seq <= cut.last_seq]
    later = [seq for seq in good if seq > cut.last_seq]
    cut.notes += [
        f"{folder / snapshot_name(seq)}, which is of a later state than the journal leads up to" for seq in later
    ]
    told = max([*later, last_told(backup / "events"), *(part.last_seq for part in found)], default=0)
    cut.beyond_seq = told if told > cut.last_seq else 0
    return cut


def unbroken(found: list[Part]) -> list[list[Part]]:
    """The segments in runs in which each goes on where the one before it ends."""
    runs: list[list[Part]] = []
    for part in found:
        if runs and part.first_seq == runs[-1][-1].last_seq + 1:
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


def longest(directory: Path, runs: list[list[Part]], good: list[int]) -> list[Part]:
    """The run that leads furthest, of those of which the beginning is known: from nothing, or from a snapshot."""
    begun = [
        run
        for run in runs
        if run[0].first_seq == 1 or any(run[0].first_seq <= seq + 1 <= run[-1].last_seq + 1 for seq in good)
    ]
    if begun:
        return max(begun, key=lambda run: run[-1].last_seq)
    for run in runs:
        if run[-1].damage is not None:
            raise run[-1].damage
    first_seq = runs[-1][0].first_seq
    raise JournalDamaged(directory / runs[-1][0].name, 0, f"no good snapshot leads up to command {first_seq}")


def require_explained(directory: Path, last: Part, known: Manifest, *, is_last: bool) -> None:
    """The history ends with this segment because of how it was copied. JournalDamaged where that is not so."""
    if last.damage is not None:
        raise last.damage
    sealed = known.of(last.first_seq)
    if not is_last and sealed is not None and sealed.last_seq == last.last_seq:  # it is complete, so one is missing
        path = directory / segment_name(last.last_seq + 1)
        raise JournalDamaged(path, 0, f"a segment that starts with command {last.last_seq + 1} is missing")


def part_of(path: Path, *, is_last: bool) -> Part:
    """A segment up to where it ceases to be whole. JournalUnusable, OSError."""
    data, first_seq = read_all(READ_ONLY_DISK, path), first_seq_of(path.name)
    header = segment_header(path, data)
    if header is None:
        is_begun = is_last and (len(data) <= HEADER_BYTES or not data.strip(b"\0"))
        damage = None if is_begun else JournalDamaged(path, 0, "the header is not whole")
        return Part(path.name, first_seq, first_seq - 1, 0, f"{path}, which has no whole header", damage)
    last_seq, end = first_seq - 1, HEADER_BYTES
    for frame in frames(data, HEADER_BYTES, header.seed):
        if frame.first_seq != last_seq + 1:
            why = f"command {last_seq + 1} must follow, not {frame.first_seq}"
            return Part(
                path.name, first_seq, last_seq, end, f"{path} from offset {end:,} on", JournalDamaged(path, end, why)
            )
        last_seq, end = frame.last_seq, frame.end
    rest = data[end:]
    if not rest.strip(b"\0"):
        return Part(path.name, first_seq, last_seq, end)
    if was_on_its_way(rest, header.seed):
        note = f"{path} from offset {end:,} on, where it was written to while it was copied"
        return Part(path.name, first_seq, last_seq, end, note)
    damage = JournalDamaged(path, end, "a batch is damaged, and not only half copied")
    return Part(path.name, first_seq, last_seq, end, f"{path} from offset {end:,} on, where it is damaged", damage)


def good_snapshots(folder: Path) -> tuple[list[int], list[str]]:
    """The commands after which there is a snapshot that can be used, and what is said of the others. OSError."""
    good, notes = [], []
    for seq in snapshot_seqs(READ_ONLY_DISK, folder):
        try:
            snapshots.load(READ_ONLY_DISK, folder, seq)
            good.append(seq)
        except SnapshotDamaged as problem:
            notes.append(str(problem))
    return good, notes


def last_told(folder: Path) -> int:
    """The newest command of which the event log tells; 0 where there is none. OSError."""
    for path in sorted(files(folder, EVENTS_SUFFIX), reverse=True):
        found = scan(path, read_all(READ_ONLY_DISK, path), until_seq=0)
        if found is not None and found.beyond:
            return found.beyond
    return 0


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
        if part.end:
            data = read_all(READ_ONLY_DISK, backup / "journal" / part.name)[: part.end]
            write(workshop / "journal" / part.name, data)
    for seq in cut.snapshots:
        copy_file(backup / snapshots.FOLDER / snapshot_name(seq), workshop / snapshots.FOLDER)
    for path in files(backup / "events", EVENTS_SUFFIX):  # their indexes are made again
        copy_file(path, workshop / "events")
    for path in files(backup / "keys", ".key"):
        copy_file(path, workshop / "keys")


def files(folder: Path, suffix: str) -> Iterator[Path]:
    return (folder / name for name in READ_ONLY_DISK.names(folder) if name.endswith(suffix) and DRAFT not in name)


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
