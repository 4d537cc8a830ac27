"""A deadline of its own for each call, as real clients send: the header block is then new every time.

h2load repeats its blocks byte for byte, so that a server which keeps decoded blocks looks better than it is. Here
requests made beforehand go over a raw socket, with a `grpc-timeout` that is fresh for each and with one that is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from statistics import median

from load.bench.echo_server import METHOD
from load.bench.figures import ROUNDS, Figure, Skipped, cpu_seconds
from load.bench.h2load import PREFIX_BYTES, Run
from load.bench.raw_http2 import RawClient
from load.bench.session_stream import Refused
from load.bench.trader import Metadata, is_accepted, resting_order, trader
from load.bench.transports import ratio_figure
from outcry.own_engine import OwnEngine, StartFailed, own_engine

CALLS = {"grpcio": 10_000, "native": 30_000}
IN_FLIGHT = 64
FRESH_GOAL_US = 4.0
LONGEST_US = 30_000_000

TIMEOUTS: dict[str, Callable[[int], str]] = {
    "fresh": lambda number: f"{LONGEST_US - number}u",
    "same": lambda number: f"{LONGEST_US}u",
}


def run(engine: OwnEngine, metadata: Metadata, calls: int, timeout: Callable[[int], str]) -> Run:
    message = resting_order()
    client = RawClient(engine.address)
    try:
        requests = [client.encoded(METHOD, message, timeout(number), metadata) for number in range(calls)]
        before, started = cpu_seconds(engine.pid), time.perf_counter()
        client.replay(requests, message, IN_FLIGHT)
        taken, used = time.perf_counter() - started, cpu_seconds(engine.pid) - before
    finally:
        client.close()
    answers = list(client.answers.values())
    if len(answers) != calls or not all(is_accepted(answer[PREFIX_BYTES:]) for answer in answers):
        raise Refused(f"{len(answers)} answers to {calls} orders, or one of them is a refusal")
    return Run(calls / taken, used / calls * 1e6)


def figures() -> Iterator[Figure | Skipped]:
    measures: dict[tuple[str, str], Callable[[], Run]] = {}
    with ExitStack() as stack:
        for transport, calls in CALLS.items():
            try:
                engine = stack.enter_context(own_engine("write", "--transport", transport))
            except StartFailed as problem:
                yield Skipped(f"fresh timeouts, {transport}: {problem}")
                continue
            metadata = trader(engine)
            for kind, timeout in TIMEOUTS.items():
                measures[transport, kind] = partial(run, engine, metadata, calls, timeout)
        medians = measured(measures)
    for transport in CALLS:
        if (transport, "fresh") in medians:
            yield row(transport, medians[transport, "fresh"], medians[transport, "same"])
    grpcio, native = medians.get(("grpcio", "fresh")), medians.get(("native", "fresh"))
    ratio = native.rate / grpcio.rate if native is not None and grpcio is not None else None
    yield ratio_figure("fresh timeouts, native over grpcio", f"raw socket, {IN_FLIGHT} streams, throughput", ratio)


def measured(measures: dict[tuple[str, str], Callable[[], Run]]) -> dict[tuple[str, str], Run]:
    taken: dict[tuple[str, str], list[Run]] = {}
    for _ in range(ROUNDS):
        for key, measure in measures.items():
            taken.setdefault(key, []).append(measure())
    return {
        key: Run(median(run.rate for run in runs), median(run.cpu_us for run in runs)) for key, runs in taken.items()
    }


def row(transport: str, fresh: Run, same: Run) -> Figure:
    more = fresh.cpu_us - same.cpu_us
    goal, met = (f"<= {FRESH_GOAL_US:g} us more", more <= FRESH_GOAL_US) if transport == "native" else ("", None)
    return Figure(
        f"a fresh timeout for each order, {transport}",
        f"raw socket, write, {IN_FLIGHT} streams",
        f"{fresh.rate:,.0f}/s, {fresh.cpu_us:.1f} us CPU; same timeout {same.rate:,.0f}/s, {same.cpu_us:.1f} us CPU:"
        f" {more:+.1f} us",
        goal,
        met,
    )
