"""The recorded day through gRPC: with the comparison of every row, and without."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import uvloop

from load.bench.figures import Figure, Skipped
from outcry.channels import open_async_channel
from outcry.own_engine import OwnEngine, own_engine
from outcry.replay import Day, Report, replay
from outcry.replay.report import percentile

VARIABLE = "OUTCRY_SHARED_DATA"
DEFAULT = Path(__file__).parents[2] / "../shared/data"
DAY = "nasdaq-goog-2012-06-21"
COMPARED_GOAL_S = 120
ALONE_GOAL_PER_S = 20_000


def folder() -> Path:
    """Where the day lies. Skipped where it is not there."""
    found = Path(os.environ.get(VARIABLE, DEFAULT)).resolve() / DAY
    if not found.is_dir():
        raise Skipped(f"the recorded day: not there; {VARIABLE} names the folder that holds {DAY}")
    return found


def played(engine: OwnEngine, day: Day) -> Report:
    async def play() -> Report:
        async with open_async_channel(engine.address, None) as channel:
            return await replay(channel, engine.operator_key, day)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(play())


def figures() -> list[Figure]:
    """One round each: a day is long enough."""
    data = folder()
    commands, book = data / "commands.csv.gz", data / "book.csv.gz"
    with own_engine("write") as engine:
        alone = played(engine, Day(commands, None, "GOOG"))
        compared = played(engine, Day(commands, book, "GOOG"))
    return [figure_alone(alone), figure_compared(compared)]


def figure_alone(report: Report) -> Figure:
    rate = report.commands * 1_000_000_000 // report.duration_ns
    makers = report.comparison.makers
    met = rate >= ALONE_GOAL_PER_S and not report.comparison.different
    return Figure(
        "replay of the day, books not compared",
        f"write, {makers.equal:,} of {makers.compared:,} makers",
        f"{rate:,} instructions/s",
        f">= {ALONE_GOAL_PER_S:,}/s",
        met,
    )


def figure_compared(report: Report) -> Figure:
    seconds = report.duration_ns / 1e9
    books, trips = report.comparison.books, report.round_trips_ns
    met = seconds < COMPARED_GOAL_S and not report.comparison.different
    median_ms, worst_ms = percentile(trips, 50) / 1e6, percentile(trips, 99) / 1e6
    return Figure(
        "replay of the day, every row compared",
        f"write, {books.equal:,} of {books.compared:,} rows",
        f"{seconds:.1f} s; a batch's round trip p50 {median_ms:.2f} ms, p99 {worst_ms:.2f} ms",
        f"< {COMPARED_GOAL_S} s",
        met,
    )
