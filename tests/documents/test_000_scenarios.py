"""Document 000: what a bot sends and what it receives, scenario by scenario.

The requests are the document's. So are the answers, but for ids, moments, and what contract.md decides otherwise: fees
are those of the schedule (0.03 a contract for the taker, -0.02 for the maker), a partial fill on entry is `taker`.
"""

from __future__ import annotations

from tests.documents.bots import Account
from tests.documents.shapes import ORDER_ID, REQUEST_ID, TIME, accepted, assert_fits, refused


async def test_scenario_1_a_market_order_fills_at_once(bot: Account, other: Account) -> None:
    other.sell(10, 128.50)
    async with bot.feed() as feed:
        response = bot.requests.post(
            "/exchange/orders",
            json={"instrument_id": "SPX_4500_CALL", "order_type": "market", "side": "buy", "quantity": 10},
        )
        report = await feed.until("execution_report")
    assert response.status_code == 200
    answer = response.json()
    filled = {
        "status": "filled",
        "filled_quantity": 10,
        "average_price": 128.50,
        "fees": 0.30,
        "liquidity_type": "taker",
    }
    assert_fits(accepted(filled), answer)
    assert answer["data"]["order_id"] == answer["order_id"]
    assert_fits(
        {
            "type": "execution_report",
            "order_id": answer["order_id"],
            "fills": [{"price": 128.50, "quantity": 10, "timestamp": TIME}],
        },
        report,
    )


async def test_scenario_2_a_limit_order_rests_and_fills_later(bot: Account, other: Account) -> None:
    async with bot.feed() as feed:
        response = bot.requests.post(
            "/exchange/orders",
            json={
                "instrument_id": "SPX_4500_CALL",
                "order_type": "limit",
                "side": "buy",
                "quantity": 20,
                "price": 127.00,
            },
        )
        other.sell(5, 127.00)
        report = await feed.until("execution_report")
    assert response.status_code == 200
    answer = response.json()
    resting = {"status": "new", "filled_quantity": 0, "average_price": None, "fees": 0.0, "liquidity_type": None}
    assert_fits(accepted(resting), answer)
    assert_fits(
        {
            "type": "execution_report",
            "order_id": answer["order_id"],
            "fills": [{"price": 127.00, "quantity": 5, "timestamp": TIME}],
            "remaining_quantity": 15,
        },
        report,
    )


def test_scenario_3_a_limit_order_fills_in_part_and_rests(bot: Account, other: Account) -> None:
    other.buy(20, 128.00)
    response = bot.requests.post(
        "/exchange/orders",
        json={"instrument_id": "SPX_4500_CALL", "order_type": "limit", "side": "sell", "quantity": 50, "price": 128.00},
    )
    assert response.status_code == 200
    in_part = {
        "status": "partially_filled",
        "filled_quantity": 20,
        "average_price": 128.00,
        "fees": 0.60,
        "liquidity_type": "taker",
    }
    assert_fits(accepted({**in_part, "remaining_quantity": 30}), response.json())


def test_scenario_4_an_order_beyond_the_position_limit_is_refused(bot: Account, other: Account) -> None:
    other.sell(45, 129.00)
    bot.buy(45, 129.00)
    response = bot.requests.post(
        "/exchange/orders",
        json={"instrument_id": "SPX_4500_CALL", "order_type": "limit", "side": "buy", "quantity": 100, "price": 130.00},
    )
    assert response.status_code == 400
    details = {
        "current_position": 45,
        "open_quantity": 0,
        "order_quantity": 100,
        "position_limit": 50,
        "limit": 50,
    }
    expected = refused("POSITION_LIMIT_EXCEEDED", "Order would exceed position limit of ±50", details)
    assert_fits(expected, response.json())


def test_scenario_5_an_unknown_instrument_is_refused(bot: Account) -> None:
    response = bot.requests.post(
        "/exchange/orders",
        json={"instrument_id": "INVALID_SYMBOL", "order_type": "market", "side": "buy", "quantity": 10},
    )
    assert response.status_code == 400
    answer = response.json()
    details = {"requested_instrument": "INVALID_SYMBOL", "available_instruments": [str]}
    assert_fits(refused("INVALID_INSTRUMENT", "Unknown instrument: INVALID_SYMBOL", details), answer)
    assert {"SPX_4500_CALL", "SPX_4500_PUT"} <= set(answer["error"]["details"]["available_instruments"])


async def test_an_order_that_has_filled_in_part_is_cancelled(bot: Account, other: Account) -> None:
    order_id = bot.buy(20, 127.00)
    other.sell(5, 127.00)
    async with bot.feed() as feed:
        response = bot.requests.delete(f"/exchange/orders/{order_id}")
        acknowledged = await feed.until("order_cancel_ack")
    assert response.status_code == 200
    answer = response.json()
    cancelled = {
        "status": "cancelled",
        "filled_quantity": 5,
        "average_price": 127.00,
        "fees": -0.10,
        "liquidity_type": "maker",
    }
    assert_fits(accepted(cancelled), answer)
    assert answer["order_id"] == answer["data"]["order_id"] == order_id
    data = {"order_id": order_id, "status": "cancelled", "cancelled_quantity": 15, "reason": str}
    assert_fits({"type": "order_cancel_ack", "order_id": order_id, "timestamp": TIME, "data": data}, acknowledged)


async def test_an_order_that_has_filled_cannot_be_cancelled(bot: Account, other: Account) -> None:
    other.sell(10, 128.50)
    order_id = bot.buy(10, 128.50)
    async with bot.feed() as feed:
        response = bot.requests.delete(f"/exchange/orders/{order_id}")
        rejected = await feed.until("order_cancel_reject")
    assert response.status_code == 400
    expected = refused(
        "CANCEL_FAILED", "Order not found or already filled", {"order_id": order_id, "reason": "already_filled"}
    )
    assert_fits({**expected, "order_id": order_id}, response.json())
    data = {"order_id": order_id, "reason": "already_filled"}
    assert_fits({"type": "order_cancel_reject", "order_id": order_id, "data": data}, rejected)


def test_answers_are_the_documented_fields_and_no_others(bot: Account) -> None:
    documented = {"success", "request_id", "order_id", "data", "error", "timestamp"}
    order = {"instrument_id": "SPX_4500_CALL", "side": "buy", "quantity": 1, "price": 1.0}
    good = bot.requests.post("/exchange/orders", json=order).json()
    bad = bot.requests.post("/exchange/orders", json={**order, "side": "up"}).json()
    assert good.keys() == bad.keys() == documented
    assert bad["error"].keys() == {"code", "message", "details"}


def test_the_request_id_of_a_bot_comes_back_in_success_and_in_error(bot: Account) -> None:
    order = {"instrument_id": "SPX_4500_CALL", "side": "buy", "quantity": 1, "price": 1.0}
    named = bot.requests.post("/exchange/orders", json={**order, "request_id": "req_1234567890"}).json()
    refusal = bot.requests.post("/exchange/orders", json={"side": "buy", "request_id": "req_1234567891"}).json()
    unnamed = bot.requests.post("/exchange/orders", json=order).json()
    assert (named["request_id"], refusal["request_id"]) == ("req_1234567890", "req_1234567891")
    assert_fits({"request_id": REQUEST_ID, "order_id": ORDER_ID}, unnamed)
