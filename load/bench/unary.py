"""What the gateway itself adds to one unary order: its process's CPU time, less that of a bare echo on its transport.

Both servers are driven in the same way, by the same client with the same number of calls in flight; what differs is
authentication, decoding, the engine, the journal and the answer. CPU time of the server's process is counted, so that
the client's own slowness does not matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

import grpc
import uvloop

from load import flows
from load.bench.echo_server import METHOD, echo_server
from load.bench.figures import Figure, alternating, cpu_seconds
from load.bench.session_stream import Refused
from load.bench.trader import INSTRUMENT, Metadata, trader
from outcry import v1
from outcry.channels import open_async_channel
from outcry.own_engine import own_engine

CALLS = 10_000
IN_FLIGHT = 64
GOAL_US = 12.0
RUNS = count()


async def called(address: str, metadata: Metadata, requests: list[bytes]) -> list[bytes]:
    """Send each request as a call of its own, IN_FLIGHT at a time; return the answers."""
    left = iter(requests)
    async with open_async_channel(address, None) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)

        async def worker() -> list[bytes]:
            return [await call(request, metadata=metadata) for request in left]

        answers = await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return [answer for part in answers for answer in part]


def cost_us(address: str, pid: int, metadata: Metadata, check: Callable[[bytes], None]) -> float:
    """CPU microseconds of process `pid` for one call."""
    run = f"unary {next(RUNS)} "
    requests = [flows.new_order(order, INSTRUMENT).SerializeToString() for order in flows.orders(5, CALLS, run=run)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        before = cpu_seconds(pid)
        answers = runner.run(called(address, metadata, requests))
        used = cpu_seconds(pid) - before
    for answer in answers:
        check(answer)
    return used / CALLS * 1e6


def accepted(answer: bytes) -> None:
    result = v1.OrderResult.FromString(answer)
    if not result.order_id:
        raise Refused(result.reject.message)


def figures() -> list[Figure]:
    with own_engine("write", "--transport", "native") as engine, echo_server("native") as (echo_address, echo_pid):
        metadata = trader(engine)
        measures = {
            "echo": lambda: cost_us(echo_address, echo_pid, metadata, lambda answer: None),
            "order": lambda: cost_us(engine.address, engine.pid, metadata, accepted),
        }
        medians = alternating(measures, rounds=7)
    own = medians["order"] - medians["echo"]
    return [
        Figure(
            "unary order, the gateway's own CPU",
            f"write, native, {IN_FLIGHT} in flight, limit orders; {medians['order']:.0f} us less the bare echo's"
            f" {medians['echo']:.0f} us",
            f"{own:.1f} us",
            f"<= {GOAL_US:.0f} us",
            own <= GOAL_US,
        )
    ]
