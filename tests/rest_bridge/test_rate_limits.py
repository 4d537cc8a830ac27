"""Limits of rate as HTTP tells them: 429, Retry-After, and the header fields of the IETF's draft."""

from __future__ import annotations

import itertools

import pytest
from websockets.exceptions import ConnectionClosed

from outcry.models import RateLimit
from rest_bridge.docs import models
from tests.rest_bridge.conftest import HANG_S, Trader, Venue

numbers = itertools.count(1)
RATE = RateLimit(2, 3_600)
ORDER = {"instrument_id": "AAPL", "side": "buy", "quantity": 1, "price": 1}


def limited(venue: Venue, **rates: RateLimit) -> Trader:
    """An account that is held to rates."""
    name = f"limited {next(numbers)}"
    venue.operator.put_risk_profile(name, **rates)
    return Trader(venue, venue.operator.put_account(name, risk_profile=name).api_key)


@pytest.mark.parametrize("path", ["/exchange/orders", "/orders"])
def test_an_order_too_many_is_a_429_that_says_when_to_come_back_and_cancels_go_on(venue, path):
    trader = limited(venue, order_rate=RATE)
    placed = [trader.call("POST", path, ORDER) for _ in range(2)]
    assert [answer.headers["RateLimit"].split(";")[:2] for answer in placed] == [
        ['"orders"', "r=1"],
        ['"orders"', "r=0"],
    ]
    answer = trader.call("POST", path, ORDER)
    assert answer.status_code == 429
    form = models.RefusedResponse if path == "/orders" else models.ErrorResponse
    error = form.model_validate(answer.json()).error
    assert (error.code, error.details["limit"], error.details["window"]) == ("RATE_LIMIT_EXCEEDED", 2, 3_600)
    assert 1 <= error.details["retry_after"] <= 1_800
    assert answer.headers["Retry-After"] == str(error.details["retry_after"])
    assert answer.headers["RateLimit-Policy"] == '"orders";q=2;w=3600'
    assert answer.headers["RateLimit"] == f'"orders";r=0;t={error.details["retry_after"]}'
    cancelled = trader.call("DELETE", f"{path}/{placed[0].json()['order_id']}")
    assert cancelled.status_code == 200
    assert "RateLimit" not in cancelled.headers


def test_cancels_and_queries_have_limits_of_their_own(venue):
    trader = limited(venue, cancel_rate=RATE, query_rate=RATE)
    statuses = [trader.call("DELETE", "/orders/ORD_1").status_code for _ in range(3)]
    assert statuses == [400, 400, 429]
    answers = [trader.call("GET", path) for path in ("/positions", "/balances", "/orders")]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["RateLimit-Policy"] for answer in answers] == ['"queries";q=2;w=3600'] * 3
    assert trader.call("POST", "/orders", ORDER).status_code == 200


def test_who_is_not_limited_is_told_of_no_limits(alice):
    for answer in (alice.call("POST", "/orders", ORDER), alice.call("GET", "/orders")):
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.lower().startswith("ratelimit")]


def test_who_registers_is_told_how_often_the_address_may(venue):
    answer = venue.http.post("/auth/register", json={"team_name": "A"})
    assert answer.status_code == 200
    assert answer.headers["RateLimit-Policy"] == '"registrations";q=600;w=60'
    assert answer.headers["RateLimit"].startswith('"registrations";r=')


def test_a_socket_that_may_not_ask_now_is_told_to_try_again_later(venue):
    trader = limited(venue, query_rate=RateLimit(1, 3_600))
    assert trader.call("GET", "/positions").status_code == 200
    with trader.socket() as socket, pytest.raises(ConnectionClosed) as closed:
        socket.connection.recv(HANG_S)
    assert closed.value.rcvd.code == 1013
