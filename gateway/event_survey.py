"""What a start finds of the event log: which files hold what, and which of them go on from each other.

Only the last segment is scanned, and of the others those whose index is missing, which is how one that was found
damaged is marked: the rest are taken at their index's word, if they are as long as it says.

    sealed · sealed · sealed · [hole] · sealed · last
    └──── kept, if replay fills in ────┘
                    or else            └──── kept ──┘
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from gateway.disk import Disk, read_all
from gateway.event_chains import About
from gateway.event_segments import Scan, Sealed, load_about, scan, segment_paths, store_index


class Found(Struct):
    """What a file holds, of the commands up to the journal's last: up to `last_seq`, if it `is_usable` at all.

    `beyond` is the newest later command that it tells of; `sealed` or `scan` says where its frames are.
    """

    path: Path
    first_seq: int
    last_seq: int = 0
    beyond: int = 0
    sealed: Sealed | None = None
    scan: Scan | None = None

    @property
    def is_usable(self) -> bool:
        return self.sealed is not None or self.scan is not None


def unbroken(found: Sequence[Found], replay_after: int) -> list[Found]:
    """The files that go on from each other, of which the log consists: none of them has a hole before it."""
    if found and replay_after == 0 and not (found[0].is_usable and found[0].first_seq == 1):
        return []  # the journal has all of it, and so shall the log
    run: list[Found] = []
    for segment in found:
        if run and segment.is_usable and segment.first_seq == run[-1].last_seq + 1:
            run.append(segment)
            continue
        is_unfinished = segment is found[-1] and not segment.is_usable
        if run and (is_unfinished or run[-1].last_seq >= replay_after):
            break
        run = [segment] if segment.is_usable else []
    return run


def survey(disk: Disk, directory: Path, last_seq: int) -> list[Found]:
    """What each segment in a folder holds, of the commands up to `last_seq`. OSError."""
    paths = segment_paths(disk, directory)
    return [look_at(disk, path, last_seq, is_last=path is paths[-1]) for path in paths]


def look_at(disk: Disk, path: Path, last_seq: int, *, is_last: bool) -> Found:
    first_seq = int(path.stem)
    known = None if is_last else load_about(disk, path)
    if known is not None and known[1].last_seq <= last_seq:
        header, about = known
        sealed = Sealed(disk, path, header, about.last_seq, about.end)
        return Found(path, first_seq, about.last_seq, sealed=sealed)
    found = scan(path, read_all(disk, path), last_seq)
    if found is None:
        return Found(path, first_seq)
    if is_last:
        return Found(path, first_seq, found.last_seq, found.beyond, scan=found)
    if not found.torn:
        store_index(disk, path, found.header, About(found.last_seq, found.end))
    sealed = Sealed(disk, path, found.header, found.last_seq, found.end)
    return Found(path, first_seq, found.last_seq, found.beyond, sealed=sealed)
