"""Our channel and server in Python beside grpcio's: a lone call, ping-pong on a stream, a server's stream.

Bare echoes, so that nothing but the transport is measured. Client and server are of the same kind; beside them stands
grpcio's client at our server, which is what others use.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import uvloop
from msgspec import Struct

from load.bench.echo_server import MESSAGE, METHOD, PING_PONG, STREAM, echo_server, implementation
from load.bench.figures import Figure, Skipped, alternating
from load.bench.transports import ratio_figure

CALLS = 2_000
MESSAGES = 30_000
GRPCIO, NATIVE, MIXED = "grpcio", "native", "grpcio's client, native server"
KINDS = {GRPCIO: (GRPCIO, GRPCIO), NATIVE: (NATIVE, NATIVE), MIXED: (GRPCIO, NATIVE)}


class Wrong(Exception):
    """An answer is not what was sent: the figure would be worth nothing."""


async def lone_us(channel: Any) -> float:
    """Microseconds a call, one at a time."""
    call = channel.unary_unary(METHOD)
    answers = [await call(MESSAGE)]  # connects
    started = time.perf_counter()
    answers += [await call(MESSAGE) for _ in range(CALLS)]
    taken = time.perf_counter() - started
    check(answers, CALLS + 1)
    return taken / CALLS * 1e6


async def ping_pong_us(channel: Any) -> float:
    """Microseconds from a message on a stream to its answer."""
    call = channel.stream_stream(PING_PONG)()
    await call.write(MESSAGE)
    answers = [await call.read()]
    started = time.perf_counter()
    for _ in range(CALLS):
        await call.write(MESSAGE)
        answers.append(await call.read())
    taken = time.perf_counter() - started
    await call.done_writing()
    check(answers, CALLS + 1)
    return taken / CALLS * 1e6


async def streamed_per_s(channel: Any) -> float:
    """Messages a second of one server's stream, the first one not timed."""
    answers: AsyncIterator[bytes] = aiter(channel.unary_stream(STREAM)(b"%d" % (MESSAGES + 1)))
    read = [await anext(answers)]
    started = time.perf_counter()
    read += [answer async for answer in answers]
    taken = time.perf_counter() - started
    check(read, MESSAGES + 1)
    return MESSAGES / taken


def check(answers: list[bytes], expected: int) -> None:
    if answers != [MESSAGE] * expected:
        raise Wrong(f"{len(answers)} answers, {expected} expected, or one of them is not what was sent")


class Comparison(Struct, frozen=True):
    name: str
    workload: str
    unit: str
    measure: Callable[[Any], Awaitable[float]]
    at_least: float | None = None
    at_most: float | None = None


COMPARISONS = [
    Comparison("lone call, Python client", f"{CALLS:,} echoes, one at a time", " us", lone_us, at_most=0.2),
    Comparison("ping-pong on a stream", f"{CALLS:,} echoes on one stream", " us", ping_pong_us, at_most=0.3),
    Comparison("server's stream", f"{MESSAGES:,} messages of {len(MESSAGE)} bytes", "/s", streamed_per_s, at_least=3),
]


def timed(client: str, address: str, measure: Callable[[Any], Awaitable[float]]) -> float:
    async def run() -> float:
        async with implementation(client).insecure_channel(address) as channel:
            return await measure(channel)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def figures() -> Iterator[Figure | Skipped]:
    with ExitStack() as stack:
        addresses: dict[str, str] = {}
        for transport in (GRPCIO, NATIVE):
            try:
                addresses[transport], _ = stack.enter_context(echo_server(transport))
            except Skipped as reason:
                yield Skipped(f"the Python client and streams, {reason}")
        for comparison in COMPARISONS:
            measures = {
                kind: partial(timed, client, addresses[server], comparison.measure)
                for kind, (client, server) in KINDS.items()
                if server in addresses
            }
            yield from compared(comparison, alternating(measures))


def compared(comparison: Comparison, medians: dict[str, float]) -> Iterator[Figure]:
    for kind, value in medians.items():
        yield Figure(f"{comparison.name}, {kind}", comparison.workload, f"{value:,.0f}{comparison.unit}")
    ratio = medians[NATIVE] / medians[GRPCIO] if NATIVE in medians else None
    yield ratio_figure(
        f"{comparison.name}, native over grpcio",
        comparison.workload,
        ratio,
        comparison.at_least,
        comparison.at_most,
    )
