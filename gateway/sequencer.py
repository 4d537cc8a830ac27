"""The one writer: stamp, apply, buffer, commit, answer, publish.

    submit ─▶ apply ─▶ journal buffer ─┐            the rest of the turn adds to the same batch
                                       │
    commit (once per turn) ─▶ journal ─┤ durable
                                       │
    release ◀──────────────────────────┘ replies in order, feeds, market data, event log

Everything between the arrival of a command and the buffer is plain calls within one turn of the loop. Matching runs
before the sync; nothing that it says leaves before. While a batch is on its way to the disk, what arrives is the next
batch. Queries take the same way without a journal entry: they see what has been applied, and are answered after the
commit of it.

A command that fails to apply, or a batch that fails to commit, ends the process: every request that waits is told
`unknown`, and nothing is tried again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog
from msgspec import Struct

from engine.commands import AdvanceTime, CancelAll, Command, NewOrder
from engine.events import Event
from engine.exchange import Exchange
from gateway.admission import Admission
from gateway.event_log import EventLog
from gateway.event_records import Record, private
from gateway.journal import Journal
from gateway.refusals import Refused, failed, overloaded, support_reference, timed_out, unavailable
from gateway.space import Space

PENDING_LIMIT = 50_000  # commands applied and not yet durable
QUERIES_LIMIT = 2_000  # answers that wait for the commit of what they show
ANSWER_WITHIN_NS = 5_000_000_000  # where the command itself names no earlier time
HEARTBEAT_S = 0.05
GIVE_UP_NS = ANSWER_WITHIN_NS - 100_000_000  # two beats sooner, so that the answer is there in time

Result = TypeVar("Result")
Reply = Callable[[Any], None]  # called once, with an outcome (or a query's result), or with a Refused
log = structlog.get_logger()


class Waiting(Struct):
    """A command or query whose answer leaves when its batch is durable.

    `deadline_ns` is monotonic, `within_ns` after its arrival; 0 is none.
    """

    seq: int
    time_ns: int
    events: list[Event]
    answer: object
    reply: Reply
    deadline_ns: int = 0
    within_ns: int = ANSWER_WITHIN_NS


class Publisher(Protocol):
    def publish(self, batch: list[Waiting]) -> None:
        """Tell readers what a durable batch said. Called once per batch, in order; must not block."""


class Sequencer:
    """Owns the exchange and its journal. `publishers` are told of every durable batch, after its senders, whom `answer`
    tells.

    `clock` is wall time and `monotonic` measures deadlines, both in nanoseconds. `on_failure` must end the process.
    """

    answer: Callable[[Iterator[Waiting]], None]

    def __init__(
        self,
        exchange: Exchange,
        journal: Journal,
        event_log: EventLog,
        *,
        publishers: tuple[Publisher, ...] = (),
        on_failure: Callable[[], None],
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
        pending_limit: int = PENDING_LIMIT,
    ) -> None:
        self.exchange = exchange
        self.journal = journal
        self.event_log = event_log
        self.publishers = publishers
        self.answer = answer_all
        self.on_failure = on_failure
        self.clock = clock
        self.monotonic = monotonic
        self.space = Space(journal, event_log)
        self.admission = Admission(pending_limit, self.space)
        self.narrow = self.space.narrows  # not everything may come in: the one flag that the order path tests
        self.loop = asyncio.get_running_loop()
        self.seq = journal.last_seq
        self.time_ns = journal.last_time_ns
        self.pending: list[Waiting] = []
        self.in_flight: list[Waiting] = []
        self.untold: Iterator[Waiting] = iter(())  # of the batch that is being let out
        self.queries = 0  # among the pending and those in flight
        self.beat_ns = monotonic()
        self.committing = False
        self.searching = False  # for space on the disk
        self.stopped = False
        self.idle = asyncio.Event()
        self.idle.set()
        self.heartbeat = self.loop.call_later(HEARTBEAT_S, self.beat)

    def submit(self, command: Command, reply: Reply, valid_until_ns: int | None = None) -> None:
        """Apply now, answer after this turn's commit, with the outcome or with what kept it from being known.

        Refused where the command is not executed, now or ever. After `valid_until_ns` (wall time) that is so, unless
        it is a retry of one that was; once it is applied, passing that time answers `unknown`.
        """
        self.enter(self.moment(), command, reply, valid_until_ns)

    def moment(self) -> int:
        """The time of what arrives now; what was to end before it has ended. Refused where nothing is taken in."""
        if self.stopped:
            self.require_running()
        if len(self.pending) + len(self.in_flight) - self.queries >= self.admission.orders_limit:
            self.narrow = True
        now_ns = self.clock()
        if now_ns < self.time_ns:
            now_ns = self.time_ns
        if now_ns >= self.exchange.next_expiry_ns:
            self.apply(now_ns, AdvanceTime(), ignore, 0)
        return now_ns

    def require_running(self) -> None:
        if self.stopped:
            raise unavailable("The engine is stopping")

    def enter(self, now_ns: int, command: Command, reply: Reply, valid_until_ns: int | None) -> Waiting:
        """Submit at a moment that was taken in this turn of the loop: what arrives together shares one."""
        if self.narrow:
            self.admit(command)
        if valid_until_ns is None:
            return self.apply(now_ns, command, reply, self.beat_ns + GIVE_UP_NS)
        left_ns = valid_until_ns - self.clock()
        if left_ns <= 0 and not self.is_retry(command):
            raise timed_out("gateway", "not_executed", ANSWER_WITHIN_NS)
        within_ns = min(max(left_ns, 1), ANSWER_WITHIN_NS)
        waiting = self.apply(now_ns, command, reply, self.monotonic() + min(within_ns, GIVE_UP_NS))
        waiting.within_ns = within_ns
        return waiting

    def admit(self, command: Command) -> None:
        """Refused where a command may not come in now."""
        self.require_running()
        waiting = self.waiting()
        self.admission.admit(command, self.is_retry(command), waiting)
        self.space.reserve(waiting + 1, self.closings(command))

    def closings(self, command: Command) -> int:
        """How many orders a command may close."""
        owner = self.exchange.accounts.get(command.account) if isinstance(command, CancelAll) else None
        return 0 if owner is None else len(owner.resting)

    def waiting(self) -> int:
        """How many commands wait for the disk."""
        return len(self.pending) + len(self.in_flight) - self.queries

    def is_retry(self, command: Command) -> bool:
        return isinstance(command, NewOrder) and self.exchange.is_known(command.account, command.client_order_id)

    def now_ns(self) -> int:
        """Journal time: it never goes back, whatever the clock does."""
        now_ns = self.clock()
        return now_ns if now_ns > self.time_ns else self.time_ns

    def apply(self, now_ns: int, command: Command, reply: Reply, deadline_ns: int) -> Waiting:
        seq = self.seq + 1
        try:
            events = self.exchange.apply(seq, now_ns, command)
        except Exception:  # the state can no longer be trusted, so the process ends
            log.exception("apply_failed", seq=seq, command=command)
            waiting = Waiting(0, 0, [], None, reply)
            self.pending.append(waiting)
            self.fail()
            return waiting
        self.seq, self.time_ns = seq, now_ns
        self.journal.append(seq, now_ns, command)
        waiting = Waiting(seq, now_ns, events, events[-1], reply, deadline_ns)
        self.pending.append(waiting)
        if not self.committing:
            self.committing = True
            self.idle.clear()
            self.loop.call_soon(self.commit)
        return waiting

    def query(self, question: Callable[[], Result], reply: Callable[[Result | Refused], None]) -> None:
        """Answer `question` with the state as it is now, once all of that state is durable. Refused if it cannot."""
        self.require_running()
        answer = question()
        batch = self.pending or self.in_flight
        if not batch:
            reply(answer)
        elif self.queries >= QUERIES_LIMIT:
            raise overloaded("Too many queries wait for the disk", limit=QUERIES_LIMIT)
        else:
            self.queries += 1
            batch.append(Waiting(0, 0, [], answer, reply, self.beat_ns + GIVE_UP_NS))

    def commit(self) -> None:
        if not self.stopped:
            self.in_flight, self.pending = self.pending, []
            self.journal.commit(self.release)

    def release(self, error: BaseException | None) -> None:
        """The batch in flight is durable: let out what it says, and send the next one on its way."""
        if self.stopped:
            return
        if error is not None:
            log.critical("commit_failed", error=repr(error), last_seq=self.seq)
            self.fail()
            return
        batch, self.in_flight = self.in_flight, []
        if self.pending:
            self.commit()
        else:
            self.committing = False
            self.idle.set()
        try:
            if self.queries:
                self.queries -= sum(not waiting.seq for waiting in batch)
            self.untold = iter(batch)
            self.answer(self.untold)
            for publisher in self.publishers:
                publisher.publish(batch)
        except Exception:  # somebody was not told, and nobody would notice
            log.exception("publishing_failed", last_seq=self.seq)
            self.fail()
            return
        try:  # last of all, because nobody waits for it: whoever reads it comes in another turn
            self.event_log.add([Record(w.seq, w.time_ns, private(w.events)) for w in batch if w.events])
        except OSError as problem:
            self.event_log_failed(problem)

    def event_log_failed(self, problem: Exception) -> None:
        log.critical("event_log_failed", error=repr(problem))
        self.fail()

    def beat(self) -> None:
        """Time passes: expire what is due, and answer those who wait for a disk that does not answer."""
        if self.stopped:
            return
        self.heartbeat = self.loop.call_later(HEARTBEAT_S, self.beat)
        try:
            self.event_log.flush()
        except OSError as problem:
            self.event_log_failed(problem)
            return
        now_ns = self.now_ns()
        if now_ns >= self.exchange.next_expiry_ns:
            self.apply(now_ns, AdvanceTime(), ignore, 0)
        self.admission.breaker.beat(self.in_flight[0].seq if self.in_flight else 0)
        self.look_for_space()
        self.narrow = self.admission.is_narrow(self.waiting())
        self.beat_ns = monotonic_ns = self.monotonic()
        for waiting in (*self.in_flight, *self.pending):
            if 0 < waiting.deadline_ns <= monotonic_ns:
                waiting.reply(timed_out("settlement", "unknown", waiting.within_ns))
                waiting.reply, waiting.deadline_ns = ignore, 0

    def look_for_space(self) -> None:
        """Where the disk was full, whether it still is."""
        try:
            if self.event_log.is_short:
                self.event_log.find_room()
        except OSError as problem:
            self.event_log_failed(problem)
        if self.journal.is_short and not self.searching:
            self.searching = True
            self.journal.find_room(self.space_found)

    def space_found(self, error: BaseException | None) -> None:
        """Whether or not: what went wrong is told to the next commit."""
        self.searching = False

    def fail(self) -> None:
        """End: nobody can say any more what is durable."""
        reference = support_reference()
        log.critical("engine_failed", reference=reference)
        self.stopped = self.narrow = True
        try:
            for waiting in (*self.untold, *self.in_flight, *self.pending):
                waiting.reply(failed("settlement", "unknown", reference))
            self.in_flight, self.pending = [], []
            self.idle.set()
        finally:
            self.on_failure()

    async def execute(self, command: Command, valid_until_ns: int | None = None) -> Any:
        """Submit for a caller that awaits: return the outcome, or raise what kept it from being one."""
        future = self.loop.create_future()
        self.submit(command, partial(settle, future), valid_until_ns)
        return await future

    async def ask(self, question: Callable[[], Result]) -> Result:
        """Query for a caller that awaits."""
        future: asyncio.Future[Result] = self.loop.create_future()
        self.query(question, partial(settle, future))
        return await future

    async def close(self) -> None:
        """Finish what has been accepted, then take nothing more."""
        await self.idle.wait()
        self.stopped = self.narrow = True
        self.heartbeat.cancel()


def answer_all(batch: Iterable[Waiting]) -> None:
    """Tell the senders of a durable batch what became of it."""
    for waiting in batch:
        waiting.reply(waiting.answer)


def settle(future: asyncio.Future[Any], answer: object) -> None:
    """The reply of a caller that awaits, and may have gone."""
    if future.done():
        return
    if isinstance(answer, Refused):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def ignore(_: object) -> None:
    """The reply of a command that nobody waits for."""
