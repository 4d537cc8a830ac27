"""A bot that retries as document 000 says, and the engine killed under it: every order is executed once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.documents import samples_000
from tests.documents.bots import Account, Up
from tests.venues import until

ORDERS = 12


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Up]:
    """An `outcry up` for one test alone."""
    running = Up(tmp_path)
    yield running
    running.stop()


async def test_retries_carry_a_bot_over_a_killed_engine_and_its_socket_stays_open(mortal: Up) -> None:
    bot = Account(mortal.base_url, "bot")
    submit = samples_000.error_handling_pattern(bot.requests, AssertionError)
    results: list[dict[str, Any]] = []
    names = [f"mine-{number}" for number in range(ORDERS)]

    def enter(name: str) -> None:
        order = {"instrument_id": "SPX_4500_CALL", "side": "buy", "quantity": 1, "price": 1.00}
        results.append(submit({**order, "client_order_id": name}, max_retries=6))

    def trade() -> None:
        for name in names:
            enter(name)

    async with bot.feed() as feed:
        await feed.next()
        trading = asyncio.create_task(asyncio.to_thread(trade))
        await until(lambda: len(results) >= ORDERS // 3)
        mortal.kill_engine()
        await trading
        told = await feed.take(ORDERS)
    assert [result["success"] for result in results] == [True] * ORDERS
    assert [message["seq"] for message in told] == list(range(1, ORDERS + 1))
    assert [message["data"]["client_order_id"] for message in told] == names
    assert [order["client_order_id"] for order in bot.orders()] == names
    assert [order["order_id"] for order in bot.orders()] == [result["order_id"] for result in results]


async def test_what_was_accepted_before_the_engine_was_killed_is_given_back(mortal: Up) -> None:
    bot = Account(mortal.base_url, "bot")
    submit = samples_000.error_handling_pattern(bot.requests, AssertionError)
    order = {"instrument_id": "SPX_4500_CALL", "side": "sell", "quantity": 2, "price": 500.0, "client_order_id": "mine"}
    first = submit(order)
    mortal.kill_engine()
    again = await asyncio.to_thread(submit, order, max_retries=6)
    assert again["data"]["duplicate"] is True
    assert again["order_id"] == first["order_id"]
