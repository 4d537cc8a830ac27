"""/orders, /positions and /balances, as documents 001 and 003 have them: the answer is the acceptance."""

from __future__ import annotations

import pytest

from rest_bridge.docs import models

ACCEPTED = models.AcceptedResponse
TOP_LEVEL = {"status": "accepted", "filled_quantity": 0, "average_price": None, "fees": 0.0, "liquidity_type": None}


def accepted(response):
    assert response.status_code == 200, response.text
    body = response.json()
    ACCEPTED.model_validate(body)
    assert TOP_LEVEL.items() <= body.items()
    assert '"fees":0.0,' in response.text
    return body


def refused(response, code, status=400, said="rejected"):
    assert response.status_code == status, response.text
    body = response.json()
    models.RefusedResponse.model_validate(body)
    assert (body["error"]["code"], body["status"]) == (code, said)
    return body["error"]


def plain(instrument, **fields):
    return {"instrument_id": instrument, "side": "buy", "quantity": 10, "price": 100.0, **fields}


def test_an_accepted_order_reads_as_either_document_has_it(alice, instrument):
    body = accepted(alice.call("POST", "/orders", plain(instrument, client_order_id="MY_ORDER_001")))
    assert body["order_id"].startswith("ORD_")
    assert body["client_order_id"] == "MY_ORDER_001"
    assert body["duplicate"] is False


def test_the_answer_is_the_acceptance_even_when_the_order_has_filled(alice, bob, instrument):
    bob.order(instrument, "sell", 10, 100)
    order_id = accepted(alice.call("POST", "/orders", plain(instrument)))["order_id"]
    order = alice.call("GET", f"/orders/{order_id}").json()["data"]
    assert (order["status"], order["filled_quantity"]) == ("filled", 10)


def test_a_refusal_says_rejected_beside_the_error(alice, instrument):
    error = refused(alice.call("POST", "/orders", plain(instrument, quantity=100)), "POSITION_LIMIT_EXCEEDED")
    assert error["details"]["limit"] == 50
    assert error["details"]["order_quantity"] == 100


def test_a_retry_under_the_same_client_order_id_is_marked(alice, instrument):
    order = plain(instrument, client_order_id="once")
    first, again = (accepted(alice.call("POST", "/orders", order)) for _ in range(2))
    assert again["order_id"] == first["order_id"]
    assert (first["duplicate"], again["duplicate"]) == (False, True)
    refused(alice.call("POST", "/orders", {**order, "quantity": 11}), "DUPLICATE_CLIENT_ORDER_ID", 409)


def test_open_orders_are_listed_oldest_first_with_their_documented_fields(alice, bob, instrument):
    ids = [accepted(alice.call("POST", "/orders", plain(instrument, price=p)))["order_id"] for p in (100, 99, 101)]
    bob.order(instrument, "sell", 3, 101)
    response = alice.call("GET", "/orders")
    body = response.json()
    models.ApiResponse[models.Orders].model_validate(body)
    rows = body["data"]["orders"]
    assert [row["order_id"] for row in rows] == ids
    assert body["order_id"] is None
    last = rows[-1]
    assert (last["original_quantity"], last["remaining_quantity"]) == (10, 7)
    assert (last["status"], last["side"], last["instrument_id"]) == ("partially_filled", "buy", instrument)
    assert '"price":101.0,' in response.text


def test_closed_orders_are_listed_when_all_are_asked_for(alice, instrument):
    kept, gone = (accepted(alice.call("POST", "/orders", plain(instrument)))["order_id"] for _ in range(2))
    alice.call("DELETE", f"/orders/{gone}")

    def listed(query):
        return [row["order_id"] for row in alice.call("GET", f"/orders{query}").json()["data"]["orders"]]

    assert listed("") == listed("?status=open") == [kept]
    assert listed("?status=all") == [kept, gone]
    assert listed("?status=all&instrument_id=AAPL") == []


@pytest.mark.parametrize(
    ("query", "field"), [("status=closed", "status"), ("status=all&status=open", "status"), ("limit=5", "limit")]
)
def test_a_query_that_is_not_understood_is_refused(alice, query, field):
    response = alice.call("GET", f"/orders?{query}")
    assert response.status_code == 400
    assert response.json()["error"]["details"] == {"field": field}


def test_one_order_has_the_fields_of_a_row_and_its_fills(alice, bob, instrument):
    order_id = accepted(alice.call("POST", "/orders", plain(instrument, client_order_id="mine")))["order_id"]
    bob.order(instrument, "sell", 4, 100)
    for prefix in ("/orders", "/exchange/orders"):
        body = alice.call("GET", f"{prefix}/{order_id}").json()
        models.ApiResponse[models.OrderDetail].model_validate(body)
        order = body["data"]
        assert (order["order_type"], order["time_in_force"]) == ("limit", "GTC")
        assert (order["filled_quantity"], order["average_price"], order["fees"]) == (4, 100.0, -0.08)
        assert order["liquidity_type"] == "maker"
        assert order["client_order_id"] == "mine"


def test_a_cancel_is_accepted_and_a_second_one_refused(alice, instrument):
    order_id = accepted(alice.call("POST", "/orders", plain(instrument)))["order_id"]
    assert accepted(alice.call("DELETE", f"/orders/{order_id}"))["order_id"] == order_id
    error = refused(alice.call("DELETE", f"/orders/{order_id}"), "CANCEL_FAILED")
    assert error["message"] == "Order not found or already filled"
    assert error["details"] == {"order_id": order_id, "reason": "already_cancelled"}


def test_a_replace_is_accepted_under_the_same_id(alice, instrument):
    order_id = accepted(alice.call("POST", "/orders", plain(instrument)))["order_id"]
    assert accepted(alice.call("PATCH", f"/orders/{order_id}", {"quantity": 12}))["order_id"] == order_id
    refused(alice.call("PATCH", f"/orders/{order_id}", {"price": "100.001"}), "INVALID_PRICE")
    order = alice.call("GET", f"/orders/{order_id}").json()["data"]
    assert (order["original_quantity"], order["price"]) == (12, 100.0)


def test_the_dry_run_judges_as_a_submission_would_and_changes_nothing(alice, instrument, venue):
    before = venue.digest()
    body = accepted(alice.call("POST", "/orders/validate", plain(instrument)))
    assert body["order_id"] is None
    refused(alice.call("POST", "/orders/validate", plain(instrument, quantity=51)), "POSITION_LIMIT_EXCEEDED")
    assert venue.digest() == before
    assert alice.call("GET", "/orders?status=all").json()["data"]["orders"] == []


def test_positions_count_trades_since_opening(alice, bob, instrument):
    assert alice.call("GET", "/positions").json()["data"] == {"positions": {}}
    bob.order(instrument, "sell", 5, 100)
    alice.order(instrument, "buy", 5, 100)
    response = alice.call("GET", "/positions")
    models.ApiResponse[models.Positions].model_validate(response.json())
    assert response.json()["data"] == {"positions": {instrument: 5}}
    assert bob.call("GET", "/positions").json()["data"] == {"positions": {instrument: -5}}
    assert f'"{instrument}":5' in response.text


def test_balances_are_what_an_account_holds_and_what_its_orders_reserve(alice):
    alice.order("AAPL", "buy", 2, 150.25)
    body = alice.call("GET", "/balances").json()
    models.ApiResponse[models.Balances].model_validate(body)
    balances = body["data"]["balances"]
    assert balances["USD"] == {"total": 1_000_000, "reserved": 300.5, "available": 999_699.5}
    assert balances["BTC"] == {"total": 10, "reserved": 0, "available": 10}
    assert set(balances) == {"USD", "USDT", "AAPL", "BTC"}


def test_a_registration_shows_the_account_and_its_key_twice_over(venue):
    response = venue.http.post("/auth/register", content=b'{"team_name": "Alpha", "role": "market_maker"}')
    assert response.status_code == 200
    body = response.json()
    models.RegisteredResponse.model_validate(body)
    account = body["data"]
    assert (account["team_name"], account["role"]) == ("Alpha", "market_maker")
    assert account["team_id"].startswith("TEAM_")
    assert {name: body[name] for name in account} == account
    trader = venue.http.get("/positions", headers={"X-API-Key": account["api_key"]})
    assert trader.status_code == 200


def test_no_role_is_a_trader_s_and_names_need_not_be_unique(venue):
    first, again = (venue.http.post("/auth/register", json={"team_name": "Twin"}).json() for _ in range(2))
    assert first["role"] == again["role"] == "trader"
    assert first["team_id"] != again["team_id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "team_name"),
        ({"team_name": ""}, "team_name"),
        ({"team_name": 5}, "team_name"),
        ({"team_name": "x" * 100}, "team_name"),
        ({"team_name": "tab\there"}, "team_name"),
        ({"team_name": "A", "admin": True}, "admin"),
    ],
)
def test_a_registration_that_does_not_fit_is_refused(venue, body, field):
    response = venue.http.post("/auth/register", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_REQUEST"
    assert response.json()["error"]["details"]["field"] == field


def test_a_role_that_is_not_there_is_refused(venue):
    response = venue.http.post("/auth/register", json={"team_name": "A", "role": "emperor"})
    assert response.status_code in (400, 404)
    assert response.json()["success"] is False
