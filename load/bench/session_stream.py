"""The Session stream: batches of orders, as fast as they go, with the account's feed read or not.

The client is kept small, because it shares the machine: requests are encoded beforehand, answers are kept as bytes
while the time is taken. Then every answer is looked at, because a refusal is fast, too. With the feed read, the time
ends when the last event has come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import count

import grpc
import uvloop

from load import flows
from load.bench.figures import Figure, alternating
from load.bench.trader import INSTRUMENT, Metadata, trader
from outcry import v1
from outcry.channels import Stubs, open_async_channel
from outcry.own_engine import OwnEngine, own_engine
from outcry.replay.maker_feed import MakerFeed
from outcry.replay.stage import Account

BATCH = 100
ORDERS = 40_000
WINDOW = 16  # batches unanswered
GOAL_PER_S = 100_000
SESSION = "/outcry.v1.OrderEntry/Session"
RUNS = count()

Encoded = Sequence[bytes]


class Refused(Exception):
    """The engine refused what it should have taken: the figure would be worth nothing."""


def encoded(acts: Sequence[flows.Act]) -> list[bytes]:
    """The acts as Instructions of BATCH each, ready for the wire."""
    instructions = [flows.instruction(act, INSTRUMENT) for act in acts]
    cut = (instructions[at : at + BATCH] for at in range(0, len(instructions), BATCH))
    return [v1.Instructions(instructions=batch).SerializeToString() for batch in cut]


async def exchanged(channel: grpc.aio.Channel, metadata: Metadata, batches: Encoded) -> list[bytes]:
    """Send all batches, at most WINDOW of them unanswered; return the answers."""
    session: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(SESSION)
    call = session(metadata=metadata)
    window = asyncio.Semaphore(WINDOW)

    async def send() -> None:
        for batch in batches:
            await window.acquire()
            await call.write(batch)
        await call.done_writing()

    sending = asyncio.create_task(send())
    answers = []
    async for answer in call:
        answers.append(answer)
        window.release()
    await sending
    return answers


def check(answers: Encoded) -> None:
    """Refused where an order was not accepted."""
    for answer in answers:
        for result in v1.Results.FromString(answer).results:
            if result.order.HasField("reject"):
                raise Refused(result.order.reject.message)


async def timed(engine: OwnEngine, metadata: Metadata, batches: Encoded, feed_read: bool) -> float:
    """Seconds for all batches."""
    async with open_async_channel(engine.address, None) as channel:
        await channel.channel_ready()
        feed = MakerFeed(Account(Stubs(channel), metadata), lambda fill: None)
        following = asyncio.create_task(feed.follow()) if feed_read else None
        started = time.perf_counter()
        answers = await exchanged(channel, metadata, batches)
        last = v1.Results.FromString(answers[-1]).results[-1].order.seq
        if following is not None:
            await feed.reach(last)
            following.cancel()
        taken = time.perf_counter() - started
    check(answers)
    return taken


def per_second(engine: OwnEngine, feed_read: bool) -> float:
    """Orders a second of one run, by an account of its own."""
    run = f"session {next(RUNS)}"
    metadata = trader(engine, run)
    batches = encoded(list(flows.orders(4, ORDERS, run=f"{run} ")))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return ORDERS / runner.run(timed(engine, metadata, batches, feed_read))


def figures() -> list[Figure]:
    with own_engine("write", "--transport", "native") as engine:
        measures = {
            "alone": lambda: per_second(engine, feed_read=False),
            "feed": lambda: per_second(engine, feed_read=True),
        }
        medians = alternating(measures)
    workload = f"write, native, batches of {BATCH}, {WINDOW} in flight, limit orders, one in ten trades"
    return [
        Figure(name, workload, f"{medians[key]:,.0f} orders/s", f">= {GOAL_PER_S:,}/s", medians[key] >= GOAL_PER_S)
        for key, name in (("alone", "Session, no feed read"), ("feed", "Session, its feed read"))
    ]
