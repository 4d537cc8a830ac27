"""The WebSocket: numbered events in both formats, resumed without a gap, and closed with the code that fits."""

from __future__ import annotations

import json
import signal
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from rest_bridge.docs.websocket import DEFAULT_MESSAGES, FLAT_MESSAGES, MARKET_MESSAGES
from tests.rest_bridge.conftest import Socket


def closed(socket):
    """The code and reason that the bridge closes with; what came before is left out."""
    with suppress(ConnectionClosed):
        for _ in socket.connection:
            pass
    return socket.connection.close_code, socket.connection.close_reason


def same_form(message, example):
    """Whether a message has the fields that the documentation shows, in `data` and beside it."""
    assert set(message) == set(example)
    assert set(message.get("data") or {}) == set(example.get("data") or {})
    return message


def test_the_snapshot_comes_first_and_names_the_last_event_it_includes(alice, bob, instrument):
    with alice.socket() as socket:
        message = socket.next()
    assert same_form(message, DEFAULT_MESSAGES["position_snapshot"])["seq"] == 0
    assert message["data"] == {"positions": {}}
    bob.order(instrument, "sell", 4, 100)
    alice.order(instrument, "buy", 4, 100)
    with alice.socket() as socket:
        message = socket.next()
        assert message["data"] == {"positions": {instrument: 4}}
        assert message["seq"] == 3  # acknowledged, executed, position


def test_an_order_that_follows_the_handshake_at_once_is_told_and_never_only_in_the_snapshot(alice, instrument):
    for number in range(20):
        with alice.socket() as socket:
            alice.order(instrument, "buy", 1, 100)
            snapshot, ack = socket.take(2)
        assert (snapshot["type"], snapshot["seq"]) == ("position_snapshot", number)
        assert (ack["type"], ack["seq"]) == ("new_order_ack", number + 1)


def test_an_order_s_life_in_the_default_format(alice, bob, instrument):
    with alice.socket() as socket:
        socket.until("position_snapshot")
        order = alice.order(instrument, "buy", 10, 100.0, client_order_id="MY_ORDER_001")
        bob.order(instrument, "sell", 4, 100)
        ack, fill, position = socket.take(3)
        alice.call("DELETE", f"/orders/{order['order_id']}")
        cancel = socket.next()
        alice.call("DELETE", f"/orders/{order['order_id']}")
        reject = socket.next()
    assert [message["seq"] for message in (ack, fill, position, cancel, reject)] == [1, 2, 3, 4, 5]
    for message in (ack, fill, position, cancel, reject):
        same_form(message, DEFAULT_MESSAGES[message["type"]])
    assert ack["order_id"] == ack["data"]["order_id"] == order["order_id"]
    assert ack["data"]["client_order_id"] == "MY_ORDER_001"
    assert (ack["type"], ack["data"]["status"], ack["data"]["order_type"]) == ("new_order_ack", "new", "limit")
    assert (ack["data"]["price"], ack["data"]["quantity"]) == (100.0, 10)
    assert fill["type"] == "execution_report"
    data = fill["data"]
    assert data["trade_id"].startswith("TRD_")
    assert (data["executed_quantity"], data["executed_price"], data["remaining_quantity"]) == (4, 100.0, 6)
    assert (data["order_status"], data["liquidity_type"], data["fees"]) == ("partially_filled", "maker", -0.08)
    assert fill["fills"] == [{"price": 100.0, "quantity": 4, "timestamp": fill["timestamp"]}]
    assert fill["remaining_quantity"] == 6
    assert position["data"] == {"instrument_id": instrument, "position": 4}
    assert (cancel["type"], cancel["data"]["cancelled_quantity"]) == ("order_cancel_ack", 6)
    assert (cancel["data"]["reason"], cancel["data"]["status"]) == ("user_requested", "cancelled")
    assert (reject["type"], reject["data"]["reason"]) == ("order_cancel_reject", "already_cancelled")
    assert reject["order_id"] == order["order_id"]


def test_a_refused_order_is_told_in_the_default_format(alice, instrument):
    with alice.socket() as socket:
        socket.until("position_snapshot")
        order = {"instrument_id": instrument, "side": "buy", "quantity": 51, "price": 1, "client_order_id": "big"}
        alice.call("POST", "/orders", order)
        message = same_form(socket.next(), DEFAULT_MESSAGES["new_order_reject"])
    assert message["order_id"] is None
    assert message["data"] == {
        "order_id": None,
        "client_order_id": "big",
        "status": "rejected",
        "reason": "Order would exceed position limit of ±50",
        "error_code": "POSITION_LIMIT_EXCEEDED",
    }


def test_the_rest_of_a_market_or_ioc_order_is_a_cancel_with_its_reason(alice, instrument):
    with alice.socket() as socket:
        socket.until("position_snapshot")
        alice.order(instrument, "buy", 3)
        alice.order(instrument, "buy", 3, 100, time_in_force="IOC")
        reasons = [socket.until("order_cancel_ack")["data"]["reason"] for _ in range(2)]
    assert reasons == ["no_liquidity", "immediate_or_cancel"]


def test_a_replace_is_told_with_its_new_terms_and_a_refused_one_by_its_code(alice, instrument):
    order_id = alice.order(instrument, "buy", 10, 100)["order_id"]
    with alice.socket() as socket:
        socket.until("position_snapshot")
        alice.call("PATCH", f"/orders/{order_id}", {"quantity": 12, "price": 101})
        message = same_form(socket.next(), DEFAULT_MESSAGES["order_replaced"])
        assert message["order_id"] == order_id
        assert message["data"]["quantity"] == message["data"]["remaining_quantity"] == 12
        assert message["data"]["price"] == 101.0
        alice.call("PATCH", f"/orders/{order_id}", {"price": "0.001"})
        message = same_form(socket.next(), DEFAULT_MESSAGES["order_replace_reject"])
        assert (message["order_id"], message["data"]["error_code"]) == (order_id, "INVALID_PRICE")


def test_an_order_s_life_in_the_flat_format(alice, bob, instrument):
    with alice.socket("&format=flat") as socket:
        snapshot = same_form(socket.next(), FLAT_MESSAGES["position_snapshot"])
        assert (snapshot["seq"], snapshot["positions"]) == (0, {})
        order = alice.order(instrument, "buy", 10, 100.0)
        bob.order(instrument, "sell", 4, 100)
        ack, fill, position = socket.take(3)
        alice.call("DELETE", f"/orders/{order['order_id']}")
        cancel = socket.next()
    for message in (ack, fill, position, cancel):
        same_form(message, FLAT_MESSAGES[message["type"]])
    assert [message["type"] for message in (ack, fill, position, cancel)] == [
        "new_order_ack",
        "execution_report",
        "position_update",
        "order_cancelled",
    ]
    assert (ack["order_id"], ack["price"], ack["quantity"]) == (order["order_id"], 100.0, 10)
    assert (fill["price"], fill["quantity"], fill["liquidity_type"], fill["fees"]) == (100.0, 4, "maker", -0.08)
    assert (position["instrument_id"], position["position"]) == (instrument, 4)


def test_the_flat_format_is_silent_about_refusals_and_leaves_a_hole_in_its_numbers(alice, instrument):
    with alice.socket("&format=flat") as socket:
        socket.next()
        alice.call("POST", "/orders", {"instrument_id": instrument, "side": "buy", "quantity": 51, "price": 1})
        alice.call("DELETE", "/orders/ORD_999999999")
        alice.order(instrument, "buy", 1, 100)
        message = socket.next()
    assert (message["type"], message["seq"]) == ("new_order_ack", 3)


def test_both_formats_and_every_connection_give_an_event_the_same_number(alice, instrument):
    with alice.socket() as default, alice.socket("&format=flat") as flat:
        default.next(), flat.next()
        for _ in range(3):
            alice.order(instrument, "buy", 1, 100)
        ids = [[(m["seq"], m["order_id"], m["timestamp"]) for m in socket.take(3)] for socket in (default, flat)]
    assert ids[0] == ids[1]


@pytest.mark.parametrize("missed", [0, 1, 4, 6])
def test_a_resumed_feed_gives_the_missed_events_then_the_snapshot_then_what_follows(alice, bob, instrument, missed):
    for _ in range(2):  # six events of alice's
        bob.order(instrument, "sell", 1, 100)
        alice.order(instrument, "buy", 1, 100)
    with alice.socket(f"&from_seq={missed}") as socket:
        before = socket.take(6 - missed)
        snapshot = socket.next()
        alice.order(instrument, "buy", 1, 90)
        after = socket.next()
    assert [message["seq"] for message in before] == list(range(missed + 1, 7))
    assert (snapshot["type"], snapshot["seq"]) == ("position_snapshot", 6)
    assert snapshot["data"] == {"positions": {instrument: 2}}
    assert (after["type"], after["seq"]) == ("new_order_ack", 7)


def test_the_snapshot_has_its_place_in_the_flat_format_even_after_a_hole(alice, instrument):
    alice.call("POST", "/orders", {"instrument_id": instrument, "side": "buy", "quantity": 51, "price": 1})
    with alice.socket("&format=flat&from_seq=0") as socket:
        assert (socket.next()["type"]) == "position_snapshot"


def test_dropping_and_resuming_under_trade_misses_nothing_and_repeats_nothing(alice, bob, instrument):
    seen, last = [], 0
    for _ in range(10):
        with alice.socket(f"&from_seq={last}") as socket:
            for _ in range(3):
                bob.order(instrument, "sell", 1, 100)
                alice.order(instrument, "buy", 1, 100, time_in_force="IOC")
            for _ in range(5):
                message = socket.next()
                if message["type"] != "position_snapshot":
                    seen.append(message["seq"])
        last = seen[-1]
    assert seen == list(range(1, last + 1))


@pytest.mark.parametrize("number", ["1", "18446744073709551615"])
def test_a_number_that_is_not_there_yet_is_refused_with_those_that_are(alice, number):
    with alice.socket(f"&from_seq={number}") as socket:
        message = same_form(socket.next(), DEFAULT_MESSAGES["error"])
        assert message["data"]["code"] == "SEQUENCE_OUT_OF_RANGE"
        assert set(message["data"]["details"]) == {"first", "last"}
        assert message["data"]["details"]["last"] == 0
        assert closed(socket)[0] == 1008


@pytest.mark.parametrize("content", ["x" * 70_000, b"x" * 70_000, ["x" * 1_000] * 70, "x" * 5_000_000])
def test_an_oversize_message_closes_with_1009(alice, content):
    with alice.socket() as socket:
        socket.next()
        with suppress(ConnectionClosed):  # before all of it had left
            socket.connection.send(content)
        assert closed(socket)[0] == 1009


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("not json", "body"),
        ("[]", "body"),
        (b"\xff", "body"),
        ("{}", "action"),
        ({"action": "subscribe", "channel": "book"}, "instrument_id"),
        ({"action": "subscribe", "channel": "orders", "instrument_id": "AAPL"}, "channel"),
        ({"action": "dance", "channel": "book", "instrument_id": "AAPL"}, "action"),
        ({"action": "subscribe", "channel": "book", "instrument_id": 5}, "instrument_id"),
        ({"action": "subscribe", "channel": "book", "instrument_id": "AAPL", "depth": 5}, "depth"),
    ],
)
def test_a_malformed_message_is_told_so_and_the_socket_stays(alice, instrument, message, field):
    with alice.socket() as socket:
        socket.next()
        socket.say(message)
        error = same_form(socket.next(), DEFAULT_MESSAGES["error"])
        assert (error["data"]["code"], error["data"]["details"]["field"]) == ("INVALID_REQUEST", field)
        alice.order(instrument, "buy", 1, 100)
        assert socket.next()["type"] == "new_order_ack"


def test_messages_are_not_compressed(alice):
    with alice.socket(compression="deflate") as socket:
        assert socket.connection.protocol.extensions == []


def subscribe(channel, instrument, action="subscribe"):
    return {"action": action, "channel": channel, "instrument_id": instrument}


def test_market_data_comes_on_request_beside_the_account_s_events(alice, bob, instrument):
    with alice.socket() as socket:
        socket.next()
        for channel in ("book", "trades"):
            socket.say(subscribe(channel, instrument))
            assert same_form(socket.until("subscribed"), MARKET_MESSAGES["subscribed"])["data"] == {
                "channel": channel,
                "instrument_id": instrument,
            }
        bob.order(instrument, "sell", 3, 100)
        alice.order(instrument, "buy", 2, 100)
        trade = same_form(socket.until("trade"), MARKET_MESSAGES["trade"])
        assert trade["data"]["instrument_id"] == instrument
        assert (trade["data"]["price"], trade["data"]["quantity"]) == (100.0, 2)
        assert trade["data"]["aggressor_side"] == "buy"
        assert "seq" not in trade


def test_market_data_needs_no_key_and_a_book_is_a_snapshot_and_then_its_changes(alice, bob, instrument):
    bob.order(instrument, "sell", 3, 100)
    with alice.socket(path="/ws/market") as socket:
        socket.say(subscribe("book", instrument))
        book = same_form(socket.until("book_snapshot"), MARKET_MESSAGES["book_snapshot"])["data"]
        assert (book["asks"], book["bids"]) == ([{"price": 100.0, "quantity": 3}], [])
        alice.order(instrument, "buy", 3, 100)
        change = same_form(socket.until("book_update"), MARKET_MESSAGES["book_update"])["data"]
        assert change["asks"] == [{"price": 100.0, "quantity": 0}]
        assert change["seq"] > book["seq"]


def test_the_ticker_tells_the_best_prices_and_the_last(alice, bob, instrument):
    with connect(f"{alice.venue.ws}/ws/market") as connection:
        connection.send(json.dumps(subscribe("ticker", instrument)))
        assert json.loads(connection.recv(30))["type"] == "subscribed"
        first = json.loads(connection.recv(30))
        assert same_form(first, MARKET_MESSAGES["ticker"])["data"]["last_price"] is None
        bob.order(instrument, "sell", 3, 100)
        alice.order(instrument, "buy", 2, 100)
        while (ticker := json.loads(connection.recv(30)))["data"]["last_price"] is None:
            pass
        assert ticker["data"]["best_ask"] == 100.0
        assert ticker["data"]["volume"] == 2


def test_what_is_unsubscribed_from_is_silent(alice, bob, instrument, venue):
    other = venue.instrument()
    with alice.socket(path="/ws/market") as socket:
        for name in (instrument, other):
            socket.say(subscribe("trades", name))
        assert [message["type"] for message in socket.take(2)] == ["subscribed"] * 2
        socket.say(subscribe("trades", instrument, "unsubscribe"))
        assert socket.until("unsubscribed")["data"]["instrument_id"] == instrument
        for name in (instrument, other):
            bob.order(name, "sell", 1, 100)
            alice.order(name, "buy", 1, 100)
        assert socket.until("trade")["data"]["instrument_id"] == other


def test_an_instrument_that_is_not_there_is_told_and_the_socket_stays(alice, instrument):
    with alice.socket(path="/ws/market") as socket:
        for channel in ("book", "trades", "ticker"):
            socket.say(subscribe(channel, "NOPE"))
            message = socket.next()
            assert (message["type"], message["data"]["code"]) == ("error", "INVALID_INSTRUMENT")
        socket.say(subscribe("book", instrument))
        assert [message["type"] for message in socket.take(2)] == ["subscribed", "book_snapshot"]


def test_subscriptions_of_one_socket_are_bounded(alice, instrument):
    with alice.socket(path="/ws/market") as socket:
        for number in range(64):
            socket.say(subscribe("ticker", f"{instrument}" if number == 0 else f"AAPL{number}"))
        # Those of unknown instruments end; the bound is on what is followed at once.
        seen = [socket.next()["type"] for _ in range(65)]
        assert (seen.count("error"), seen.count("subscribed")) == (63, 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"side": "hold"}, "Unknown side"),
        ({"order_type": "iceberg"}, "Unknown order type"),
        ({"order_type": "stop"}, "Order type stop is not supported yet"),
        ({"time_in_force": "WHENEVER"}, "Unknown time in force"),
        ({"time_in_force": "GTD"}, "A GTD order needs expires_at"),
    ],
)
def test_a_refused_word_is_told_without_the_number_that_the_engine_has_for_it(alice, instrument, change, reason):
    with alice.socket() as socket:
        order = {"instrument_id": instrument, "side": "buy", "quantity": 1, "price": 100, **change}
        assert alice.call("POST", "/orders", order).status_code == 400
        assert socket.until("new_order_reject")["data"]["reason"] == reason


def test_subscribing_while_the_engine_hangs_keeps_nothing_else_waiting(own_venue):
    with connect(f"{own_venue.ws}/ws/market") as connection:
        socket = Socket(connection)
        own_venue.engine.popen.send_signal(signal.SIGSTOP)
        for channel in ("book", "trades", "ticker"):
            socket.say(subscribe(channel, "AAPL"))
        socket.say("{}")
        assert socket.next()["data"]["details"] == {"field": "action"}
        socket.say(subscribe("trades", "AAPL", "unsubscribe"))
        assert socket.next()["type"] == "unsubscribed"
        own_venue.engine.popen.send_signal(signal.SIGCONT)
        assert {socket.until("subscribed")["data"]["channel"] for _ in range(2)} == {"book", "ticker"}
