"""Experiment 24: ten of fifty subscribers are frozen, and hurt nobody but themselves.

The ten are streams of one process, which is stopped by a signal: its connection stays, and takes nothing. What the
gateway keeps for all fifty together is one window of the account's latest events, whatever they do; the forty others
are told everything in time; the ten are dropped, and each is told the last number it was given, where it resumes.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import grpc

from outcry import v1
from tests.experiments.exchanges import UNIT
from tests.venues import Stubs, Venue, until, venue

FROZEN = 10
QUICK = 40
WINDOW = 100  # events, instead of ten thousand, so that a test reaches it
ROUNDS = 5_000  # of two events each, after which nobody is dropped any more
HANG_S = 60.0

Metadata = list[tuple[str, str]]


async def follow(stubs: Stubs, metadata: Metadata, from_seq: int, numbers: list[int]) -> None:
    request = v1.StreamExecutionsRequest(from_seq=from_seq)
    async for message in stubs.feed.StreamExecutions(request, metadata=metadata):
        numbers += [report.seq for report in message.reports]


async def order(exchange: Venue, metadata: Metadata) -> None:
    """An order that rests, and its cancellation."""
    resting = v1.NewOrder(
        instrument_id="AAPL", side=v1.SIDE_BUY, order_type=v1.ORDER_TYPE_LIMIT, quantity=UNIT, price=UNIT
    )
    result = await exchange.stubs.orders.SubmitOrder(resting, metadata=metadata)
    await exchange.stubs.orders.CancelOrder(v1.CancelRequest(order_id=result.order_id), metadata=metadata)


async def test_frozen_subscribers_cost_one_window_are_dropped_with_the_number_to_resume_from_and_hurt_nobody(
    tmp_path: Path, transport: str
) -> None:
    async with venue(tmp_path / "data") as exchange:
        assert exchange.gateway.settings.transport == transport
        feeds = exchange.gateway.feeds
        feeds.window = WINDOW
        account, metadata = await exchange.stubs.register()
        arguments = (exchange.address, metadata[0][1], str(FROZEN))
        frozen = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.experiments.frozen_readers", *arguments, stdout=PIPE
        )
        assert frozen.stdout is not None
        assert await frozen.stdout.readline() == b"following\n"
        told: list[list[int]] = [[] for _ in range(QUICK)]
        async with grpc.aio.insecure_channel(exchange.address) as channel, asyncio.TaskGroup() as tasks:
            following = [tasks.create_task(follow(Stubs(channel), metadata, 0, numbers)) for numbers in told]
            await until(lambda: account in feeds.windows and len(feeds.windows[account].readers) == FROZEN + QUICK)
            await until(lambda: all(reader.live for reader in feeds.windows[account].readers))
            frozen.send_signal(signal.SIGSTOP)
            try:
                for _ in range(ROUNDS):
                    await order(exchange, metadata)
                    assert len(feeds.windows[account].events) < 2 * WINDOW
                    if len(feeds.windows[account].readers) == QUICK:
                        break
                assert len(feeds.windows[account].readers) == QUICK
                last = exchange.gateway.exchange.last_number(account)
                await until(lambda: all(numbers[-1:] == [last] for numbers in told), HANG_S)
            finally:
                frozen.send_signal(signal.SIGCONT)
            endings = [json.loads(line) for line in (await frozen.communicate())[0].splitlines()]
            for task in following:
                task.cancel()
        everything = list(range(1, last + 1))
        assert all(numbers == everything for numbers in told)
        assert len(endings) == FROZEN
        for ending in endings:
            # grpcio ends a connection that takes nothing for ten seconds, which a loaded machine may need.
            if transport == "native" or ending["code"] != "UNAVAILABLE":
                words = f"The reader is too slow; resume from {ending['last']}"
                assert (ending["code"], ending["words"]) == ("RESOURCE_EXHAUSTED", words)
            rest: list[int] = []
            resumed = asyncio.create_task(follow(exchange.stubs, metadata, ending["last"], rest))
            await until(lambda rest=rest: rest[-1:] == [last])  # type: ignore[misc]
            resumed.cancel()
            assert rest == everything[ending["last"] :]
