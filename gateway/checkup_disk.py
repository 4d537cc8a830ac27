"""Checks of a data folder and of the disk it is on. A folder that is not there yet is judged by the one above it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway import event_segments, segments, snapshots
from gateway.append_file import AHEAD_BYTES
from gateway.checkup import Finding, fail, mib, ok, warn
from gateway.disk import LOCAL_DISK
from gateway.frames import HEADER_BYTES, read_header

SYNCS = 50
SYNC_BYTES = 200  # what a small batch comes to
WELL_MS, BADLY_MS = 10.0, 100.0  # for the slowest of them
WELL_BYTES = 1 << 30
GIVE = "Give it to the user that runs the engine."


def nearest(data: Path) -> Path:
    """The folder itself, or the first above it that there is."""
    data = data.absolute()
    return next(path for path in (data, *data.parents) if path.exists())


def guarded(name: str, check: Callable[[Path], Iterator[Finding]], data: Path) -> Iterator[Finding]:
    """What a check says, or that it was not let."""
    try:
        yield from check(data)
    except OSError as problem:
        yield fail(name, f"it cannot be told: {problem}", GIVE)


def folder(data: Path) -> Iterator[Finding]:
    place = nearest(data)
    if not place.is_dir():
        yield fail("data", f"{place} is no folder", "Give another --data.")
        return
    closed = [path for path in (place, *parts(data)) if not os.access(path, os.R_OK | os.W_OK | os.X_OK)]
    if closed:
        names = ", ".join(map(str, closed))
        yield fail("data", f"{names} cannot be read and written to by this user", GIVE)
    elif place == data.absolute():
        yield ok("data", f"{data} can be written to")
    elif can_be_made_in(place):
        yield ok("data", f"{data} is not there yet, and can be made")
    else:
        yield fail("data", f"{data} is not there yet, and cannot be made in {place}", "Give another --data.")


def parts(data: Path) -> Iterator[Path]:
    """The folders in a data folder that there are."""
    return (data / name for name in ("keys", snapshots.FOLDER, "events", "journal") if (data / name).exists())


def can_be_made_in(place: Path) -> bool:
    """Whether there may be new folders: not all that permissions allow is possible."""
    try:
        Path(tempfile.mkdtemp(prefix="outcry-doctor-", dir=place)).rmdir()
    except OSError:
        return False
    return True


def holder(data: Path) -> Iterator[Finding]:
    """Who runs on the folder. The lock is looked at in passing, and shared: an engine that starts waits for longer."""
    path = data / "lock"
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        yield ok("lock", "no engine has run on this folder")
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        yield warn("lock", f"process {pid or 'unknown'} runs on this folder", "Stop it before you start another.")
    else:
        yield ok("lock", "no engine runs on this folder")
    finally:
        os.close(fd)


FORMATS = (
    ("journal", segments.SUFFIX, segments.VERSION),
    ("events", event_segments.SUFFIX, event_segments.VERSION),
    (snapshots.FOLDER, snapshots.SUFFIX, snapshots.VERSION),
)


def formats(data: Path) -> Iterator[Finding]:
    """Whether this version reads what is there. The event log and snapshots of others are made anew."""
    found: list[str] = []
    for name, suffix, version in FORMATS:
        versions = {format_of(path) for path in (data / name).glob(f"*{suffix}")}
        newest = max(versions, default=0)
        if newest > version and name == "journal":
            words = f"the journal has format {newest}, and this version reads up to {version}"
            yield fail("formats", words, "Install the version of Outcry that wrote it, or a later one.")
            return
        found.append(f"{name} {', '.join(map(str, sorted(versions))) or 'none'} of up to {version}")
    yield ok("formats", "; ".join(found))


def format_of(path: Path) -> int:
    """A file's version; 0 where that cannot be told."""
    try:
        with path.open("rb") as file:
            header = read_header(file.read(HEADER_BYTES))
    except OSError:
        return 0
    return 0 if header is None else header.version


def room(data: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(nearest(data)).free
    words = f"{mib(free)} are free; the engine allocates {mib(AHEAD_BYTES)} ahead"
    if free < AHEAD_BYTES:
        yield fail("room", words, "Make room: new orders would be refused.")
    elif free < WELL_BYTES:
        yield warn("room", words, "Make room, or let old segments go by --keep-journal-mib.")
    else:
        yield ok("room", words)


def syncs(data: Path) -> Iterator[Finding]:
    """How long a small write takes to be durable, into space that was allocated before, as the journal does it."""
    try:
        times_ms = sorted(sync_times_ms(nearest(data)))
    except OSError as problem:
        yield fail("fsync", f"it cannot be tried: {problem.strerror}", "Mend what is said of the folder first.")
        return
    median_ms, slowest_ms = times_ms[len(times_ms) // 2], times_ms[-1]
    words = f"a small write is durable after {median_ms:.2f} ms (median of {SYNCS}), {slowest_ms:.2f} ms (slowest)"
    if slowest_ms > BADLY_MS:
        yield warn("fsync", words, "Put the folder on a faster disk, or on one that nothing else writes to.")
    elif slowest_ms > WELL_MS:
        yield warn("fsync", words, "An order that comes alone waits that long; a disk with a safe cache is faster.")
    else:
        yield ok("fsync", words)


def sync_times_ms(place: Path) -> Iterator[float]:
    fd, name = tempfile.mkstemp(prefix="outcry-doctor-", dir=place)
    try:
        LOCAL_DISK.allocate(fd, 0, SYNCS * SYNC_BYTES)
        os.fsync(fd)
        for at in range(SYNCS):
            LOCAL_DISK.write(fd, b"x" * SYNC_BYTES, at * SYNC_BYTES)
            begun_ns = time.perf_counter_ns()
            LOCAL_DISK.sync(fd)
            yield (time.perf_counter_ns() - begun_ns) / 1e6
    finally:
        os.close(fd)
        Path(name).unlink()
