"""Experiment 13, at length: retry loops over links that keep failing give as many orders as there were intents.

Document 000's own loop, word for word, sends fifty orders by REST, with faults between bot and bridge and between
bridge and engine; the client library's does so by gRPC. Every intent is one order, executed once. The control sends
them without client order ids, and has more orders than intents: so the faults are there.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import requests

from outcry import AsyncClient, OutcomeUnknown, Unavailable
from tests.documents import samples_000
from tests.documents.bots import Requests
from tests.experiments.exchanges import HANG_S, WAYS, Exchange, feed
from tests.faults.proxy import MIX, Fault, FaultProxy, faulty

INTENTS = 50
TRIES = 1_000  # what the test's time limit allows, and no intent needs
SEED = 13
PAUSE_S = 0.02  # in the place of the document's seconds
ORDER = {"instrument_id": "AAPL", "side": "buy", "quantity": 1, "order_type": "limit", "price": 150}
NAMES = [f"intent {number}" for number in range(INTENTS)]


class ShortPauses:
    """Stands for the module `time` in the sample: the document's backoff would take minutes."""

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, PAUSE_S))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples_000, "time", ShortPauses)


async def offered(exchange: Exchange) -> None:
    """Someone sells more than all intents come to, however often they are executed."""
    offer = {"instrument_id": "AAPL", "side": "sell", "quantity": 1_000, "price": 150}
    answer = await WAYS["unary"](exchange.grpc, exchange.register(), offer, "")
    assert answer.status == "new"


@asynccontextmanager
async def failing_rest(exchange: Exchange) -> AsyncIterator[tuple[str, list[FaultProxy]]]:
    """The URL of a bridge of its own, with faults before and behind it."""
    async with faulty(exchange.grpc, http2=True, seed=SEED, mix=MIX) as behind:
        bridge = await asyncio.to_thread(exchange.bridge_before, behind.address)
        try:
            async with faulty(bridge.address.removeprefix("http://"), seed=SEED + 1, mix=MIX) as before:
                yield f"http://{before.address}", [before, behind]
        finally:
            await asyncio.to_thread(bridge.kill)


async def accepted_and_bought(exchange: Exchange, key: str) -> tuple[Counter[str], Counter[str]]:
    """The client order ids of all orders there are, and of all executions."""
    reports = await feed(exchange.grpc, key)
    assert [report.seq for report in reports] == list(range(1, len(reports) + 1))
    accepted = Counter(r.accepted.client_order_id for r in reports if r.HasField("accepted"))
    filled = Counter(r.filled.client_order_id for r in reports if r.HasField("filled"))
    return accepted, filled


class Heard(Requests):
    """The document's `requests`, noting what the exchange says became of each order that it has not taken."""

    def __init__(self, base_url: str, api_key: str) -> None:
        super().__init__(base_url, api_key)
        self.may_be_there: set[str] = set()

    def request(self, method: str, url: str, *arguments: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        name = options["json"].get("client_order_id", "")
        try:
            response = super().request(method, url, *arguments, **options)
            body = response.json()
        except requests.RequestException:
            self.may_be_there.add(name)
            raise
        if not body["success"] and body["error"]["details"]["outcome"] != "not_executed":
            self.may_be_there.add(name)
        return response


async def run_of_the_document(exchange: Exchange, key: str, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers that document 000's loop gets for these orders; every fault there is has been met, and what was
    called not executed was not."""
    async with failing_rest(exchange) as (url, proxies):
        with Heard(url, key) as session:
            submit = samples_000.error_handling_pattern(session, AssertionError)
            answers = [await asyncio.to_thread(submit, order, max_retries=TRIES) for order in orders]
        assert all(set(proxy.met) == set(Fault) for proxy in proxies)
    duplicates = {answer["data"]["client_order_id"] for answer in answers if answer["data"]["duplicate"]}
    assert duplicates <= session.may_be_there
    return answers


async def test_document_000_s_retry_loop_gives_as_many_orders_as_intents_each_executed_once(exchange: Exchange) -> None:
    key = exchange.register()
    await offered(exchange)
    answers = await run_of_the_document(exchange, key, [{**ORDER, "client_order_id": name} for name in NAMES])
    assert [answer["data"]["status"] for answer in answers] == ["filled"] * INTENTS
    accepted, bought = await accepted_and_bought(exchange, key)
    assert accepted == bought == Counter(NAMES)
    assert [answer["data"]["client_order_id"] for answer in answers] == NAMES


async def test_control_document_000_s_retry_loop_without_client_order_ids_gives_duplicates(exchange: Exchange) -> None:
    key = exchange.register()
    await offered(exchange)
    answers = await run_of_the_document(exchange, key, [ORDER] * INTENTS)
    assert len({answer["order_id"] for answer in answers}) == INTENTS
    accepted, bought = await accepted_and_bought(exchange, key)
    assert accepted.total() == bought.total() > INTENTS


async def persistently(client: AsyncClient, client_order_id: str | None) -> None:
    """Buy one, sending again what may not have arrived. What the client calls not executed was not."""
    may_be_there = False
    for attempt in range(TRIES):
        try:
            order = await client.buy("AAPL", 1, 150, client_order_id=client_order_id, attempt=attempt, timeout_s=HANG_S)
        except OutcomeUnknown:
            may_be_there = True
        except Unavailable:
            pass
        else:
            assert may_be_there or not order.duplicate
            return
        await asyncio.sleep(PAUSE_S)
    raise AssertionError("no answer")


@pytest.mark.parametrize("named", [True, False], ids=["with-ids", "control-without"])
async def test_the_client_s_retries_give_as_many_orders_as_intents_if_and_only_if_they_are_named(
    exchange: Exchange, named: bool
) -> None:
    key = exchange.register()
    await offered(exchange)
    async with faulty(exchange.grpc, http2=True, seed=SEED, mix=MIX) as proxy:
        async with AsyncClient(proxy.address, key) as client:
            for name in NAMES:
                await persistently(client, name if named else None)
        assert set(proxy.met) == set(Fault)
    accepted, bought = await accepted_and_bought(exchange, key)
    assert accepted == bought
    assert (bought == Counter(NAMES)) == named
    assert (bought.total() > INTENTS) == (not named)
