"""`python -m load.soak`: a fresh engine under all kinds of clients, for ten minutes unless told otherwise.

Traders on our own channel and on grpcio's call, with deadlines and without, hold Sessions, execution feeds and market
data streams, read slowly, cancel in every phase, close channels with calls under way and open others, and hang up.
Every answer is checked. After a warm-up, and again at the end, all of them go; then the engine's memory and open files
must be near what they were, and it must have room for as many feeds as ever. What it does is chosen by --seed; how
things meet in time is not. Exit status: 0 without a fault, 1 with one, 2 where the engine did not come up.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import grpc
import uvloop
from msgspec import Struct

import wire
from load.soak.trader import BOUND_S, INSTRUMENT, Tally, Trader
from outcry import v1
from outcry.channels import OPTIONS, Stubs
from outcry.own_engine import OwnEngine, StartFailed, own_engine

TRADERS = 12
WARM_UP = 0.25  # of the time; at most WARM_UP_S
WARM_UP_S = 60
WATCH_S = 30
SETTLE_S = 10  # for the engine to see that all are gone
FEEDS = 64  # of one account: as many as the engine allows
RSS_SLACK = 1.2
RSS_SLACK_MB = 16
FD_SLACK = 3
BAD_WORDS = ("Traceback", "rpc_failed", "Exception in", "never retrieved", "was destroyed")  # in the engine's log
PROFILE = "unlimited"
VENUE = f"""
kept_closed_orders = 200  # so that what the engine remembers does not grow
[fee_schedules.free]
maker = 0
taker = 0
[risk_profiles.{PROFILE}]
no_position_limit = true
[instruments.{INSTRUMENT}]
tick_size = 0.01
lot_size = 1
quote_asset = "USD"
[roles.trader]
fee_schedule = "free"
risk_profile = "{PROFILE}"
[roles.operator]
fee_schedule = "free"
risk_profile = "{PROFILE}"
[accounts.operator]
role = "operator"
key = "operator"
"""


class Usage(Struct, frozen=True):
    rss_mb: float
    fds: int

    def __str__(self) -> str:
        return f"{self.rss_mb:.1f} MB, {self.fds} open files"


def usage(pid: int | str) -> Usage:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (rss,) = [int(line.split()[1]) for line in lines if line.startswith("VmRSS")]
    return Usage(rss / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())))


async def settled(pid: int | str, fds: int) -> Usage:
    """What is used once everybody is gone, or SETTLE_S have passed."""
    gc.collect()
    until = time.monotonic() + SETTLE_S
    while (now := usage(pid)).fds > fds and time.monotonic() < until:  # noqa: ASYNC110  # it is another process
        await asyncio.sleep(0.1)
    return now


def compare(name: str, before: Usage, after: Usage, tally: Tally) -> None:
    print(f"{name}: {before} after the warm-up, {after} at the end")
    if after.rss_mb > before.rss_mb * RSS_SLACK + RSS_SLACK_MB:
        tally.fault(f"{name} has grown")
    if after.fds > before.fds + FD_SLACK:
        tally.fault(f"{name} has left files or connections open")


async def refill(address: str, keys: list[str], tally: Tally) -> None:
    """Every account gets all the feeds that the engine allows: none of those before is still counted."""
    async with asyncio.timeout(BOUND_S), wire.insecure_channel(address, options=OPTIONS) as channel:
        feed = Stubs(channel).executions.StreamExecutions
        for key in keys:
            calls = [feed(v1.StreamExecutionsRequest(), metadata=(("x-api-key", key),)) for _ in range(FEEDS)]
            for call in calls:
                await call.read()
            for call in calls:
                call.cancel()
        left = len(channel.link.line.core.streams) if channel.link.line else 0
        if left:
            tally.fault(f"{left} streams are left")


async def phase(traders: list[Trader], pid: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    watching = asyncio.ensure_future(watch(pid))
    await asyncio.gather(*(trader.trade(until) for trader in traders))
    watching.cancel()


async def watch(pid: int) -> None:
    """Say now and then how it goes."""
    started = time.monotonic()
    while True:
        await asyncio.sleep(WATCH_S)
        print(f"{time.monotonic() - started:.0f} s: engine {usage(pid)}; clients {usage('self')}", flush=True)


async def soak(engine: OwnEngine, keys: list[str], seconds: float, seed: int) -> Tally:
    tally = Tally()
    idle, idle_here = usage(engine.pid).fds, usage("self").fds
    traders = [Trader(number, key, engine.address, seed, tally) for number, key in enumerate(keys)]
    warm_up = min(seconds * WARM_UP, WARM_UP_S)
    await phase(traders, engine.pid, warm_up)
    before = await settled(engine.pid, idle), await settled("self", idle_here)
    await phase(traders, engine.pid, seconds - warm_up)
    compare("engine", before[0], await settled(engine.pid, before[0].fds), tally)
    compare("clients", before[1], await settled("self", before[1].fds), tally)
    try:
        await refill(engine.address, keys, tally)
    except Exception as problem:
        tally.fault(f"feeds at the end: {problem!r}")
    return tally


def check_log(engine: OwnEngine, tally: Tally) -> None:
    """The engine itself must have nothing to complain of, but of clients."""
    text = (engine.data.parent / "log").read_text(errors="replace")
    for words in BAD_WORDS:
        if words in text:
            at = text.index(words)
            tally.fault(f"the engine's log, {text.count(words)} times {words!r}:\n{text[at : at + 3_000]}")


def report(tally: Tally) -> None:
    both: Counter[str] = Counter()
    for (_, name), times in tally.acts.items():
        both[name] += times
    for name, times in both.most_common():
        kinds = ", ".join(f"{tally.acts[kind, name]:,} {kind}" for kind in ("native", "grpcio"))
        print(f"{name:18} {times:10,}  ({kinds}), the longest {tally.longest_s[name]:.2f} s")
    print(f"{len(tally.faults)} faults" if tally.faults else "no fault")


def registered(engine: OwnEngine) -> list[str]:
    """An account for each trader; their keys."""
    with grpc.insecure_channel(engine.address) as channel:
        register = v1.AccountsStub(channel).Register
        return [register(v1.RegisterRequest(team_name=f"soak-{at}")).api_key for at in range(TRADERS)]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m load.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--transport", choices=["native", "grpcio"], default="native", help="the engine's")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as venue:
        venue.write(VENUE)
        venue.flush()
        try:
            with own_engine("write", "--transport", options.transport, "--venue", venue.name) as engine:
                tally = uvloop.run(soak(engine, registered(engine), options.seconds, options.seed))
                check_log(engine, tally)
        except StartFailed as problem:
            print(problem, file=sys.stderr)
            return 2
    report(tally)
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
