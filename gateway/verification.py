"""Verification: state is a fold over the journal, so fold it again, and see that all that is kept beside it agrees.

    journal     every batch whole and in order, no time before the one before it, and as the manifest has it
    state       at each snapshot and at the end: nothing made or lost, books uncrossed (`engine/audit.py`)
    snapshots   each of them the state that the replay has come to, by its digest
    event log   as far as it is kept: every event, with its number, as the replay says it

The replay begins at the first command, or where that is no longer kept at the oldest snapshot that the journal goes on
from. Nothing is changed, cut, made or locked, so all this may be done while the engine runs: the newest batch may be on
its way then, and what cannot be read at first is read again before it is called damaged.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from engine.audit import audit
from engine.events import PrivateEvent
from engine.exchange import Exchange
from gateway import snapshots
from gateway.disk import Disk, read_all
from gateway.event_records import Record, private
from gateway.frames import HEADER_BYTES, Frame, frames
from gateway.manifest import Manifest, ManifestDamaged, load, read
from gateway.read_only import READ_ONLY_DISK
from gateway.recovery import without_collections
from gateway.segments import (
    Entry,
    JournalDamaged,
    JournalUnusable,
    Segment,
    entries,
    first_seq_of,
    read_segment,
    segment_name,
    segment_names,
)
from gateway.snapshots import SnapshotDamaged, snapshot_name, snapshot_seqs
from gateway.testimony import EventLogDiffers, Testimony, Torn

Progress = Callable[[int, float], None]  # the last command that was replayed, and the share of the journal's bytes


class Fault(Struct, frozen=True):
    """What is wrong, and where: `offset` is None where the whole file, or the state itself, is meant."""

    file: str
    offset: int | None
    why: str


class Report(Struct):
    """What was found. `fault` is None where all agrees; the counts then are those of the whole journal.

    The commands are `first_seq` to `last_seq`, those that were replayed the ones after `replayed_after`. `beyond_seq`
    is for what was restored: the newest later command of which the backup tells, but which cannot be restored.
    """

    data: str
    first_seq: int = 1
    last_seq: int = 0
    last_time_ns: int = 0
    replayed_after: int = 0
    segments: int = 0
    snapshots: list[int] = []
    accounts: int = 0
    orders: int = 0
    open_orders: int = 0
    trades: int = 0
    events: int = 0
    event_log_first_seq: int = 0
    event_log_last_seq: int = 0
    event_log_events: int = 0
    digest: str = ""
    beyond_seq: int = 0
    torn: list[Torn] = []
    fault: Fault | None = None


class Wrong(Exception):
    """Something does not agree."""

    def __init__(self, path: Path, offset: int | None, why: str) -> None:
        super().__init__(why)
        self.fault = Fault(str(path), offset, why)


def verify(data: Path, *, disk: Disk = READ_ONLY_DISK, progress: Progress | None = None) -> Report:
    """Replay what is in a data folder, and report. OSError where it cannot be read."""
    while True:
        verification = Verification(data, disk, progress)
        try:
            report = verification.outcome()
        except FileNotFoundError:
            if not verification.is_overtaken():
                raise
            continue
        if report.fault is None or not verification.is_overtaken():
            return report


class Verification:
    def __init__(self, data: Path, disk: Disk, progress: Progress | None) -> None:
        self.data = data
        self.disk = disk
        self.progress = progress
        self.report = Report(str(data))
        self.exchange = Exchange()
        self.numbers: dict[int, int] = {}
        self.journal = data / "journal"
        self.folder = data / snapshots.FOLDER
        # Before the journal is looked at: so what the event log holds by now is in the journal by then.
        self.testimony = Testimony(disk, data / "events")
        self.checkpoints = sorted(snapshot_seqs(disk, self.folder))
        self.known = Manifest()

    def outcome(self) -> Report:
        """The report, with what is wrong, if anything is. OSError."""
        report = self.report
        try:
            with without_collections():
                self.run()
        except (JournalDamaged, EventLogDiffers) as damaged:
            report.fault = Fault(str(damaged.path), damaged.offset, damaged.why)
        except SnapshotDamaged as damaged:
            report.fault = Fault(str(damaged.path), None, str(damaged))
        except JournalUnusable as unusable:
            report.fault = Fault(str(self.journal), None, str(unusable))
        except Wrong as wrong:
            report.fault = wrong.fault
        return report

    def is_overtaken(self) -> bool:
        """Whether the oldest of the journal was deleted, as the settings say, while it was looked at."""
        try:
            return self.known.first_seq != (load(self.disk, self.journal) or Manifest()).first_seq
        except JournalUnusable:
            return False

    def run(self) -> None:
        report, dropped = self.report, None
        try:
            self.known = read(self.disk, self.journal) or Manifest()
        except ManifestDamaged as damaged:
            dropped = damaged
        names = segment_names(self.disk, self.journal, self.known)
        for sealed in self.known.sealed:
            if segment_name(sealed.first_seq) not in names:
                raise self.missing(sealed.first_seq)
        report.first_seq = first_seq_of(names[0]) if names else self.known.first_seq
        report.last_seq = report.first_seq - 1
        self.begin(report.first_seq)
        sizes = {name: (self.journal / name).stat().st_size for name in names}
        done, total = 0, max(sum(sizes.values()), 1)
        for name in names:
            segment, data = self.segment(name, is_last=name == names[-1])
            if segment is not None:
                for frame in frames(data[: segment.end], HEADER_BYTES, segment.header.seed):
                    self.replay(segment.path, frame)
                    if self.progress:
                        self.progress(report.last_seq, (done + frame.end) / total)
            done += sizes[name]
        self.finish()
        if dropped is not None:
            raise Wrong(dropped.path, None, f"it cannot be used: {dropped.why}")

    def missing(self, first_seq: int) -> JournalDamaged:
        path = self.journal / segment_name(first_seq)
        return JournalDamaged(path, 0, f"a segment that starts with command {first_seq} is missing")

    def begin(self, first_seq: int) -> None:
        """Take the state from which the journal's first command goes on."""
        if first_seq > 1:
            usable = [seq for seq in self.checkpoints if seq + 1 >= first_seq]
            if not usable:
                why = f"it begins with command {first_seq}, and no snapshot leads up to that"
                raise Wrong(self.journal, None, why)
            seq = usable[0]
            about, self.exchange = snapshots.load(self.disk, self.folder, seq)
            self.agree(seq, about.digest)
            self.report.replayed_after = seq
            self.numbers = {number: account.number for number, account in self.exchange.accounts.items()}
        self.testimony.begin(self.report.replayed_after, self.numbers)
        self.checkpoints = [seq for seq in self.checkpoints if seq > self.report.replayed_after]

    def segment(self, name: str, *, is_last: bool) -> tuple[Segment | None, bytes]:
        """What a segment holds now, which goes on from the one before and is as the manifest says."""
        path, report = self.journal / name, self.report
        if first_seq_of(name) != report.last_seq + 1:
            raise self.missing(report.last_seq + 1)
        segment, data = self.read(path, is_last=is_last)
        if segment is None:
            report.torn.append(Torn(str(path), 0, len(data)))
            return None, data
        sealed = self.known.of(segment.header.first_seq)
        if sealed is not None and sealed != segment.sealed():
            raise JournalDamaged(path, segment.end, f"the manifest has it end with command {sealed.last_seq}")
        if segment.torn:
            report.torn.append(Torn(str(path), segment.end, segment.torn))
        report.segments += 1
        return segment, data

    def read(self, path: Path, *, is_last: bool) -> tuple[Segment | None, bytes]:
        """Read a segment. The last may grow meanwhile, so that what is read late in it hides a hole before that; the
        hole is filled when it is read again."""
        offset = -1
        while True:
            data = read_all(self.disk, path)
            try:
                return read_segment(path, data, self.report.last_time_ns, is_last=is_last), data
            except JournalDamaged as damaged:
                if not is_last or damaged.offset <= offset:
                    raise
                offset = damaged.offset

    def replay(self, path: Path, frame: Frame) -> None:
        """Carry out one batch."""
        report, last_time_ns = self.report, self.report.last_time_ns
        for entry in entries(path, frame):
            if entry.time_ns < last_time_ns:
                raise JournalDamaged(path, frame.offset, f"command {entry.seq} is earlier than the one before it")
            last_time_ns = entry.time_ns
            if entry.seq > report.replayed_after:
                self.apply(path, frame, entry)
        report.last_seq, report.last_time_ns = frame.last_seq, last_time_ns

    def apply(self, path: Path, frame: Frame, entry: Entry) -> None:
        try:
            said = private(self.exchange.apply(entry.seq, entry.time_ns, entry.command))
        except Exception as problem:  # whatever it is, the engine could not start from here
            raise Wrong(path, frame.offset, f"command {entry.seq} cannot be carried out: {problem!r}") from None
        self.testimony.take(Record(entry.seq, entry.time_ns, said))
        for event in said:
            self.count(path, frame, entry.seq, event)
        self.report.events += len(said)
        self.report.last_seq = entry.seq
        while self.checkpoints and self.checkpoints[0] == entry.seq:
            self.compare(self.checkpoints.pop(0))

    def count(self, path: Path, frame: Frame, seq: int, event: PrivateEvent) -> None:
        number = self.numbers.get(event.account, 0) + 1
        if event.number != number:
            why = f"command {seq} numbers an event of account {event.account} {event.number}, not {number}"
            raise Wrong(path, frame.offset, why)
        self.numbers[event.account] = number

    def compare(self, seq: int) -> None:
        """The state is that of the snapshot, and the snapshot can be restored from."""
        try:
            about, restored = snapshots.load(self.disk, self.folder, seq)
        except FileNotFoundError:  # the engine has deleted it meanwhile: it keeps the newest
            return
        self.agree(seq, about.digest)
        if restored.digest() != about.digest:
            path = self.folder / snapshot_name(seq)
            raise Wrong(path, None, "what is restored from it has another digest than it says")

    def agree(self, seq: int, digest: str) -> None:
        """The state has the digest of the snapshot after command `seq`, and nothing is wrong with it."""
        path, found = self.folder / snapshot_name(seq), self.exchange.digest()
        if found != digest:
            raise Wrong(path, None, f"its digest is {digest}, and that of the replay {found}")
        self.require_sound(path)
        self.report.snapshots.append(seq)

    def require_sound(self, path: Path) -> None:
        for fault in audit(self.exchange):
            raise Wrong(path, None, f"after command {self.report.last_seq}, {fault}")

    def finish(self) -> None:
        report, exchange = self.report, self.exchange
        report.digest = exchange.digest()
        report.accounts = len(exchange.accounts) - 1  # without the venue's own
        report.orders = exchange.entry.last_order_id
        report.open_orders = sum(len(account.resting) for account in exchange.accounts.values())
        report.trades = exchange.matching.last_trade_id
        testimony = self.testimony
        report.event_log_first_seq, report.event_log_last_seq = testimony.first_seq, testimony.last_seq
        report.event_log_events = testimony.events
        if testimony.torn is not None:
            report.torn.append(testimony.torn)
        self.require_sound(self.journal)
        testimony.finish(report.last_seq)
        for seq in self.checkpoints:
            why = f"it is the state after command {seq}, but the journal ends at command {report.last_seq}"
            raise Wrong(self.folder / snapshot_name(seq), None, f"{why}: acknowledged commands are missing")
