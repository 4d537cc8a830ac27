"""Experiment 15: a feed is cut a thousand times and resumed by number, and joined it is what the journal says.

Connections are cut in the middle of messages and of bytes, by a seed, while orders go on and the engine is killed and
started again. What the journal says is told by a replay of it after the end: the same events, with the same numbers,
on gRPC and on the WebSocket. The control resumes without a number, and misses some.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import websockets

from engine.exchange import Exchange as Engine
from gateway.event_records import Numbered, private
from gateway.executions import report
from gateway.journal import Durability, Journal
from outcry import decoding, v1
from rest_bridge.messages import FORMATS
from tests.experiments.exchanges import UNIT, Exchange
from tests.faults.cutter import Cutter, cutting
from tests.venues import Stubs, until

SEED = 15
CUTS = 1_000  # of both feeds together
LEAST = 250  # of each
KILLS = 3
LONG_S = 100.0
AT_ONCE = [("grpc.initial_reconnect_backoff_ms", 10), ("grpc.min_reconnect_backoff_ms", 10)]

Message = dict[str, Any]


def told(data: Path, account: int) -> list[v1.ExecutionReport]:
    """What the account was told, by a replay of the journal."""
    journal, engine = Journal.open(data / "journal", durability=Durability.WRITE), Engine()
    try:
        return [
            report(Numbered(event.number, entry.seq, entry.time_ns, event))
            for entry in journal.replay()
            for event in private(engine.apply(entry.seq, entry.time_ns, entry.command))
            if event.account == account
        ]
    finally:
        journal.close()


def messages(reports: list[v1.ExecutionReport]) -> list[Message]:
    """The same as a WebSocket tells it."""
    decoded = (decoding.execution_report(message) for message in reports)
    texts = (FORMATS["default"].report(event) for event in decoded if event is not None)
    return [json.loads(text) for text in texts if text is not None]


class Trading:
    """Two accounts that trade with each other until they are told to stop, whatever becomes of the engine."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.enters = asyncio.Event()
        self.enters.set()

    async def register(self) -> None:
        async with grpc.aio.insecure_channel(self.exchange.grpc) as channel:
            self.account, self.metadata = await Stubs(channel).register()
            _, other = await Stubs(channel).register()
        self.pair = [self.metadata, other]
        self.key = self.metadata[0][1]

    async def run(self) -> None:
        while True:
            async with grpc.aio.insecure_channel(self.exchange.grpc) as channel:
                with suppress(grpc.aio.AioRpcError):
                    while await self.enters.wait():
                        await self.trade(Stubs(channel).orders)
            await asyncio.sleep(0.02)  # the engine is away

    async def trade(self, orders: Any) -> None:
        for metadata, side in zip(self.pair, (v1.SIDE_BUY, v1.SIDE_SELL), strict=True):
            order = v1.NewOrder(
                instrument_id="AAPL", side=side, order_type=v1.ORDER_TYPE_LIMIT, quantity=UNIT, price=100 * UNIT
            )
            await orders.SubmitOrder(order, metadata=metadata, timeout=5)
        self.pair.reverse()


class Joined:
    """What a reader was told, over all its connections; it resumes after `last`, unless it `forgets`."""

    def __init__(self, *, forgets: bool = False) -> None:
        self.forgets = forgets
        self.last = 0
        self.told: list[Any] = []

    @property
    def from_seq(self) -> int | None:
        return None if self.forgets else self.last

    def take(self, number: int, event: Any) -> None:
        self.told.append(event)
        self.last = number


Follow = Callable[[str, Trading, Joined], Awaitable[None]]


async def by_grpc(address: str, trading: Trading, joined: Joined) -> None:
    """Follow one connection to its end."""
    async with grpc.aio.insecure_channel(address, AT_ONCE) as channel:
        request = v1.StreamExecutionsRequest(from_seq=joined.from_seq)
        stream = Stubs(channel).feed.StreamExecutions(request, metadata=trading.metadata)
        try:
            async for message in stream:
                for event in message.reports:
                    joined.take(event.seq, event)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.UNAUTHENTICATED):
                raise


async def by_websocket(address: str, trading: Trading, joined: Joined) -> None:
    wish = "" if joined.from_seq is None else f"&from_seq={joined.from_seq}"
    with suppress(OSError, websockets.InvalidMessage, websockets.ConnectionClosed):
        async with websockets.connect(f"ws://{address}/ws?api_key={trading.key}{wish}") as socket:
            async for text in socket:
                message = json.loads(text)
                if message["type"] != "position_snapshot":
                    joined.take(message["seq"], message)


async def again_and_again(follow: Follow, cutter: Cutter, trading: Trading, joined: Joined) -> None:
    while True:
        await follow(cutter.address, trading, joined)


async def follow_and_cut(
    exchange: Exchange, trading: Trading, feeds: dict[Follow, Joined], *, cuts: int, kills: int
) -> None:
    """Cut the feeds so often, and kill the engine on the way; return when all have been told of everything."""
    await trading.register()
    async with (
        cutting(exchange.grpc, SEED) as grpc_cutter,
        cutting(exchange.http, SEED + 1) as http_cutter,
        asyncio.TaskGroup() as tasks,
    ):
        cutters = {by_grpc: grpc_cutter, by_websocket: http_cutter}
        used = [cutters[follow] for follow in feeds]
        running = [tasks.create_task(trading.run())]
        for follow, joined in feeds.items():
            running.append(tasks.create_task(again_and_again(follow, cutters[follow], trading, joined)))
        for part in range(1, kills + 2):
            enough = cuts * part // (kills + 1)
            await until(lambda enough=enough: sum(cutter.cuts for cutter in used) >= enough, LONG_S)  # type: ignore[misc]
            if part <= kills:
                await asyncio.to_thread(exchange.restart_engine)
        await until(lambda: all(cutter.cuts >= cuts * LEAST // CUTS for cutter in used), LONG_S)
        for cutter in used:
            cutter.is_sharp = False
        trading.enters.clear()
        last = await last_number(exchange, trading)
        await until(lambda: all(joined.last >= last or joined.forgets for joined in feeds.values()), LONG_S)
        for task in running:
            task.cancel()


async def last_number(exchange: Exchange, trading: Trading) -> int:
    """The account's last, once nobody trades any more."""
    async with grpc.aio.insecure_channel(exchange.grpc) as channel:
        numbers = [-1]
        while len(numbers) < 2 or numbers[-1] != numbers[-2]:
            answer = await Stubs(channel).accounts.GetPositions(v1.GetPositionsRequest(), metadata=trading.metadata)
            numbers.append(answer.seq)
            await asyncio.sleep(0.1)
        return numbers[-1]


@pytest.mark.timeout(300)
async def test_a_feed_that_is_cut_a_thousand_times_is_when_joined_what_the_journal_says(own_exchange: Exchange) -> None:
    trading, by_stream, by_socket = Trading(own_exchange), Joined(), Joined()
    feeds: dict[Follow, Joined] = {by_grpc: by_stream, by_websocket: by_socket}
    await follow_and_cut(own_exchange, trading, feeds, cuts=CUTS, kills=KILLS)
    own_exchange.engine.stop()
    expected = told(own_exchange.data, trading.account)
    assert [event.seq for event in expected] == list(range(1, len(expected) + 1))
    assert by_stream.told == expected
    assert by_socket.told == messages(expected)


async def test_a_reader_that_resumes_without_a_number_misses_some(own_exchange: Exchange) -> None:
    """The control: the same cuts, and feeds that are joined without the protection."""
    trading, forgetful, careful = Trading(own_exchange), Joined(forgets=True), Joined()
    feeds: dict[Follow, Joined] = {by_grpc: careful, by_websocket: forgetful}
    await follow_and_cut(own_exchange, trading, feeds, cuts=40, kills=0)
    own_exchange.engine.stop()
    expected = told(own_exchange.data, trading.account)
    assert careful.told == expected
    assert forgetful.told != messages(expected)
