"""The journal: what the engine was told, in order, and nothing else. State is a fold over it.

What arrives in one turn of the loop is one batch, one frame, one write and, in `fsync`, one sync. Nothing may be said
of a batch before `on_durable` has been called for it. A write or sync that fails is never tried again: after a failed
sync the kernel may call pages clean that are not on the disk, so nobody can say any more what is, and every later
commit fails with the same error.

In `write`, a batch is the kernel's before it is answered: it survives the process, not the power. In `fsync`, the one
commit thread writes and syncs one batch at a time, while the loop collects the next.

Space is allocated ahead (`append_file.py`). Where that finds the disk full, the journal `is_short`: it still has `room`
for what must go on, and its owner takes in no more than that until there is space again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import StrEnum
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

import structlog
from msgspec import Struct

from engine.commands import Command
from gateway import manifest
from gateway.append_file import AHEAD_BYTES, AppendFile
from gateway.disk import DRAFT, LOCAL_DISK, Disk, is_full, read_all, write_all
from gateway.frames import HEADER_BYTES, Header, frame_bytes, header_bytes, new_header
from gateway.manifest import Manifest, Retention, Sealed
from gateway.segments import (
    ENCODER,
    MAGIC,
    SUFFIX,
    VERSION,
    Entry,
    JournalDamaged,
    Segment,
    batches,
    first_seq_of,
    is_segment_name,
    read_segment,
    segment_name,
    segment_names,
)

SEGMENT_BYTES = 64 << 20

Job = Callable[[], BaseException | None]
OnDurable = Callable[[BaseException | None], None]
log = structlog.get_logger()


class Durability(StrEnum):
    """What a command must survive before it is answered: the loss of power, or only that of the process."""

    FSYNC = "fsync"
    WRITE = "write"


class Worker(Protocol):
    """Does one job after the other, and tells what became of each."""

    def do(self, job: Job, on_done: OnDurable) -> None: ...

    def close(self) -> None:
        """Return when every job is done."""


class Tail(Struct, frozen=True):
    """The last file, as a start finds it: its bytes, and what they say. No segment: it was about to be made."""

    path: Path
    data: bytes
    segment: Segment | None


class Journal:
    """Append and commit batches; `open` finds what is there. Used from one thread, which in `fsync` runs a loop.

    `sealed` are the segments that will not grow any more, `file` is the one that does.
    """

    file: AppendFile
    header: Header

    def __init__(
        self, directory: Path, durability: Durability, segment_bytes: int, ahead: int, disk: Disk, worker: Worker
    ) -> None:
        self.directory = directory
        self.durability = durability
        self.segment_bytes = segment_bytes
        self.ahead = ahead
        self.disk = disk
        self.worker = worker
        self.sealed: list[Sealed] = []
        self.first_seq = 1
        self.last_seq = 0
        self.last_time_ns = 0
        self.durable_seq = 0  # the last command that was committed
        self.durable_time_ns = 0
        self.torn_bytes = 0  # cut off by `prepare`
        self.tail: Tail | None = None  # where there is one that is not sealed, until `prepare`
        self.error: BaseException | None = None
        self.is_short = False
        self.buffer: list[Entry] = []

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        durability: Durability,
        segment_bytes: int = SEGMENT_BYTES,
        ahead: int = AHEAD_BYTES,
        after_seq: int = 0,
        prepared: bool = True,
        disk: Disk | None = None,
        worker: Worker | None = None,
    ) -> Journal:
        """Find what is there, and make it ready to be appended to. JournalDamaged, JournalTooNew or OSError.

        Every command after `after_seq` must be there; the state that those before it led to is known otherwise. Where
        others may know of later ones, nothing is `prepared`, and so nothing cut off, before they were asked.
        """
        disk = disk or LOCAL_DISK
        worker = worker or (CommitThread() if durability is Durability.FSYNC else Inline())
        journal = cls(directory, durability, segment_bytes, ahead, disk, worker)
        try:
            journal.find(after_seq)
            if prepared:
                journal.prepare()
        except BaseException:
            worker.close()
            raise
        return journal

    # What is there

    def find(self, after_seq: int) -> None:
        known = manifest.load(self.disk, self.directory)
        names = self.names(known)
        self.first_seq = first_seq_of(names[0]) if names else after_seq + 1
        if self.first_seq > after_seq + 1:
            why = f"a segment that starts with command {after_seq + 1} is missing"
            raise JournalDamaged(self.directory / names[0], 0, why)
        self.last_seq = self.first_seq - 1
        for name in names:
            self.look(self.directory / name, known, is_last=name == names[-1])
        self.durable_seq, self.durable_time_ns = self.last_seq, self.last_time_ns

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was found."""
        return not self.sealed and self.tail is None

    def names(self, known: Manifest | None) -> list[str]:
        """The segments there are. What was being deleted, or about to be made, goes."""
        kept = segment_names(self.disk, self.directory, known or Manifest())
        for name in self.disk.names(self.directory):
            if name.endswith(SUFFIX) and not is_segment_name(name):
                log.warning("journal_file_ignored", path=str(self.directory / name), problem="this names no segment")
            elif name.endswith(DRAFT) or (known is not None and name < segment_name(known.first_seq)):
                self.disk.remove(self.directory / name)
        for segment in known.sealed if known else ():
            if segment_name(segment.first_seq) not in kept:
                path = self.directory / segment_name(segment.first_seq)
                raise JournalDamaged(path, 0, f"a segment that starts with command {segment.first_seq} is missing")
        return kept

    def look(self, path: Path, known: Manifest | None, *, is_last: bool) -> None:
        if first_seq_of(path.name) != self.last_seq + 1:
            raise JournalDamaged(path, 0, f"a segment that starts with command {self.last_seq + 1} is missing")
        sealed = known.of(self.last_seq + 1) if known else None
        if sealed is not None:  # what is in it is checked when it is read
            self.sealed.append(sealed)
            self.last_seq, self.last_time_ns = sealed.last_seq, sealed.last_time_ns
            return
        data = read_all(self.disk, path)
        segment = read_segment(path, data, self.last_time_ns, is_last=is_last)
        if segment is None or is_last:
            self.tail = Tail(path, data, segment)
        if segment is not None:
            self.last_seq, self.last_time_ns = segment.last_seq, segment.last_time_ns
            if not is_last:
                self.sealed.append(segment.sealed())

    def prepare(self) -> None:
        """Cut off what was torn, and be ready to be appended to. OSError."""
        tail, self.tail = self.tail, None
        if tail is None:
            self.start_segment(self.last_seq + 1)
        elif tail.segment is None:
            self.begin_again(tail.path, len(tail.data))
        else:
            self.go_on(tail.segment, tail.data)
        if self.durability is Durability.FSYNC:
            self.sync_sealed()
        self.file.allocate()
        self.is_short = self.file.is_short

    def sync_sealed(self) -> None:
        """They may be of a start in `write`, and what is shown from now on must survive a loss of power. OSError."""
        for segment in self.sealed:
            fd = self.disk.open(self.directory / segment_name(segment.first_seq))
            try:
                self.disk.sync(fd)
            finally:
                self.disk.close(fd)

    def go_on(self, segment: Segment, data: bytes) -> None:
        """Append to the last segment, behind its last whole batch."""
        self.file, self.header = AppendFile(self.disk, segment.path, ahead=self.ahead), segment.header
        if segment.torn:
            self.torn_bytes = segment.torn
            log.warning("journal_tail_dropped", path=str(segment.path), offset=segment.end, bytes=segment.torn)
        self.file.resume(segment.end)
        if self.durability is Durability.FSYNC:
            self.settle(segment, data)

    def settle(self, segment: Segment, data: bytes) -> None:
        """Write again what was written last: after a failed sync the kernel takes for synced what is not. OSError."""
        write_all(self.disk, self.file.fd, data[segment.last_write : segment.end], segment.last_write)
        self.file.make_durable()

    def begin_again(self, path: Path, size: int) -> None:
        """Make a segment whose making was interrupted; it holds no batch."""
        self.torn_bytes = size
        log.warning("journal_tail_dropped", path=str(path), offset=0, bytes=size)
        self.disk.remove(path)
        self.start_segment(self.last_seq + 1)

    def replay(self, after_seq: int = 0) -> Iterator[Entry]:
        """Everything after a command that is in the journal, one segment in memory at a time.

        To be used before the first append. JournalDamaged.
        """
        return chain.from_iterable(self.batches(after_seq))

    def batches(self, after_seq: int) -> Iterator[list[Entry]]:
        last = Sealed(self.header.first_seq, self.last_seq, self.last_time_ns, self.file.end)
        for segment in (*self.sealed, last):
            if segment.last_seq > after_seq:
                path = self.directory / segment_name(segment.first_seq)
                yield from batches(path, read_all(self.disk, path), after_seq, segment.end)

    # What is added

    @property
    def room(self) -> int:
        """Bytes that can be written whatever becomes of the disk's free space."""
        return self.file.room

    def append(self, seq: int, time_ns: int, command: Command) -> None:
        """Buffer the next command; `commit` writes it."""
        self.buffer.append(Entry(seq, time_ns, command))

    def commit(self, on_durable: OnDurable) -> None:
        """Make what is buffered durable as one batch, then call `on_durable` with None, or with what went wrong.

        In `write` it is called before this returns, in `fsync` by the loop, later; the next commit must wait for it.
        """
        batch, self.buffer = self.buffer, []
        if self.error is not None or not batch:
            on_durable(self.error)
            return
        self.last_seq, self.last_time_ns = batch[-1].seq, batch[-1].time_ns
        self.worker.do(lambda: self.write(batch), on_durable)

    def write(self, batch: list[Entry]) -> BaseException | None:
        """Write one batch. What goes wrong is returned, and kept for good. Done by the worker."""
        try:
            file = self.file
            if file.end >= self.segment_bytes and file.end > HEADER_BYTES:
                self.rotate(batch[0].seq)
                file = self.file
            payload = ENCODER.encode(batch)
            file.append(frame_bytes(self.header.seed, batch[0].seq, batch[-1].seq, payload))
            if self.durability is Durability.FSYNC:
                file.sync()
            self.durable_seq, self.durable_time_ns = batch[-1].seq, batch[-1].time_ns
            self.allocate()
        except Exception as error:  # not hidden: it is what every sender from now on is told
            self.error = error
        return self.error

    def allocate(self) -> BaseException | None:
        """Look for space ahead. What goes wrong, but for a full disk, is as fatal as a failed write."""
        try:
            self.file.allocate()
            self.is_short = self.file.is_short
        except OSError as error:
            self.error = error
        return self.error

    def find_room(self, on_done: OnDurable) -> None:
        """Look once more for space, where the disk was full."""
        self.worker.do(self.allocate, on_done)

    # Segments

    def rotate(self, first_seq: int) -> None:
        """Go on in a new segment with command `first_seq`, if there is room for one; else in this one while it has."""
        old, header = self.file, self.header
        try:
            self.start_segment(first_seq)
        except OSError as problem:
            if not is_full(problem):
                raise
            self.is_short = True
            # No loss of power may bring back the name of the one that was not made: its commands go into this one.
            self.disk.sync_directory(self.directory)
            return
        old.close()
        self.sealed.append(Sealed(header.first_seq, first_seq - 1, self.durable_time_ns, old.end))
        self.store_manifest()

    def start_segment(self, first_seq: int) -> None:
        """A new file, on the disk with its name before anything is in it. OSError, and then nothing is new."""
        path = self.directory / segment_name(first_seq)
        header = new_header(MAGIC, VERSION, first_seq)
        durable = self.durability is Durability.FSYNC
        self.file = AppendFile.start(self.disk, path, header_bytes(header), ahead=self.ahead, durable=durable)
        self.header = header

    def store_manifest(self) -> bool:
        """Say which segments are sealed. Where there is no room for it, the next start reads them instead."""
        try:
            now = Manifest(first_seq=self.first_seq, sealed=self.sealed)
            manifest.store(self.disk, self.directory, now, durable=self.durability is Durability.FSYNC)
        except OSError as problem:
            if not is_full(problem):
                raise
            log.warning("manifest_not_written", path=str(self.directory), problem=str(problem))
            return False
        return True

    def prune(self, retention: Retention, on_done: OnDurable) -> None:
        """Delete the oldest sealed segments that need not be kept, then call `on_done`."""
        self.worker.do(lambda: self.delete(retention), on_done)

    def delete(self, retention: Retention) -> BaseException | None:
        """What goes wrong here costs nothing but space, and is returned."""
        gone = list(retention.superfluous(self.sealed, self.file.end))
        if not gone:
            return None
        try:
            self.first_seq, self.sealed = gone[-1].last_seq + 1, self.sealed[len(gone) :]
            if self.store_manifest():
                for segment in gone:
                    self.disk.remove(self.directory / segment_name(segment.first_seq))
        except OSError as problem:
            return problem
        return None

    def close(self) -> None:
        """Wait for the batch in flight and end. What is buffered and not committed is given up."""
        self.worker.close()
        self.file.close()


class Inline:
    """Does each job at once."""

    def do(self, job: Job, on_done: OnDurable) -> None:
        on_done(job())

    def close(self) -> None:
        pass


class CommitThread:
    """Does jobs in a thread of its own, so that the loop, which is told of each, never stops for the disk."""

    def __init__(self) -> None:
        # Few, because the caller waits for each batch; None ends the thread.
        self.jobs: SimpleQueue[tuple[Job, asyncio.AbstractEventLoop, OnDurable] | None] = SimpleQueue()
        # A daemon: a disk that never answers must not keep a process that has to end.
        self.thread = threading.Thread(target=self.run, name="journal-commit", daemon=True)
        self.thread.start()

    def do(self, job: Job, on_done: OnDurable) -> None:
        self.jobs.put((job, asyncio.get_running_loop(), on_done))

    def run(self) -> None:
        while (work := self.jobs.get()) is not None:
            job, loop, on_done = work
            error = job()
            with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                loop.call_soon_threadsafe(on_done, error)

    def close(self) -> None:
        self.jobs.put(None)
        self.thread.join()
