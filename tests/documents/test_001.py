"""Document 001: what a bot sends, what it receives at once, and what its WebSocket tells it (`format=flat`)."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from tests.documents import samples_001
from tests.documents.bots import Account, Feed
from tests.documents.samples_001 import Api
from tests.documents.shapes import ORDER_ID, REQUEST_ID, TIME, TRADE_ID, assert_fits

CALL = "SPX_CALL_4500_20240315"
PUT = "SPX_PUT_4500_20240315"


@pytest.fixture
def api(bot: Account) -> Api:
    return Api(bot.requests)


def limit(side: str, quantity: int, price: float) -> dict[str, Any]:
    return {"instrument_id": CALL, "side": side, "quantity": quantity, "price": price}


async def event(feed: Feed) -> Any:
    """The next message, as the document's handlers take it."""
    return samples_001.event(await feed.next_text())


async def test_scenario_1_a_successful_order(bot: Account, other: Account, api: Api) -> None:
    other.sell(10, 100.0, instrument_id=CALL)
    async with bot.feed(format="flat") as feed:
        response = samples_001.successful_order(api)
        snapshot, acknowledged, report, position = await feed.take(4)
    assert_fits({"success": True, "request_id": REQUEST_ID, "order_id": ORDER_ID, "timestamp": TIME}, vars(response))
    assert_fits({"type": "position_snapshot", "seq": 0, "positions": {}, "timestamp": TIME}, snapshot)
    assert_fits(
        {
            "type": "new_order_ack",
            "order_id": response.order_id,
            "instrument_id": CALL,
            "side": "buy",
            "price": 100.0,
            "quantity": 10,
            "timestamp": TIME,
        },
        acknowledged,
    )
    assert_fits(
        {
            "type": "execution_report",
            "order_id": response.order_id,
            "trade_id": TRADE_ID,
            "price": 100.0,
            "quantity": 10,
            "liquidity_type": "taker",
            "fees": 0.30,
            "timestamp": TIME,
        },
        report,
    )
    assert_fits({"type": "position_update", "instrument_id": CALL, "position": 10, "timestamp": TIME}, position)
    assert [message["seq"] for message in (acknowledged, report, position)] == [1, 2, 3]


async def test_scenario_2_a_validation_failure_sends_no_message(bot: Account, other: Account, api: Api) -> None:
    other.sell(45, 99.0, instrument_id=CALL)
    bot.buy(45, 99.0, instrument_id=CALL)
    async with bot.feed(format="flat") as feed:
        snapshot = await feed.next()
        response = samples_001.validation_failure(api)
        next_order = bot.sell(1, 200.0, instrument_id=CALL)
        first = await feed.next()
    assert_fits({"success": False, "request_id": REQUEST_ID, "timestamp": TIME}, vars(response))
    assert response.error.code == "POSITION_LIMIT_EXCEEDED"
    assert response.error.message == "Order would exceed position limit of ±50"
    assert_fits({"current_position": 45, "order_quantity": 100, "limit": 50}, vars(response.error.details))
    assert_fits({"type": "new_order_ack", "order_id": next_order}, first)
    assert first["seq"] == snapshot["seq"] + 2  # the hole is the refusal's


async def test_a_cancel_is_told_and_a_failed_one_is_not(bot: Account, other: Account) -> None:
    async with bot.feed(format="flat") as feed:
        order_id = bot.buy(5, 98.0, instrument_id=CALL)
        gone = bot.requests.delete(f"/orders/{order_id}").json()
        again = bot.requests.delete(f"/orders/{order_id}")
        last = bot.buy(1, 97.0, instrument_id=CALL)
        _, _, cancelled, acknowledged = await feed.take(4)
    assert_fits({"success": True, "order_id": order_id, "error": None}, gone)
    expected = {"success": False, "error": {"code": "CANCEL_FAILED", "message": str, "details": dict}}
    assert_fits({**expected, "status": "rejected"}, again.json())
    assert again.status_code == 400
    assert_fits({"type": "order_cancelled", "order_id": order_id, "timestamp": TIME}, cancelled)
    assert_fits({"type": "new_order_ack", "order_id": last}, acknowledged)


def test_scenario_3_query_operations(bot: Account, other: Account, api: Api) -> None:
    other.sell(10, 100.0, instrument_id=CALL)
    other.buy(5, 90.0, instrument_id=PUT)
    other.sell(3, 95.0, instrument_id=CALL)
    bot.buy(10, 100.0, instrument_id=CALL)
    bot.sell(5, 90.0, instrument_id=PUT)
    order_id = bot.buy(10, 94.0, instrument_id=CALL)
    other.sell(3, 94.0, instrument_id=CALL)
    orders = samples_001.open_orders_query(api)
    positions = samples_001.positions_query(api)
    head = {"success": True, "request_id": REQUEST_ID, "order_id": None, "error": None, "timestamp": TIME}
    assert_fits(head, vars(orders))
    assert_fits(head, vars(positions))
    row = {"order_id": order_id, "instrument_id": CALL, "side": "buy", "price": 94.0, "remaining_quantity": 7}
    added = {"client_order_id": None, "original_quantity": 10, "status": "partially_filled", "submitted_at": TIME}
    assert_fits([{**row, **added, "client_order_id": str}], [vars(order) for order in orders.data.orders])
    assert vars(positions.data.positions) == {CALL: 13, PUT: -5}


def test_immediate_feedback(api: Api) -> None:
    tracked: list[str] = []
    errors: list[tuple[str, str]] = []
    for quantity in (10, 100):
        order = limit("buy", quantity, 90.0)
        samples_001.immediate_feedback(api, order, tracked.append, lambda code, words: errors.append((code, words)))
    assert_fits([ORDER_ID], tracked)
    assert errors == [("POSITION_LIMIT_EXCEEDED", "Order would exceed position limit of ±50")]


async def test_detailed_async_updates(bot: Account, other: Account) -> None:
    entered: list[str] = []
    filled: list[tuple[str, float, int]] = []
    on_message = samples_001.detailed_async_updates(entered.append, lambda *fill: filled.append(fill))
    async with bot.feed(format="flat") as feed:
        order_id = bot.buy(10, 91.0, instrument_id=CALL)
        other.sell(4, 91.0, instrument_id=CALL)
        for _ in range(4):
            on_message(await event(feed))
    assert entered == [order_id]
    assert filled == [(order_id, 91.0, 4)]


async def test_simplified_bot_logic(bot: Account, other: Account, api: Api) -> None:
    pending: dict[str, Any] = {}
    errors: list[SimpleNamespace] = []
    executed: list[tuple[Any, Any]] = []
    submit, handle = samples_001.simplified_bot_logic(
        api, pending, errors.append, lambda order, message: executed.append((order, message.quantity))
    )
    async with bot.feed(format="flat") as feed:
        order = limit("buy", 10, 92.0)
        order_id = await submit(order)
        assert await submit(limit("buy", 100, 92.0)) is None
        other.sell(10, 92.0, instrument_id=CALL)
        for _ in range(4):
            await handle(await event(feed))
    assert pending == {order_id: order}
    assert [error.code for error in errors] == ["POSITION_LIMIT_EXCEEDED"]
    assert executed == [(order, 10)]


def test_fire_and_forget(bot: Account, api: Api) -> None:
    tracked: list[str] = []
    signals = [("buy", 1, 80.0), ("buy", 100, 80.0), ("sell", 2, 120.0)]
    samples_001.fire_and_forget(api, signals, lambda signal: limit(*signal), tracked.append)
    assert tracked == [order["order_id"] for order in bot.orders()]
    assert len(tracked) == 2


async def test_synchronous_validation_check_changes_nothing(bot: Account, api: Api) -> None:
    ready: list[Any] = []
    async with bot.feed(format="flat") as feed:
        snapshot = await feed.next()
        good, bad = limit("buy", 10, 80.0), limit("buy", 100, 80.0)
        for order in (good, bad):
            samples_001.synchronous_validation_check(api, order, ready.append)
        assert bot.orders("all") == []
        bot.buy(1, 80.0, instrument_id=CALL)
        acknowledged = await feed.next()
    assert ready == [good]
    assert acknowledged["seq"] == snapshot["seq"] + 1


async def test_execution_monitoring(bot: Account, other: Account, api: Api, caplog: pytest.LogCaptureFixture) -> None:
    original_quantity: dict[str, int] = {}
    on_execution_report = samples_001.execution_monitoring(original_quantity, logging.getLogger("bot"))
    caplog.set_level(logging.INFO, "bot")
    async with bot.feed(format="flat") as feed:
        order_id = bot.buy(10, 93.0, instrument_id=CALL)
        original_quantity[order_id] = 10
        for quantity, lines in ((4, []), (6, [f"Order {order_id} fully filled"])):
            other.sell(quantity, 93.0, instrument_id=CALL)
            while (message := await event(feed)).type != "execution_report":
                pass
            on_execution_report(message)
            assert caplog.messages == lines
