"""The WebSocket's handshake: who may open one, with which wishes, and how the rest is told."""

from __future__ import annotations

import json

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from rest_bridge.docs import models
from tests.rest_bridge.test_sockets import closed


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from_seq=-1", "from_seq"),
        ("from_seq=x", "from_seq"),
        ("from_seq=", "from_seq"),
        ("from_seq=1.0", "from_seq"),
        ("from_seq=18446744073709551616", "from_seq"),
        ("from_seq=" + "9" * 50, "from_seq"),
        ("from_seq=%D9%A1", "from_seq"),
        ("format=xml", "format"),
        ("form=flat", "form"),
        ("from_seq=0&from_seq=0", "from_seq"),
        ("format=flat&format=flat", "format"),
    ],
)
def test_a_wish_that_does_not_fit_is_an_error_and_then_1008(alice, query, field):
    with alice.socket(f"&{query}") as socket:
        message = socket.next()
        assert (message["type"], message["data"]["code"]) == ("error", "INVALID_REQUEST")
        assert message["data"]["details"] == {"field": field}
        assert closed(socket)[0] == 1008


@pytest.mark.parametrize("query", ["", "?api_key=", "?api_key=wrong", "?api_key=%00", "?api_key=" + "x" * 300])
def test_a_bad_key_is_accepted_then_closed_with_1008(venue, query):
    with connect(f"{venue.ws}/ws{query}") as connection:
        with pytest.raises(ConnectionClosed):
            connection.recv(30)
        assert connection.close_code == 1008


@pytest.mark.parametrize("query", ["foo=1", "from_seq=x", "format=xml"])
def test_a_wrong_key_comes_before_a_wish_that_does_not_fit(venue, query):
    with connect(f"{venue.ws}/ws?api_key=wrong&{query}") as connection:
        with pytest.raises(ConnectionClosed):
            connection.recv(30)
        assert connection.close_code == 1008


def test_a_wish_with_a_long_name_in_any_script_is_refused_with_1008_too(alice):
    for path in ("/ws", "/ws/market"):
        with alice.socket("&" + "%E2%98%83" * 500 + "=1", path=path) as socket:
            assert socket.next()["data"]["details"] == {"field": "☃" * 64}
            assert closed(socket)[0] == 1008


@pytest.mark.parametrize("query", ["from_seq=0", "format=flat", "foo=1", "api_key=another"])
def test_market_data_takes_a_key_it_does_not_need_and_no_other_parameter(alice, query):
    with alice.socket(f"&{query}", path="/ws/market") as socket:
        message = socket.next()
        assert (message["type"], message["data"]["details"]) == ("error", {"field": query.partition("=")[0]})
        assert closed(socket)[0] == 1008


def test_a_key_may_come_in_the_handshake_s_header(alice):
    with connect(f"{alice.venue.ws}/ws", additional_headers={"X-API-Key": alice.key}) as connection:
        assert json.loads(connection.recv(30))["type"] == "position_snapshot"


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1.evil.example", "http://127.0.0.1:1"]
)
def test_an_origin_that_is_not_allowed_is_refused(alice, origin):
    for path in ("/ws", "/ws/market"):
        with pytest.raises(InvalidStatus) as refused, alice.socket(path=path, origin=origin):
            pass
        response = refused.value.response
        assert response.status_code == 403
        assert json.loads(response.body)["error"]["code"] == "PERMISSION_DENIED"


@pytest.mark.parametrize("path", ["/wsx", "/ws/", "/ws/market/x", "/orders", "/"])
def test_a_handshake_where_no_socket_is_gets_the_404_of_every_unknown_path(alice, path):
    header = {"X-Request-Id": "r-1"}
    with pytest.raises(InvalidStatus) as refused, alice.socket(path=path, additional_headers=header):
        pass
    response = refused.value.response
    body = json.loads(response.body)
    assert (response.status_code, body["request_id"]) == (404, "r-1")
    models.ErrorResponse.model_validate(body)
    assert (body["error"]["code"], body["error"]["details"]) == ("NOT_FOUND", {"path": path})


UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}
HANDSHAKE = UPGRADE | {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}


@pytest.mark.parametrize("query", ["", "?api_key=KEY", "?from_seq=x&foo=1"])
@pytest.mark.parametrize("headers", [{}, UPGRADE, HANDSHAKE | {"Sec-WebSocket-Version": "8"}])
@pytest.mark.parametrize("path", ["/ws", "/ws/market"])
def test_what_is_no_handshake_at_a_socket_s_address_is_told_what_it_is(alice, path, headers, query):
    response = alice.call("GET", path + query, **headers)
    models.ErrorResponse.model_validate(response.json())
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["details"]) == (400, "INVALID_REQUEST", {"field": "upgrade"})
    assert "WebSocket" in error["message"]


@pytest.mark.parametrize("method", ["POST", "DELETE", "HEAD"])
@pytest.mark.parametrize("path", ["/ws", "/ws/market"])
def test_a_socket_s_address_takes_get_alone(alice, path, method):
    for headers in ({}, HANDSHAKE):
        response = alice.call(method, path, **headers)
        assert (response.status_code, response.headers["allow"]) == (405, "GET")


def test_an_order_may_wish_for_another_protocol(alice, instrument):
    body = {"instrument_id": instrument, "side": "buy", "quantity": 1, "price": 100}
    for upgrade in (HANDSHAKE, {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMA"}):
        assert alice.call("POST", "/exchange/orders", body, **upgrade).json()["data"]["status"] == "new"


def test_a_page_of_the_bridge_s_own_may_connect(alice):
    with alice.socket(origin=alice.venue.bridge.address) as socket:
        assert socket.next()["type"] == "position_snapshot"
