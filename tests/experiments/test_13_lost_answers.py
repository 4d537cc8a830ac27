"""Experiment 13: the request arrives, the answer is lost, and the bot sends its order again.

There is one order then, and the bot is told what became of it the first time, marked as a duplicate: by whichever way
it went first, by whichever it goes again, and whatever happened to the engine in between. The control sends the same
order without a client order id, and has two.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.experiments.exchanges import BY_GRPC, HANG_S, LINK_FAILED, WAYS, Answer, Exchange, feed
from tests.faults.proxy import ANSWERS_LOST, Fault, FaultProxy, faulty

OFFER = {"instrument_id": "AAPL", "side": "sell", "quantity": 1, "price": 150}
ORDER = {**OFFER, "side": "buy"}
PAIRS = [(first, again) for first in WAYS for again in WAYS]


class Bot:
    """An account that buys, behind proxies that lose what they are told to lose; `offer` gives it something to buy."""

    def __init__(self, exchange: Exchange, proxies: dict[str, FaultProxy]) -> None:
        self.exchange = exchange
        self.proxies = proxies
        self.key = exchange.register()
        self.counterparty = exchange.register()

    async def offer(self, count: int) -> None:
        await WAYS["unary"](self.exchange.grpc, self.counterparty, {**OFFER, "quantity": count}, "")

    async def loses(self, fault: Fault, way: str, client_order_id: str) -> None:
        """Send an order whose answer does not arrive."""
        proxy = self.proxies[way]
        proxy.plan.append(fault)
        with pytest.raises(LINK_FAILED):
            await WAYS[way](proxy.address, self.key, ORDER, client_order_id)
        assert proxy.met[fault]

    async def sends(self, way: str, client_order_id: str) -> Answer:
        return await WAYS[way](
            self.exchange.grpc if way in BY_GRPC else self.exchange.http, self.key, ORDER, client_order_id
        )

    async def bought(self) -> list[str]:
        """The client order ids of its orders that were executed, once for every execution."""
        reports = await feed(self.exchange.grpc, self.key)
        return [report.filled.client_order_id for report in reports if report.HasField("filled")]

    async def has_bought(self, count: int) -> None:
        """What was sent on its way has been executed; the bound is a guard against hanging."""
        async with asyncio.timeout(HANG_S):
            while len(await self.bought()) < count:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def bot(exchange: Exchange) -> AsyncIterator[Bot]:
    async with faulty(exchange.grpc, http2=True) as by_grpc, faulty(exchange.http) as by_rest:
        yield Bot(exchange, {way: by_grpc if way in BY_GRPC else by_rest for way in WAYS})


@pytest.mark.parametrize("fault", ANSWERS_LOST)
async def test_an_order_whose_answer_was_lost_is_found_again_by_every_way_and_executed_once(
    exchange: Exchange, fault: Fault
) -> None:
    async with bot(exchange) as trader:
        await trader.offer(len(PAIRS))
        for first, again in PAIRS:
            await trader.loses(fault, first, f"{first} {again}")
            answer = await trader.sends(again, f"{first} {again}")
            assert (answer.status, answer.code) in (("filled", ""), ("accepted", ""))
            assert answer.duplicate or fault is Fault.ABANDONED, (first, again)  # it may have been overtaken
        assert Counter(await trader.bought()) == Counter(f"{first} {again}" for first, again in PAIRS)


async def test_an_order_whose_answer_was_lost_before_the_engine_was_killed_gets_its_first_result_afterwards(
    own_exchange: Exchange,
) -> None:
    async with bot(own_exchange) as trader:
        await trader.offer(len(PAIRS))
        for first, again in PAIRS:
            await trader.loses(Fault.LOST, first, f"{first} {again}")
        before = [
            report.accepted for report in await feed(own_exchange.grpc, trader.key) if report.HasField("accepted")
        ]
        await asyncio.to_thread(own_exchange.restart_engine)
        for (first, again), accepted in zip(PAIRS, before, strict=True):
            answer = await trader.sends(again, f"{first} {again}")
            assert (answer.order_id, answer.duplicate) == (accepted.order_id, True), (first, again)
        assert Counter(await trader.bought()) == Counter(f"{first} {again}" for first, again in PAIRS)


@pytest.mark.parametrize("way", ["unary", "exchange"])
async def test_the_retry_gets_the_first_result_though_the_order_has_changed_since(exchange: Exchange, way: str) -> None:
    async with bot(exchange) as trader:
        await trader.loses(Fault.LOST, way, "mine")  # it rests: nothing is offered
        await trader.offer(1)
        answer = await trader.sends(way, "mine")
        assert (answer.status, answer.filled, answer.duplicate) == ("new", 0, True)
        assert await trader.bought() == ["mine"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_request_that_never_arrived_is_executed_when_it_is_sent_again(exchange: Exchange, way: str) -> None:
    async with bot(exchange) as trader:
        await trader.offer(1)
        await trader.loses(Fault.REFUSED, way, "mine")
        answer = await trader.sends(way, "mine")
        assert not answer.duplicate
        assert await trader.bought() == ["mine"]


@pytest.mark.parametrize("way", WAYS)
async def test_control_without_a_client_order_id_the_order_is_executed_twice(exchange: Exchange, way: str) -> None:
    async with bot(exchange) as trader:
        await trader.offer(2)
        await trader.loses(Fault.LOST, way, "")
        answer = await trader.sends(way, "")
        assert not answer.duplicate
        assert len(await trader.bought()) == 2
