"""Document 003: its bot, its patterns and its messages (the default format of the WebSocket)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.documents import samples_003
from tests.documents.bots import GUARD_S, Account, Feed, websocket_url
from tests.documents.shapes import ORDER_ID, TIME, TRADE_ID, WORDS, assert_fits
from tests.venues import until

CALL = "SPX_4500_CALL"


@pytest.fixture
def trading_bot(bot: Account) -> samples_003.TradingBot:
    """The document's bot, told where this server is."""
    trading_bot = samples_003.TradingBot(bot.api_key)
    trading_bot.base_url = bot.base_url
    trading_bot.ws_uri = trading_bot.ws_uri.replace("ws://localhost:8000/ws", websocket_url(bot.base_url))
    return trading_bot


async def test_trading_bot_takes_what_is_offered(
    trading_bot: samples_003.TradingBot, other: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    other.sell(10, 100.0)
    async with asyncio.timeout(GUARD_S):
        await trading_bot.run()
    [(order_id, state)] = trading_bot.pending_orders.items()
    assert state == "filled"
    said = [f"Order {order_id} acknowledged by exchange", f"Order {order_id} filled: 10 @ 100.0"]
    assert capsys.readouterr().out.splitlines() == said


async def test_trading_bot_waits_for_its_fill(trading_bot: samples_003.TradingBot, other: Account) -> None:
    running = asyncio.create_task(trading_bot.run())
    await until(lambda: "acknowledged" in trading_bot.pending_orders.values())
    other.sell(10, 100.0)
    async with asyncio.timeout(GUARD_S):
        await running
    assert list(trading_bot.pending_orders.values()) == ["filled"]


async def test_the_life_of_an_order_as_the_document_tells_it(bot: Account, other: Account) -> None:
    async with bot.feed() as feed:
        snapshot = await feed.next()
        response = samples_003.order_submission(bot.requests, bot.api_key)
        acknowledged = await feed.next()
        other.sell(10, 100.0)
        report, position = await feed.take(2)
    assert response.status_code == 200
    answer = response.json()
    assert_fits(
        {
            "order_id": ORDER_ID,
            "status": "accepted",
            "timestamp": TIME,
            "filled_quantity": 0,
            "average_price": None,
            "fees": 0.0,
            "liquidity_type": None,
        },
        answer,
    )
    assert_fits({"success": True, "request_id": str, "error": None}, answer)
    assert_fits({"seq": 0, "type": "position_snapshot", "timestamp": TIME, "data": {"positions": {}}}, snapshot)
    names = {"order_id": answer["order_id"], "client_order_id": "MY_ORDER_001", "instrument_id": CALL, "side": "buy"}
    entered = {**names, "quantity": 10, "price": 100.0, "order_type": "limit", "status": "new"}
    executed = {
        **names,
        "trade_id": TRADE_ID,
        "executed_quantity": 10,
        "executed_price": 100.0,
        "remaining_quantity": 0,
        "order_status": "filled",
        "liquidity_type": "maker",
        "fees": -0.20,
    }
    assert_fits({"seq": 1, "type": "new_order_ack", "timestamp": TIME, "data": entered}, acknowledged)
    assert_fits({"seq": 2, "type": "execution_report", "timestamp": TIME, "data": executed}, report)
    moved = {"instrument_id": CALL, "position": 10}
    assert_fits({"seq": 3, "type": "position_update", "timestamp": TIME, "data": moved}, position)
    assert acknowledged["order_id"] == report["order_id"] == answer["order_id"]


async def test_a_rejected_order_is_told_on_both_channels(bot: Account) -> None:
    async with bot.feed() as feed:
        order = {"instrument_id": CALL, "side": "buy", "quantity": 100, "price": 100.0, "client_order_id": "TOO_MUCH"}
        response = bot.requests.post("/orders", json=order)
        rejected = await feed.until("new_order_reject")
    assert response.status_code == 400
    assert_fits({"order_id": None, "status": "rejected", "error": {"code": "POSITION_LIMIT_EXCEEDED"}}, response.json())
    data = {
        "order_id": None,
        "client_order_id": "TOO_MUCH",
        "status": "rejected",
        "reason": WORDS,
        "error_code": "POSITION_LIMIT_EXCEEDED",
    }
    assert_fits({"seq": 1, "type": "new_order_reject", "order_id": None, "timestamp": TIME, "data": data}, rejected)


def order_of(bot: Account, quantity: int = 10) -> dict[str, Any]:
    body = {"instrument_id": CALL, "order_type": "limit", "side": "buy", "quantity": quantity, "price": 100.0}
    return dict(bot.requests.post("/orders", json=body).json())


def test_pattern_1_fire_and_forget(bot: Account) -> None:
    assert samples_003.fire_and_forget(lambda: order_of(bot))["status"] == "accepted"
    assert samples_003.fire_and_forget(lambda: order_of(bot, quantity=100))["status"] == "rejected"


async def test_pattern_2_wait_for_fill(bot: Account, other: Account) -> None:
    other.sell(10, 100.0)
    async with bot.feed() as feed:

        async def wait_for_websocket_message(kind: str, order_id: str) -> dict[str, Any]:
            while (message := await feed.until(kind))["order_id"] != order_id:
                pass
            return message

        execution = await samples_003.wait_for_fill(lambda: order_of(bot), wait_for_websocket_message)
    assert execution["data"]["executed_quantity"] == 10


async def messages(feed: Feed) -> AsyncIterator[Any]:
    async for text in feed.connection:
        yield json.loads(text)


async def test_pattern_3_bulk_order_management(bot: Account, other: Account) -> None:
    signals = (1, 2, 3)
    filled: list[tuple[int, int]] = []
    async with bot.feed() as feed:
        managing = asyncio.create_task(
            samples_003.bulk_order_management(
                signals,
                lambda signal: order_of(bot, quantity=signal),
                messages(feed),
                lambda signal, data: filled.append((signal, data["executed_quantity"])),
            )
        )
        await until(lambda: len(bot.orders()) == 3)
        other.sell(6, 100.0)
        await until(lambda: len(filled) == 3)
        await feed.connection.close()
        await managing
    assert filled == [(1, 1), (2, 2), (3, 3)]
