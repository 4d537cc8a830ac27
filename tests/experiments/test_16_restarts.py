"""Experiment 16: the engine or the bridge is killed while bots trade and listen.

While the engine is away the bridge answers what the contract says, and its sockets stay open; when it is back they go
on where they were. When the bridge is killed they resume at another one by number. Joined, what a socket was sent is
every event of its account, once each and in order. The control does not say where it was, and misses what happened
meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any

import httpx
import pytest
import websockets

from tests.experiments.exchanges import HANG_S, Exchange, feed
from tests.venues import until

BOTS = 4
RESTARTS = 2
PROGRESS = 8  # orders entered between one restart and the next
PAUSE_S = 0.02
AWAY = {(503, "SERVICE_UNAVAILABLE"), (504, "PROCESSING_TIMEOUT"), (503, "CIRCUIT_BREAKER_OPEN")}  # or its disk lags
Message = dict[str, Any]


class Bot:
    """An account that trades by REST, sending again what it does not know of, and listens, socket after socket."""

    work: asyncio.Task[None]

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.key = exchange.register()
        self.entered = 0
        self.has_enough = False
        self.heard: list[int] = []  # the numbers of its events, in the order in which they came
        self.told: list[tuple[int, str, str]] = []  # while the engine was away: status, code, outcome
        self.sockets = 0

    async def trade(self, sides: Iterator[str]) -> None:
        """Enter one order after the other; each is sent until it is known to have been taken."""
        async with httpx.AsyncClient(headers={"X-API-Key": self.key}, timeout=HANG_S) as client:
            for number, side in enumerate(sides):
                body = {"instrument_id": "SPX_4500_CALL", "side": side, "quantity": 1, "price": 100}
                while not await self.is_taken(client, {**body, "client_order_id": f"order {number}"}):
                    await asyncio.sleep(PAUSE_S)
                self.entered += 1
                if self.has_enough:
                    return

    async def is_taken(self, client: httpx.AsyncClient, body: Message) -> bool:
        try:
            answer = await client.post(f"http://{self.exchange.http}/exchange/orders", json=body)
        except httpx.TransportError:
            return False  # the bridge is away
        if answer.status_code >= 500:
            error = answer.json()["error"]
            self.told.append((answer.status_code, error["code"], error["details"]["outcome"]))
            return False
        assert answer.status_code == 200, answer.text
        return True

    async def listen(self, *, resume: bool = True) -> None:
        """Follow the account, on a new socket each time that one ends."""
        while True:
            query = f"&from_seq={self.heard[-1] if self.heard else 0}" if resume else ""
            try:
                async with websockets.connect(f"{self.exchange.ws}?api_key={self.key}{query}") as socket:
                    self.sockets += 1
                    async for text in socket:
                        message = json.loads(text)
                        if message["type"] != "position_snapshot":
                            self.heard.append(message["seq"])
            except (OSError, websockets.WebSocketException):
                await asyncio.sleep(PAUSE_S)

    def reaches(self, goal: int) -> bool:
        if self.work.done():
            self.work.result()  # which says what went wrong
        return self.entered >= goal

    async def has_heard_all(self) -> None:
        """Wait for the last event of the account, and see that every event came, once each and in order."""
        reports = await feed(self.exchange.grpc, self.key)
        await until(lambda: bool(self.heard) and self.heard[-1] >= reports[-1].seq)
        assert self.heard == [report.seq for report in reports] == list(range(1, len(reports) + 1))
        accepted = [report.accepted.client_order_id for report in reports if report.HasField("accepted")]
        assert sorted(accepted) == sorted(set(accepted))


@asynccontextmanager
async def trading(exchange: Exchange) -> AsyncIterator[list[Bot]]:
    """Bots that buy from and sell to each other, until the block ends; then all orders they know of have been taken."""
    bots = [Bot(exchange) for _ in range(BOTS)]
    listening = [asyncio.create_task(bot.listen()) for bot in bots]
    await until(lambda: all(bot.sockets for bot in bots))
    sides = (cycle(("buy", "sell")), cycle(("sell", "buy"))) * (BOTS // 2)
    for bot, mine in zip(bots, sides, strict=True):
        bot.work = asyncio.create_task(bot.trade(mine))
    work = [bot.work for bot in bots]
    try:
        yield bots
        for bot in bots:
            bot.has_enough = True
        await asyncio.wait_for(asyncio.gather(*work), HANG_S)
        for bot in bots:
            await bot.has_heard_all()
    finally:
        for task in (*work, *listening):
            task.cancel()
        await asyncio.gather(*work, *listening, return_exceptions=True)


async def progress(bots: list[Bot]) -> None:
    """Every bot has entered some more orders."""
    goals = [bot.entered + PROGRESS for bot in bots]
    await until(lambda: all(bot.reaches(goal) for bot, goal in zip(bots, goals, strict=True)))


async def refusals(bots: list[Bot]) -> None:
    """Every bot has been told that the engine is away."""
    before = [len(bot.told) for bot in bots]
    await until(lambda: all(len(bot.told) > count for bot, count in zip(bots, before, strict=True)))


async def test_over_restarts_of_the_engine_sockets_stay_open_and_no_execution_is_lost(own_exchange: Exchange) -> None:
    async with trading(own_exchange) as bots:
        for _ in range(RESTARTS):
            await progress(bots)
            await asyncio.to_thread(own_exchange.engine.kill)
            await refusals(bots)
            await asyncio.to_thread(own_exchange.restart_engine)
        await progress(bots)
        assert [bot.sockets for bot in bots] == [1] * BOTS
    told = {what for bot in bots for what in bot.told}
    assert {(status, code) for status, code, _ in told} <= AWAY
    assert {outcome for _, _, outcome in told} <= {"not_executed", "unknown"}


async def test_over_kills_of_the_bridge_sockets_resume_by_number_and_no_execution_is_lost(
    own_exchange: Exchange,
) -> None:
    async with trading(own_exchange) as bots:
        for _ in range(RESTARTS):
            await progress(bots)
            await asyncio.to_thread(own_exchange.bridge.kill)
            await asyncio.to_thread(own_exchange.start_bridge)
        await progress(bots)
        await until(lambda: all(bot.sockets == 1 + RESTARTS for bot in bots))


async def test_control_a_socket_that_does_not_say_where_it_was_misses_what_happened(own_exchange: Exchange) -> None:
    bot = Bot(own_exchange)
    async with httpx.AsyncClient(headers={"X-API-Key": bot.key}, timeout=HANG_S) as client:

        async def enter(name: str) -> None:
            body = {"instrument_id": "AAPL", "side": "buy", "quantity": 1, "price": 100, "client_order_id": name}
            assert await bot.is_taken(client, body)

        listening = asyncio.create_task(bot.listen(resume=False))
        await until(lambda: bot.sockets == 1)
        await enter("heard")
        await until(lambda: bot.heard == [1])
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await asyncio.to_thread(own_exchange.bridge.kill)
        await asyncio.to_thread(own_exchange.start_bridge)
        await enter("missed")
        listening = asyncio.create_task(bot.listen(resume=False))
        await until(lambda: bot.sockets == 2)
        await enter("heard again")
        with pytest.raises(AssertionError):
            await bot.has_heard_all()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert bot.heard == [1, 3]
