"""Twice as many orders as the engine can take, whatever it answers: what still gets through, how late the latest answer
is, and how soon all is well again.

What gets through is counted in the book, not in answers, because a refusal is an answer, too. Capacity and overload are
measured in turns. OUTCRY_BENCH_SECONDS says how long each overload lasts.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from math import inf
from pathlib import Path
from statistics import median

from msgspec import Struct

from load.bench.echo_server import METHOD
from load.bench.figures import ROUNDS, Figure, Skipped, cpu_seconds
from load.bench.h2load import need_h2load
from load.bench.open_loop import MICROSECOND, Driver, Load, Row, grpc_driver, per_second, seconds
from load.bench.trader import resting_order, resting_orders, trader
from outcry.own_engine import OwnEngine, own_engine

LASTS_S = float(os.environ.get("OUTCRY_BENCH_SECONDS", "10"))
PEAK_S = 5.0
CALM_S = 5.0
SLICE_S = 0.5
CAPACITY = Load(8, 64)
LONE = Load(1, 1)
CONNECTIONS, STREAMS = 64, 1_000  # as many at once as the engine allows on each
GOODPUT_GOAL = 0.8
LATEST_GOAL_S = 5.0
NORMAL_GOAL_S = 5.0
NORMAL = 2.0  # times the lone latency of before


class Taken(Struct, frozen=True):
    """Orders a second that came into the book, the engine's CPU microseconds for each, and all answers."""

    rate: float
    cpu_us: float
    rows: list[Row]


class Round(Struct, frozen=True):
    peak: Taken
    over: Taken
    offered: float  # a second
    latest_s: float
    p99_s: float
    normal_after_s: float


def figures() -> Iterator[Figure | Skipped]:
    try:
        need_h2load()
    except Skipped as reason:
        yield reason
        return
    for durability in ("write", "fsync"):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            rounds = measured(durability, Path(folder))
        yield from judged(durability, rounds)


def measured(durability: str, folder: Path) -> list[Round]:
    with own_engine(durability, "--snapshot-every", "0") as engine:
        driver = grpc_driver(engine.address, METHOD, resting_order(), trader(engine), folder)
        driver.run(CAPACITY, PEAK_S)  # everything is warm
        return [one_round(engine, driver) for _ in range(ROUNDS)]


def one_round(engine: OwnEngine, driver: Driver) -> Round:
    calm_s = seconds(driver.run(LONE, CALM_S), 50)
    peak = taken(engine, driver, CAPACITY, PEAK_S)
    over = taken(engine, driver, Load(CONNECTIONS, STREAMS, 2 * peak.rate), LASTS_S)
    ended_us = time.time() / MICROSECOND
    after = normal_after_s(driver.run(LONE, CALM_S), ended_us, NORMAL * calm_s)
    return Round(peak, over, per_second(over.rows), seconds(over.rows, 100), seconds(over.rows, 99), after)


def taken(engine: OwnEngine, driver: Driver, load: Load, lasts_s: float) -> Taken:
    """What the end of the run left on its way is counted, and so is the time that it took."""
    before, started, used = resting_orders(engine.address), time.perf_counter(), cpu_seconds(engine.pid)
    rows = driver.run(load, lasts_s)
    entered = resting_orders(engine.address) - before
    used, lasted = cpu_seconds(engine.pid) - used, time.perf_counter() - started
    return Taken(entered / lasted, used / entered * 1e6, rows)


def normal_after_s(rows: list[Row], since_us: float, normal_s: float) -> float:
    """How long after `since_us` the first slice of time ended whose median is normal; infinite where there is none."""
    slices: dict[int, list[Row]] = {}
    for row in rows:
        slices.setdefault(int((row.sent_us - since_us) * MICROSECOND / SLICE_S), []).append(row)
    normal = [number for number, part in slices.items() if seconds(part, 50) <= normal_s]
    return (min(normal) + 1) * SLICE_S if normal else inf


def judged(durability: str, rounds: list[Round]) -> list[Figure]:
    share = median(r.over.rate / r.peak.rate for r in rounds)
    latest, normal_after = max(r.latest_s for r in rounds), max(r.normal_after_s for r in rounds)
    peak, offered = median(r.peak.rate for r in rounds), median(r.offered for r in rounds)
    p99, dearer = median(r.p99_s for r in rounds), median(r.over.cpu_us / r.peak.cpu_us for r in rounds)
    workload = f"{durability}, native, {offered:,.0f}/s offered for {LASTS_S:.0f} s, capacity {peak:,.0f}/s"
    return [
        Figure(
            "overload, orders that get through",
            f"{workload}; {dearer:.2f}x the engine's CPU for each",
            f"{share:.0%} of capacity",
            f">= {GOODPUT_GOAL:.0%}",
            share >= GOODPUT_GOAL,
        ),
        Figure(
            "overload, the latest answer",
            f"the same; p99 {p99:.2f} s",
            f"{latest:.2f} s",
            f"<= {LATEST_GOAL_S:.0f} s",
            latest <= LATEST_GOAL_S,
        ),
        Figure(
            "overload, until lone orders take what they took before",
            f"the same; at most {NORMAL:.0f}x, medians of {SLICE_S} s",
            f"{normal_after:.1f} s",
            f"<= {NORMAL_GOAL_S:.0f} s",
            normal_after <= NORMAL_GOAL_S,
        ),
    ]
