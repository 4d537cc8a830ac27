"""The journal: what the engine was told, in order, and nothing else. State is a fold over it.

What arrives in one turn of the loop is one batch, one frame, one write and, in `fsync`, one sync. Nothing may be said
of a batch before `on_durable` has been called for it. A write or sync that fails is never tried again: after a failed
sync the kernel may call pages clean that are not on the disk, so nobody can say any more what is, and every later
commit fails with the same error.

Segments `DATA/journal/00000000000000000001.journal` are named by their first sequence number, so that a missing one is
noticed. Their form is that of `frames.py`; a payload is a msgpack array of [seq, time_ns, command], with every
sequence number from the frame's first to its last.

    open: is the frame whole? ── yes ─▶ does it go on where the last one ended? ── no ─▶ damaged: refuse to start
              │ no                                                  └─ yes ─▶ next frame
              └─ is this the last segment, without a whole frame after it? ── no ─▶ damaged
                                                              └─ yes ─▶ the torn tail of a batch that nobody was told
                                                                        of: cut off, and reported

In `write`, a batch is the kernel's before it is answered: it survives the process, not the power. In `fsync`, the one
commit thread writes and syncs one batch at a time, while the loop collects the next.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue

import msgspec
import structlog
from msgspec import Struct

from engine.commands import Command
from gateway.frames import (
    HEADER_BYTES,
    LOCAL_DISK,
    Disk,
    Frame,
    Header,
    frame_after,
    frame_bytes,
    frames,
    header_bytes,
    new_header,
    read_header,
    write_all,
)

MAGIC = b"OUTCRYJ\n"
VERSION = 1
SEGMENT_BYTES = 64 << 20
SUFFIX = ".journal"

OnDurable = Callable[[BaseException | None], None]
log = structlog.get_logger()


class Durability(StrEnum):
    """What a command must survive before it is answered: the loss of power, or only that of the process."""

    FSYNC = "fsync"
    WRITE = "write"


class JournalUnusable(Exception):
    """The journal cannot be started from; the message names the file."""


class JournalDamaged(JournalUnusable):
    """Something that was in the journal is not, or is not what it was."""

    def __init__(self, path: Path, offset: int, why: str) -> None:
        super().__init__(f"{path} is damaged at offset {offset}: {why}")
        self.path = path
        self.offset = offset
        self.why = why


class JournalTooNew(JournalUnusable):
    """A later version of Outcry wrote it."""

    def __init__(self, path: Path, version: int) -> None:
        super().__init__(f"{path} has journal format {version}; this version of Outcry reads up to format {VERSION}")
        self.path = path
        self.version = version


class Entry(Struct, frozen=True, gc=False, array_like=True):
    """One command, as it was sequenced. `time_ns` is what the engine was told."""

    seq: int
    time_ns: int
    command: Command


ENCODER = msgspec.msgpack.Encoder()
DECODER = msgspec.msgpack.Decoder(list[Entry])


class Segment(Struct):
    """One file: `end` is the offset after its last whole frame."""

    path: Path
    header: Header
    end: int


class Journal:
    """Append and commit batches; `open` finds what is there. Used from one thread, which in `fsync` runs a loop."""

    def __init__(self, directory: Path, durability: Durability, segment_bytes: int, disk: Disk) -> None:
        self.directory = directory
        self.durability = durability
        self.segment_bytes = segment_bytes
        self.disk = disk
        self.segments: list[Segment] = []
        self.last_seq = 0
        self.last_time_ns = 0
        self.torn_bytes = 0  # cut off by `open`
        self.error: BaseException | None = None
        self.buffer: list[Entry] = []
        self.fd = -1
        self.thread: CommitThread | None = None

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        durability: Durability,
        segment_bytes: int = SEGMENT_BYTES,
        disk: Disk | None = None,
    ) -> Journal:
        """Find what is there, and make it ready to be appended to. JournalDamaged, JournalTooNew or OSError."""
        journal = cls(directory, durability, segment_bytes, disk or LOCAL_DISK)
        directory.mkdir(parents=True, exist_ok=True)
        journal.scan()
        if journal.segments:
            journal.fd = os.open(journal.segments[-1].path, os.O_WRONLY | os.O_APPEND)
            journal.settle()
        else:
            journal.start_segment(1)
        if durability is Durability.FSYNC:
            journal.thread = CommitThread(journal.write)
        return journal

    def scan(self) -> None:
        paths = sorted(self.directory.glob("*" + SUFFIX))
        for path in paths:
            is_last = path is paths[-1]
            if path.name != segment_name(self.last_seq + 1):
                raise JournalDamaged(path, 0, f"a segment that starts with command {self.last_seq + 1} is missing")
            data = path.read_bytes()
            header = segment_header(path, data)
            if header is not None:
                self.scan_segment(Segment(path, header, HEADER_BYTES), data, is_last)
            elif is_last and not data[HEADER_BYTES:].strip(b"\0"):
                self.drop_segment(path, len(data))
            else:
                raise JournalDamaged(path, 0, "the header is not whole")

    def scan_segment(self, segment: Segment, data: bytes, is_last: bool) -> None:
        frame: Frame | None = None
        for frame in frames(data, HEADER_BYTES, segment.header.seed):
            if frame.first_seq != self.last_seq + 1 or frame.last_seq < frame.first_seq:
                why = f"command {self.last_seq + 1} must follow, not {frame.first_seq} to {frame.last_seq}"
                raise JournalDamaged(segment.path, segment.end, why)
            self.last_seq, segment.end = frame.last_seq, frame.end
        if frame is not None:
            self.last_time_ns = entries(segment.path, frame)[-1].time_ns
        self.segments.append(segment)
        if segment.end < len(data):
            self.drop_tail(segment, data, is_last)

    def drop_tail(self, segment: Segment, data: bytes, is_last: bool) -> None:
        """Cut off the bytes after the last whole frame, unless they are more than a batch that was never finished."""
        later = frame_after(data, segment.end, segment.header.seed)
        if later is not None:
            raise JournalDamaged(segment.path, segment.end, f"no whole batch, but one follows at offset {later}")
        if not is_last:
            raise JournalDamaged(segment.path, segment.end, "no whole batch, but another segment follows")
        if data[segment.end :].strip(b"\0"):
            self.torn_bytes = len(data) - segment.end
            log.warning("journal_tail_dropped", path=str(segment.path), offset=segment.end, bytes=self.torn_bytes)
        os.truncate(segment.path, segment.end)

    def drop_segment(self, path: Path, size: int) -> None:
        """Remove a segment whose making was interrupted; it holds no batch."""
        self.torn_bytes = size
        log.warning("journal_tail_dropped", path=str(path), offset=0, bytes=size)
        path.unlink()

    def settle(self) -> None:
        """What is about to be replayed, and shown, may be the kernel's only so far: make it the disk's."""
        if self.durability is Durability.FSYNC:
            self.disk.sync(self.fd)
            self.sync_directory()

    def replay(self) -> Iterator[Entry]:
        """Everything that is in the journal, one segment in memory at a time. To be used before the first append."""
        for segment in self.segments:
            data = segment.path.read_bytes()[: segment.end]
            end = HEADER_BYTES
            for frame in frames(data, end, segment.header.seed):
                yield from entries(segment.path, frame)
                end = frame.end
            if end != segment.end:
                raise JournalDamaged(segment.path, end, "it has changed since it was opened")

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
        if self.thread is not None:
            self.thread.commit(batch, on_durable)
            return
        on_durable(self.write(batch))

    def write(self, batch: list[Entry]) -> BaseException | None:
        """Write one batch. What goes wrong is returned, and kept for good. Runs on the commit thread in `fsync`."""
        try:
            segment = self.segments[-1]
            if segment.end >= self.segment_bytes and segment.end > HEADER_BYTES:
                segment = self.start_segment(batch[0].seq)
            frame = frame_bytes(segment.header.seed, batch[0].seq, batch[-1].seq, ENCODER.encode(batch))
            write_all(self.disk, self.fd, frame)
            if self.durability is Durability.FSYNC:
                self.disk.sync(self.fd)
            segment.end += len(frame)
        except Exception as error:  # not hidden: it is what every sender from now on is told
            self.error = error
        return self.error

    def start_segment(self, first_seq: int) -> Segment:
        """Go on in a new file, which is on the disk, with its name, before anything is in it."""
        header = new_header(MAGIC, VERSION, first_seq)
        segment = Segment(self.directory / segment_name(first_seq), header, HEADER_BYTES)
        fd = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = fd
        write_all(self.disk, fd, header_bytes(header))
        self.settle()
        self.segments.append(segment)
        return segment

    def sync_directory(self) -> None:
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.disk.sync(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Wait for the batch in flight and end. What is buffered and not committed is given up."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class CommitThread:
    """Writes and syncs one batch at a time, so that the loop never stops for the disk."""

    def __init__(self, write: Callable[[list[Entry]], BaseException | None]) -> None:
        self.write = write
        # At most one batch, because the caller waits for each; None ends the thread.
        self.batches: SimpleQueue[tuple[list[Entry], asyncio.AbstractEventLoop, OnDurable] | None] = SimpleQueue()
        # A daemon: a disk that never answers must not keep a process that has to end.
        self.thread = threading.Thread(target=self.run, name="journal-commit", daemon=True)
        self.thread.start()

    def commit(self, batch: list[Entry], on_durable: OnDurable) -> None:
        self.batches.put((batch, asyncio.get_running_loop(), on_durable))

    def run(self) -> None:
        while (work := self.batches.get()) is not None:
            batch, loop, on_durable = work
            error = self.write(batch)
            with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                loop.call_soon_threadsafe(on_durable, error)

    def join(self) -> None:
        self.batches.put(None)
        self.thread.join()


def segment_name(first_seq: int) -> str:
    return f"{first_seq:020d}{SUFFIX}"


def segment_header(path: Path, data: bytes) -> Header | None:
    """The header of a segment; None where it is not whole. A version that is not ours is refused."""
    header = read_header(data)
    if header is None:
        return None
    if header.magic != MAGIC:
        raise JournalDamaged(path, 0, "this is not a journal")
    if header.version > VERSION:
        raise JournalTooNew(path, header.version)
    if path.name != segment_name(header.first_seq):
        raise JournalDamaged(path, 0, f"it starts with command {header.first_seq}, not with the one in its name")
    return header


def entries(path: Path, frame: Frame) -> list[Entry]:
    """The commands of a frame, which are those that its header says."""
    try:
        batch = DECODER.decode(frame.payload)
    except msgspec.MsgspecError as problem:
        raise JournalDamaged(path, frame.offset, f"the batch holds what is no command: {problem}") from None
    if [entry.seq for entry in batch] != list(range(frame.first_seq, frame.last_seq + 1)):
        raise JournalDamaged(path, frame.offset, "the batch holds other commands than its header says")
    return batch
