"""The whole simulation of one plan: an exchange that lives and dies over one disk, its clients, and what befalls them.

After every step what was promised is asked for; after every start, all that was ever told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from structlog.testing import capture_logs

from gateway import frames, snapshots, space, upkeep
from gateway.event_log import JournalBehind
from gateway.journal import Durability
from gateway.refusals import Refused
from gateway.segments import JournalUnusable
from outcry import v1
from tests.simulation.disk import PLENTY, Died, SimulatedDisk
from tests.simulation.exchange import AHEAD_BYTES, DATA, JOURNAL, START_NS, TEAMS, TICK, RunningExchange
from tests.simulation.loop import MS_NS, SECOND_NS, SimulatedLoop
from tests.simulation.network import Answer, Intent, Refusal
from tests.simulation.plan import READERS, Plan
from tests.simulation.promises import SUFFIX, Broken, Promises, last_frame, require, require_balance
from tests.simulation.readers import Reader

STARTS = 40  # tries, in a row
COMMAND_BYTES = 300  # more than any here takes in a file
ROOM = AHEAD_BYTES // 2  # for many of them
EVENTS = DATA / "events"
SNAPSHOTS = DATA / snapshots.FOLDER
PATIENCE_NS = 120 * SECOND_NS


class GivenUp(Exception):
    """The exchange rightly refuses to start, and what it would need nobody has."""


class World:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = Random(plan.seed)
        self.disk = SimulatedDisk(self.random)
        self.loop = SimulatedLoop(self.disk, self.random)
        self.promises = Promises(self.disk)
        self.running: RunningExchange | None = None
        self.readers = [Reader(1 + number % len(TEAMS), self.promises.reported) for number in range(READERS)]
        self.intents: list[Intent] = []
        self.calm = False
        self.durability = plan.durability  # of the next start
        self.safe = True  # whether what was shown survives a loss of power
        self.power_fails = False  # where the process dies at the disk
        self.clock_step_ns = 0
        self.flipped: list[tuple[Path, int, bytes]] = []  # file, bit, and what was in the file before
        self.lost_after: int | None = None
        self.room = 0  # that the files had when it was started
        self.forgetful = False  # whether the journal may have lost all but what a snapshot has
        self.darkness = False  # whether the power was ever cut
        self.flushed_seq = 0  # the last command that the event log told of when the process ended
        self.counts = Counter[str]()
        self.trace: list[str] = []

    # Its course

    def run(self) -> None:
        """Broken where the exchange does not keep its word."""
        with surroundings(self.random) as self.logs:
            try:
                self.start()
                for step in self.plan.steps:
                    self.say(str(step))
                    self.advance(step.wait_ns)
                    self.counts[step.action] += 1
                    ACTIONS[step.action](self, **step.values)
                    self.check()
                self.finish()
            except GivenUp as problem:
                self.say(f"given up: {problem}")
                self.counts["given up"] += 1
            finally:
                self.loop.kill()

    def say(self, words: str) -> None:
        self.trace.append(f"{self.loop.now_ns / MS_NS:10.3f} ms  {words}")

    def advance(self, wait_ns: int, is_done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass. Whenever the exchange ends meanwhile, it is started again."""
        until_ns = self.loop.now_ns + wait_ns
        while not is_done():
            try:
                self.loop.run(until_ns, lambda: is_done() or self.has_failed())
            except Died:
                self.end(power=self.power_fails)
            if self.has_failed():
                self.counts["failures"] += 1
                self.excused(f"gave itself up: {self.last_words()}", self.disk.failures + self.reasons())
                self.end()
            if self.running is None:
                self.start()
            elif self.loop.now_ns >= until_ns:
                return

    def last_words(self) -> str:
        return next((str(entry["error"]) for entry in reversed(self.logs) if "error" in entry), "")

    def reasons(self) -> int:
        """Why it may end though no operation failed: it was started without room, or the power has damaged what is not
        synced, of which it learns when somebody asks for it."""
        return (self.room < ROOM and self.disk.refused_for_room) + (self.darkness and "EventLog" in self.last_words())

    def has_failed(self) -> bool:
        return self.running is not None and self.running.failed

    def end(self, *, power: bool = False) -> None:
        """The process ends, or the machine."""
        self.loop.kill()
        self.promises.look()
        if power:
            self.disk.cut_power()
        else:
            self.disk.kill()
        if power and not self.safe:
            self.lost_after, self.forgetful = 0, True
        self.darkness = self.darkness or power
        if self.running is not None:
            self.flushed_seq = self.running.event_log.last_seq
        self.running = None
        for reader in self.readers:
            reader.task = None
        self.say("the power is gone" if power else "the process is gone")

    def start(self) -> None:
        """Start until it stands. Broken where it does not, for no reason that it could have."""
        for _ in range(STARTS):
            self.counts["starts"] += 1
            running = RunningExchange(self.disk, self.loop, self.durability, self.plan.wanted, self.clock_step_ns)
            try:
                self.come_up(running)
                return
            except Died:
                self.end(power=self.power_fails)
            except (JournalUnusable, JournalBehind) as problem:
                self.refused(problem)
            except (OSError, Refused) as problem:
                self.excused(repr(problem), self.disk.failures + self.disk.refused_for_room)
                self.end()
                self.disk.capacity = PLENTY
        raise Broken(f"it does not start in {STARTS} tries")

    def come_up(self, running: RunningExchange) -> None:
        with self.loop.current():
            running.recover()
        self.mend()
        self.promises.recovered(running.journal.first_seq, self.lost_after)
        self.promises.agree(running.exchange)
        self.lost_after, self.safe = None, running.durability is Durability.FSYNC
        for reader in self.readers:
            reader.last = min(reader.last, len(self.promises.history.feeds[reader.account]))
        with self.loop.current():
            running.serve()
        running.complete(running.apply_venue())
        running.keep_in_order(self.promises.look)
        self.running = running
        self.disk.failures = self.disk.refused_for_room = 0
        self.room = min(running.journal.room, running.event_log.room)
        self.say(f"started with command {running.recovered_seq}")

    def refused(self, problem: Exception) -> None:
        """It does not start, and names a file: for a reason that somebody gave it."""
        self.say(f"refused: {problem}")
        self.counts["refused"] += 1
        require(str(DATA) in str(problem), "a refusal to start names no file:", str(problem))
        self.loop.kill()
        self.disk.kill()
        needed = (SUFFIX, snapshots.SUFFIX) if self.forgetful else (SUFFIX,)
        if not any(path.suffix in needed for path, _, _ in self.flipped):
            require(self.lost_after is not None, "it does not start:", str(problem))
            raise GivenUp(str(problem))
        self.mend()

    def excused(self, words: str, excuses: int) -> None:
        """It has failed: something must have failed under it. A disk that is full is no reason to end."""
        self.say(words)
        require(excuses > 0, "it failed without a cause:", words)
        self.disk.failures = self.disk.refused_for_room = 0

    def mend(self) -> None:
        """Turn back the bits that are still where they were turned, and are read by nobody now."""
        for path, bit, content in self.flipped:
            if path.name in self.disk.listing(path.parent):
                now = self.disk.content(path)[: bit // 8 + 1]
                self.disk.flip(path, bit)
                if self.disk.content(path)[: bit // 8 + 1] != content[: bit // 8 + 1] or not now:
                    self.disk.flip(path, bit)
        self.flipped.clear()

    def finish(self) -> None:
        """Everything heals; everybody gets their answers and their events; and then nothing of it is lost."""
        self.calm = True
        self.disk.fails_in.clear()
        self.disk.dies_in, self.disk.capacity = None, PLENTY
        self.advance(0)
        self.say("calm")
        for intent in self.intents:
            intent.send()
        self.advance(PATIENCE_NS, lambda: all(intent.answer is not None for intent in self.intents))
        unanswered = [intent.name for intent in self.intents if intent.answer is None]
        require(not unanswered, "some never got an answer:", unanswered)
        self.check()
        for reader in self.readers:
            reader.pause_ns = 0
        self.advance(PATIENCE_NS, self.have_caught_up)
        self.check()
        require(self.have_caught_up(), "readers do not get what there is")
        self.end(power=self.safe)
        self.start()
        self.check()

    def have_caught_up(self) -> bool:
        running = self.running
        if running is None or running.failed or not running.is_idle:
            return False
        for reader in self.readers:
            reader.connect(running)
        return all(reader.last == running.exchange.last_number(reader.account) for reader in self.readers)

    # What must hold

    def told(self, account: int, request: Any, answer: Answer) -> None:
        failed = self.has_failed() and not isinstance(answer, Refusal)
        require(not failed, "acknowledged after a failure:", request)
        self.promises.answered(account, request, answer)

    def check(self) -> None:
        self.advance(0)
        running = self.running
        assert running is not None
        self.promises.look()
        if running.is_idle:
            self.promises.agree(running.exchange)
        require_balance(running.exchange)

    # What happens

    def intend(self, name: str, account: int, request: Any) -> None:
        intent = Intent(self, name, account, request, self.plan.seed)
        self.intents.append(intent)
        intent.send()

    def submit(self, name: str, account: int, expires_in_ms: int, **order: Any) -> None:
        market, good_till = order["price"] is None, order["time_in_force"] == v1.TIME_IN_FORCE_GTD
        request = v1.NewOrder(
            client_order_id=name,
            instrument_id=order["instrument"],
            side=order["side"],
            order_type=v1.ORDER_TYPE_MARKET if market else v1.ORDER_TYPE_LIMIT,
            time_in_force=v1.TIME_IN_FORCE_IOC if market else order["time_in_force"],
            quantity=order["quantity"],
            price=None if market else order["price"] * TICK,
            expires_at_ns=START_NS + self.loop.now_ns + expires_in_ms * MS_NS if good_till and not market else None,
        )
        self.intend(name, account, request)

    def burst(self, orders: list[dict[str, Any]]) -> None:
        for order in orders:
            self.submit(**order)

    def cancel(self, name: str, account: int, **named: Any) -> None:
        self.intend(name, account, v1.CancelRequest(**named))

    def replace(self, name: str, account: int, **change: Any) -> None:
        self.intend(name, account, v1.ReplaceRequest(**change))

    def cancel_all(self, name: str, account: int) -> None:
        self.intend(name, account, v1.CancelAllRequest())

    def follow(self, reader: int) -> None:
        if self.running is not None:
            self.readers[reader].connect(self.running)

    def leave(self, reader: int) -> None:
        self.readers[reader].disconnect()

    def lag(self, reader: int, pause_ms: int) -> None:
        self.readers[reader].pause_ns = pause_ms * MS_NS

    def kill(self) -> None:
        self.end()

    def cut_power(self) -> None:
        self.end(power=True)

    def stop(self) -> None:
        assert self.running is not None
        try:
            self.running.complete(self.running.stop())
        except Died:
            self.end(power=self.power_fails)
        except OSError as problem:
            self.excused(repr(problem), self.disk.failures)
            self.end()
        else:
            self.end()

    def die(self, operations: int, power: bool) -> None:
        self.disk.dies_in, self.power_fails = operations, power

    def fail(self, operation: str, after: int) -> None:
        self.disk.fails_in[operation] = after

    def short_writes(self) -> None:
        self.disk.short_writes = 3

    def slow(self, latency_ms: int, for_ms: int) -> None:
        if (running := self.running) is not None:
            running.commit_thread.latency_ns = latency_ms * MS_NS
            self.loop.after(for_ms * MS_NS, partial(setattr, running.commit_thread, "latency_ns", MS_NS))

    def fill(self, room: int) -> None:
        self.disk.fill(room)

    def free(self) -> None:
        self.disk.capacity = PLENTY

    def flip(self, folder: float, file: float, place: float, bit: int) -> None:
        """A bit turns while nothing runs. What may be gone with it is the last batch, if nothing else tells of that."""
        self.end()
        folders = [name for name in (JOURNAL, EVENTS, SNAPSHOTS) if any(map(len, self.contents(name)))]
        directory = folders[int(folder * len(folders))]
        paths = [directory / name for name in self.disk.listing(directory) if self.disk.content(directory / name)]
        path = paths[int(file * len(paths))]
        content = self.disk.content(path)
        at = int(place * len(content.rstrip(b"\0") or content)) * 8 + bit
        before = last_frame(self.disk, path) if path.parent == JOURNAL else None
        if before is not None and (self.durability is Durability.WRITE or self.flushed_seq <= before):
            self.lost_after = before
        self.disk.flip(path, at)
        self.flipped.append((path, at, content))
        self.say(f"flipped bit {at % 8} at offset {at // 8} of {path}")

    def contents(self, folder: Path) -> list[bytes]:
        return [self.disk.content(folder / name) for name in self.disk.listing(folder)]

    def switch(self, durability: Durability) -> None:
        """From the next start on."""
        self.durability = durability
        self.end()

    def clock(self, step_ms: int) -> None:
        self.clock_step_ns += step_ms * MS_NS
        if self.running is not None:
            self.running.clock_step_ns = self.clock_step_ns

    def lose_event_log(self) -> None:
        self.end()
        folder = self.disk.folders[EVENTS]
        folder.names.clear()
        folder.sync()


NAMES = (
    "submit burst cancel replace cancel_all follow leave lag kill cut_power stop die fail short_writes slow fill free"
    " flip clock lose_event_log switch"
)
ACTIONS: dict[str, Callable[..., None]] = {name: getattr(World, name) for name in NAMES.split()}


@contextmanager
def surroundings(random: Random) -> Iterator[list[Any]]:
    """All that the code would otherwise take from the machine that it runs on, or leave there: its log."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(frames, "os", SimpleNamespace(urandom=random.randbytes)))
        stack.enter_context(patch.object(upkeep, "LOOK_S", 0.1))
        stack.enter_context(patch.object(space, "COMMAND_BYTES", COMMAND_BYTES))
        yield stack.enter_context(capture_logs())
