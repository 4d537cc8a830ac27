"""/exchange, as document 000 has it: the answer comes when the outcome is final."""

from __future__ import annotations

import re

import pytest

from rest_bridge.docs import models

ORDER = models.ApiResponse[models.OrderData]
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def submit(trader, instrument, **fields):
    return trader.call("POST", "/exchange/orders", {"instrument_id": instrument, **fields})


def done(response):
    """The `data` of an answer of 200 that has exactly the documented form."""
    assert response.status_code == 200, response.text
    body = response.json()
    ORDER.model_validate(body)
    assert body["order_id"] == body["data"]["order_id"]
    assert body["timestamp"] == body["data"]["timestamp"]
    assert TIMESTAMP.fullmatch(body["timestamp"])
    return body["data"]


def refused(response, code, status=400):
    assert response.status_code == status, response.text
    body = response.json()
    models.ErrorResponse.model_validate(body)
    assert body["error"]["code"] == code
    return body["error"]


def test_scenario_1_a_market_order_fills_at_once(alice, bob, instrument):
    bob.order(instrument, "sell", 10, 128.5)
    response = submit(alice, instrument, order_type="market", side="buy", quantity=10)
    data = done(response)
    assert data["status"] == "filled"
    assert data["filled_quantity"] == 10
    assert data["remaining_quantity"] == 0
    assert data["liquidity_type"] == "taker"
    assert data["duplicate"] is False
    assert '"average_price":128.5,' in response.text
    assert '"fees":0.3,' in response.text
    assert '"filled_quantity":10,' in response.text


def test_scenario_2_a_limit_order_rests(alice, instrument):
    response = submit(alice, instrument, order_type="limit", side="buy", quantity=20, price=127.0, client_order_id="A1")
    data = done(response)
    assert data["client_order_id"] == "A1"
    assert (data["status"], data["filled_quantity"], data["remaining_quantity"]) == ("new", 0, 20)
    assert data["average_price"] is None
    assert data["liquidity_type"] is None
    assert '"fees":0.0,' in response.text


def test_scenario_3_a_limit_order_fills_in_part_and_the_rest_works_on(alice, bob, instrument):
    bob.order(instrument, "buy", 20, 128)
    response = submit(alice, instrument, order_type="limit", side="sell", quantity=50, price=128.00)
    data = done(response)
    assert data["status"] == "partially_filled"
    assert (data["filled_quantity"], data["remaining_quantity"]) == (20, 30)
    assert data["liquidity_type"] == "taker"
    assert '"average_price":128.0,' in response.text
    assert '"fees":0.6,' in response.text


def test_scenario_4_an_order_beyond_the_position_limit_is_refused_with_what_counted(alice, bob, instrument):
    bob.order(instrument, "sell", 45, 130)
    alice.order(instrument, "buy", 45, 130)
    response = submit(alice, instrument, order_type="limit", side="buy", quantity=100, price=130.00)
    error = refused(response, "POSITION_LIMIT_EXCEEDED")
    assert error["message"] == "Order would exceed position limit of ±50"
    assert error["details"] == {
        "current_position": 45,
        "open_quantity": 0,
        "order_quantity": 100,
        "position_limit": 50,
        "limit": 50,
    }
    assert response.json()["order_id"] is None


def test_scenario_5_an_unknown_instrument_is_refused_with_those_there_are(alice, instrument):
    response = submit(alice, "INVALID_SYMBOL", order_type="market", side="buy", quantity=10)
    error = refused(response, "INVALID_INSTRUMENT")
    assert error["message"] == "Unknown instrument: INVALID_SYMBOL"
    assert error["details"]["requested_instrument"] == "INVALID_SYMBOL"
    assert {instrument, "SPX_4500_CALL", "SPX_4500_PUT"} <= set(error["details"]["available_instruments"])


def test_a_cancel_answers_with_what_had_filled_before(alice, bob, instrument):
    order_id = alice.order(instrument, "buy", 20, 127)["order_id"]
    bob.order(instrument, "sell", 5, 127)
    response = alice.call("DELETE", f"/exchange/orders/{order_id}")
    data = done(response)
    assert data["order_id"] == order_id
    assert data["status"] == "cancelled"
    assert data["filled_quantity"] == 5
    assert data["liquidity_type"] == "maker"
    assert '"average_price":127.0,' in response.text
    assert '"fees":-0.1,' in response.text


def cancel_failed(trader, order_id, reason):
    response = trader.call("DELETE", f"/exchange/orders/{order_id}")
    error = refused(response, "CANCEL_FAILED")
    assert error["message"] == "Order not found or already filled"
    assert error["details"] == {"order_id": order_id, "reason": reason}
    assert response.json()["order_id"] == order_id


def test_a_cancel_of_a_filled_order_fails_and_says_so(alice, bob, instrument):
    order_id = alice.order(instrument, "buy", 5, 127)["order_id"]
    bob.order(instrument, "sell", 5, 127)
    cancel_failed(alice, order_id, "already_filled")


def test_a_cancel_of_a_cancelled_order_fails_and_says_so(alice, instrument):
    order_id = alice.order(instrument, "buy", 5, 127)["order_id"]
    alice.call("DELETE", f"/exchange/orders/{order_id}")
    cancel_failed(alice, order_id, "already_cancelled")


@pytest.mark.parametrize(
    "name", ["ORD_999999999", "ORD_0", "ORD_007", "ORD_", "12345", "ord_1", "ORD_1x", "ORD_" + "9" * 30]
)
def test_a_cancel_of_an_order_that_never_was_fails_however_its_id_is_written(alice, name):
    cancel_failed(alice, name, "not_found")


def test_another_account_s_order_cannot_be_told_from_one_that_never_was(alice, bob, instrument):
    order_id = alice.order(instrument, "buy", 5, 127)["order_id"]
    cancel_failed(bob, order_id, "not_found")
    for name in (order_id, "ORD_999999999", "nonsense"):
        response = bob.call("GET", f"/exchange/orders/{name}")
        assert refused(response, "ORDER_NOT_FOUND", 404) == {
            "code": "ORDER_NOT_FOUND",
            "message": "Order not found",
            "details": {},
        }
    response = bob.call("PATCH", f"/exchange/orders/{order_id}", {"quantity": 1})
    assert refused(response, "REPLACE_FAILED")["details"]["reason"] == "not_found"


def test_a_replaced_order_keeps_its_id(alice, instrument):
    order_id = alice.order(instrument, "buy", 20, 127)["order_id"]
    data = done(alice.call("PATCH", f"/exchange/orders/{order_id}", {"quantity": 25, "price": "126.5"}))
    assert (data["order_id"], data["status"], data["remaining_quantity"]) == (order_id, "new", 25)
    order = alice.call("GET", f"/exchange/orders/{order_id}").json()["data"]
    assert (order["price"], order["original_quantity"]) == (126.5, 25)


def test_a_replace_of_what_is_gone_fails_and_names_the_order(alice, instrument):
    order_id = alice.order(instrument, "buy", 20, 127)["order_id"]
    alice.call("DELETE", f"/exchange/orders/{order_id}")
    for name, reason in ((order_id, "already_cancelled"), ("nonsense", "not_found")):
        response = alice.call("PATCH", f"/exchange/orders/{name}", {"price": 120})
        assert refused(response, "REPLACE_FAILED")["details"] == {"order_id": name, "reason": reason}
        assert response.json()["order_id"] == name


def test_a_replace_needs_a_quantity_or_a_price(alice, instrument):
    order_id = alice.order(instrument, "buy", 20, 127)["order_id"]
    response = alice.call("PATCH", f"/exchange/orders/{order_id}", {})
    assert refused(response, "INVALID_REQUEST")["details"] == {"field": "quantity"}


def test_an_order_type_is_limit_with_a_price_and_market_without(alice, instrument):
    assert done(submit(alice, instrument, side="buy", quantity=1, price=1))["status"] == "new"
    assert done(submit(alice, instrument, side="sell", quantity=2))["filled_quantity"] == 1
    types = [
        alice.call("GET", f"/exchange/orders/{row['order_id']}").json()["data"]["order_type"]
        for row in alice.call("GET", "/exchange/orders?status=all").json()["data"]["orders"]
    ]
    assert types == ["limit", "market"]


def test_a_market_order_against_an_empty_book_is_accepted_and_cancelled(alice, instrument):
    data = done(submit(alice, instrument, side="buy", quantity=3))
    assert (data["status"], data["filled_quantity"]) == ("cancelled", 0)


def test_the_same_client_order_id_returns_the_first_result_and_says_so(alice, instrument):
    order = {"side": "buy", "quantity": 1, "price": 100, "client_order_id": "once"}
    first = done(submit(alice, instrument, **order))
    again = done(submit(alice, instrument, **order))
    assert again == {**first, "duplicate": True}
    error = refused(submit(alice, instrument, **{**order, "price": 101}), "DUPLICATE_CLIENT_ORDER_ID", 409)
    assert error["message"]


def test_an_idempotency_key_stands_in_for_an_absent_client_order_id(alice, instrument):
    order = {"instrument_id": instrument, "side": "buy", "quantity": 1, "price": 100}
    first, again = (
        done(alice.call("POST", "/exchange/orders", order, **{"Idempotency-Key": "retry-1"})) for _ in range(2)
    )
    assert (first["client_order_id"], first["duplicate"], again["duplicate"]) == ("retry-1", False, True)
    named = {**order, "client_order_id": "mine"}
    other = done(alice.call("POST", "/exchange/orders", named, **{"Idempotency-Key": "retry-1"}))
    assert (other["client_order_id"], other["duplicate"]) == ("mine", False)


def test_an_order_without_a_client_order_id_gets_a_fresh_one(alice, instrument):
    ids = {done(submit(alice, instrument, side="buy", quantity=1, price=100))["client_order_id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(ids)


def test_numbers_may_be_strings_and_keep_every_digit(alice, venue):
    instrument = venue.instrument(tick_size="0.0001", lot_size="0.00001", position_limit=None)
    response = submit(alice, instrument, side="buy", quantity="0.00001", price="0.0003")
    assert '"remaining_quantity":0.00001,' in response.text
    order_id = done(response)["order_id"]
    assert '"price":0.0003,' in alice.call("GET", f"/orders/{order_id}").text
    book = alice.call("GET", f"/exchange/orderbook/{instrument}")
    assert '"bids":[{"price":0.0003,"quantity":0.00001}]' in book.text


def test_the_content_type_does_not_matter(alice, instrument):
    order = {"instrument_id": instrument, "side": "buy", "quantity": 1, "price": 100}
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/xml; charset=utf-16"):
        done(alice.call("POST", "/exchange/orders", order, **{"Content-Type": content_type}))


def test_a_day_order_and_one_with_an_expiry_are_accepted(alice, instrument):
    order = {"side": "buy", "quantity": 1, "price": 100}
    done(submit(alice, instrument, **order, time_in_force="day"))
    gtd = {"time_in_force": "GTD", "expires_at": "2100-01-01T00:00:00Z"}
    order_id = done(submit(alice, instrument, **order, **gtd))["order_id"]
    assert alice.call("GET", f"/orders/{order_id}").json()["data"]["time_in_force"] == "GTD"


def test_the_order_book_is_best_first_and_numbered(alice, instrument):
    for price in (99, 100, 98.5):
        alice.order(instrument, "buy", 2, price)
    for price in (102, 101.5):
        alice.order(instrument, "sell", 3, price)
    response = alice.call("GET", f"/exchange/orderbook/{instrument}")
    body = response.json()
    models.ApiResponse[models.Book].model_validate(body)
    book = body["data"]
    assert book["instrument_id"] == instrument
    assert book["seq"] > 0
    assert [level["price"] for level in book["bids"]] == [100, 99, 98.5]
    assert [level["price"] for level in book["asks"]] == [101.5, 102]
    assert '{"price":100.0,"quantity":2}' in response.text
    top = alice.call("GET", f"/exchange/orderbook/{instrument}?depth=1").json()["data"]
    assert (len(top["bids"]), len(top["asks"])) == (1, 1)


@pytest.mark.parametrize("name", ["BTC/USDT", "BTC%2FUSDT"])
def test_an_instrument_s_id_may_hold_a_slash(alice, name):
    assert alice.call("GET", f"/exchange/orderbook/{name}").json()["data"]["instrument_id"] == "BTC/USDT"


def test_a_book_that_is_not_there_is_an_invalid_instrument(alice):
    response = alice.call("GET", "/exchange/orderbook/NOPE")
    assert refused(response, "INVALID_INSTRUMENT")["details"]["requested_instrument"] == "NOPE"


@pytest.mark.parametrize("depth", ["-1", "x", "1.5", "10000", "", "١"])
def test_a_depth_that_is_none_is_refused(alice, instrument, depth):
    response = alice.call("GET", f"/exchange/orderbook/{instrument}?depth={depth}")
    assert refused(response, "INVALID_REQUEST")["details"] == {"field": "depth"}


def test_cash_that_is_not_there_cannot_be_spent(alice):
    error = refused(submit(alice, "AAPL", side="buy", quantity=100_000, price=150), "INSUFFICIENT_FUNDS")
    assert error["details"] == {"required_balance": 15_000_000, "available_balance": 1_000_000}
