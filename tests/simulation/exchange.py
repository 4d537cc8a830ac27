"""One life of the exchange: started from what is on the simulated disk, as the gateway starts, without sockets."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from engine.commands import Command, PutAccount, PutFeeSchedule, PutInstrument, PutRiskProfile, PutRole
from engine.exchange import Exchange
from engine.instrument import FeeSchedule, Instrument, RiskProfile, Role
from gateway import recovery, snapshotter
from gateway.access import Access
from gateway.edge import Streams
from gateway.executions import ExecutionFeed
from gateway.feeds import Feeds
from gateway.journal import Durability, Inline
from gateway.market_data import MarketDataHub
from gateway.order_entry import OrderEntry
from gateway.sequencer import Sequencer
from gateway.upkeep import Upkeep, Wanted
from tests.simulation.disk import SimulatedDisk
from tests.simulation.loop import SECOND_NS, SimulatedCommitThread, SimulatedLoop

DATA = Path("/data")
JOURNAL = DATA / "journal"
START_NS = 1_705_314_645 * SECOND_NS
START_WITHIN_NS = 120 * SECOND_NS
SEGMENT_BYTES, AHEAD_BYTES = 4 << 10, 8 << 10  # small, so that a short life has many segments
WINDOW = 12  # events that a feed's readers may lag behind

ONE = 10**9
TICK = ONE // 100
INSTRUMENTS = (Instrument("OPT", TICK, ONE, "USD"), Instrument("SHR", TICK, ONE, "USD", "SHR", settles_in_cash=True))
TEAMS = ("red", "green", "blue")
OPENING = {"USD": 100 * ONE, "SHR": 100 * ONE}


def key_of(name: str) -> str:
    return name * 16


VENUE: tuple[Command, ...] = (
    *map(PutInstrument, INSTRUMENTS),
    PutFeeSchedule(FeeSchedule("fees", -TICK, 2 * TICK)),
    PutRiskProfile(RiskProfile("open")),
    PutRole(Role("team", "fees", "open", OPENING)),
    *(PutAccount(name, "team", key_hash=hashlib.sha256(key_of(name).encode()).digest()) for name in TEAMS),
)


def key(account: int) -> str:
    return key_of(TEAMS[account - 1])


def is_there(command: Command, exchange: Exchange) -> bool:
    """Whether the state has what a command of VENUE makes."""
    match command:
        case PutInstrument():
            return command.instrument.instrument_id in exchange.instruments
        case PutFeeSchedule():
            return command.schedule.name in exchange.fee_schedules
        case PutRiskProfile():
            return command.profile.name in exchange.risk_profiles
        case PutRole():
            return command.role.name in exchange.roles
        case PutAccount():
            return command.name in exchange.named_accounts
    raise TypeError(type(command).__name__)


def small(files: Any) -> Any:
    """Journal or EventLog, opened with small segments."""
    sizes = {"segment_bytes": SEGMENT_BYTES, "ahead": AHEAD_BYTES}
    return SimpleNamespace(open=lambda *given, **settings: files.open(*given, **{**settings, **sizes}))


class SimulatedUpkeep(Upkeep):
    """Makes snapshots as the process beside the engine does, in one go. `begin` is called before each."""

    loop: SimulatedLoop
    begin: Callable[[], None]

    async def snapshot(self, seq: int) -> None:
        await asyncio.sleep(self.loop.random.randint(0, 40) / 1000)
        self.begin()
        snapshotter.make(self.disk, self.data, seq)


class RunningExchange:
    """Started by `start`, which returns when the venue is there, and ended by `stop`, or by its disk or its owner.

    `failed` is whether it has given itself up. `clock_step_ns` is how far the wall clock was put forward or back.
    """

    def __init__(
        self, disk: SimulatedDisk, loop: SimulatedLoop, durability: Durability, wanted: Wanted, clock_step_ns: int
    ) -> None:
        self.disk = disk
        self.loop = loop
        self.durability = durability
        self.wanted = wanted
        self.clock_step_ns = clock_step_ns
        self.failed = False
        self.commit_thread = SimulatedCommitThread(loop)

    def clock(self) -> int:
        return START_NS + self.loop.now_ns + self.clock_step_ns

    def fail(self) -> None:
        self.failed = True

    def start(self) -> None:
        """JournalUnusable, JournalBehind, OSError, or Died."""
        with self.loop.current():
            self.recover()
            self.serve()
        self.complete(self.apply_venue())

    def recover(self) -> None:
        worker = self.commit_thread if self.durability is Durability.FSYNC else Inline()
        journals, event_logs = small(recovery.Journal), small(recovery.EventLog)
        with patch.object(recovery, "Journal", journals), patch.object(recovery, "EventLog", event_logs):
            recovered = recovery.recover(DATA, self.durability, disk=self.disk, worker=worker)
        self.exchange, self.journal, self.event_log = recovered.exchange, recovered.journal, recovered.event_log
        self.recovered_seq = self.journal.last_seq

    def serve(self) -> None:
        self.feeds = Feeds(self.event_log, on_damage=self.event_log_failed, window=WINDOW)
        self.sequencer = Sequencer(
            self.exchange,
            self.journal,
            self.event_log,
            publishers=(self.feeds, MarketDataHub()),
            on_failure=self.fail,
            clock=self.clock,
            monotonic=lambda: self.loop.now_ns,
        )
        access = Access(self.exchange, service_key_hash=b"", registrations_per_minute=1)
        streams = Streams(access, keyed=100, of_account=100, strangers=0, at_address=0)
        self.order_entry = OrderEntry(access, self.sequencer, streams)
        self.execution_feed = ExecutionFeed(access, self.feeds, streams)

    def keep_in_order(self, begin: Callable[[], None]) -> None:
        upkeep = SimulatedUpkeep(DATA, self.wanted, self.journal, self.event_log, self.disk, clock=self.clock)
        upkeep.loop, upkeep.begin = self.loop, begin
        with self.loop.current():
            self.upkeep = self.loop.create_task(upkeep.run())

    def event_log_failed(self, problem: Exception) -> None:
        self.sequencer.event_log_failed(problem)

    async def apply_venue(self) -> None:
        for command in VENUE:
            if not is_there(command, self.exchange):
                await self.sequencer.execute(command)

    async def stop(self) -> None:
        """End as the gateway does when it is told to."""
        self.upkeep.cancel()
        await asyncio.wait([self.upkeep])
        await self.sequencer.close()
        self.journal.close()
        self.event_log.flush()
        self.event_log.close()

    def complete(self, work: Any) -> None:
        """Run until this is done; what it raises is raised here."""
        with self.loop.current():
            task: asyncio.Task[None] = self.loop.create_task(work)
        self.loop.run(self.loop.now_ns + START_WITHIN_NS, task.done)
        if not task.done():
            raise TimeoutError("it waits for ever")
        task.result()

    @property
    def is_idle(self) -> bool:
        """Whether everything that was applied has been committed."""
        return not (self.sequencer.pending or self.sequencer.in_flight)
