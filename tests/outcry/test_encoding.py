"""Requests: exact numbers, the contract's words, and always a client order id."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from outcry import v1
from outcry.encoding import (
    UNKNOWN_WORD,
    cancel_all_request,
    cancel_request,
    instruction,
    market_data_request,
    new_order,
    replace_request,
)
from outcry.errors import InvalidRequest


def test_an_order_says_what_its_arguments_say() -> None:
    order = new_order(
        "AAPL",
        "buy",
        Decimal("10"),
        "150.25",
        {
            "order_type": "stop_limit",
            "time_in_force": "gtd",
            "stop_price": 149,
            "stop_loss": "148.5",
            "take_profit": 160,
            "display_quantity": 5,
            "post_only": True,
            "self_trade_prevention": "cancel_maker",
            "expires_at_ns": 7,
            "valid_until_ns": 8,
            "client_order_id": "mine",
            "attempt": 2,
            "channel": 1,
            "signal_confidence": "0.7",
        },
    )
    assert order == v1.NewOrder(
        instrument_id="AAPL",
        side=v1.SIDE_BUY,
        order_type=v1.ORDER_TYPE_STOP_LIMIT,
        time_in_force=v1.TIME_IN_FORCE_GTD,
        quantity=10_000_000_000,
        price=150_250_000_000,
        stop_price=149_000_000_000,
        stop_loss=148_500_000_000,
        take_profit=160_000_000_000,
        display_quantity=5_000_000_000,
        post_only=True,
        self_trade_prevention=v1.SELF_TRADE_PREVENTION_CANCEL_MAKER,
        expires_at_ns=7,
        valid_until_ns=8,
        client_order_id="mine",
        attempt=2,
        channel=1,
        signal_confidence=700_000_000,
    )


def test_every_option_of_an_order_has_a_field_in_the_contract() -> None:
    from outcry.encoding import OrderOptions

    fields = {field.name for field in v1.NewOrder.DESCRIPTOR.fields}
    assert fields - {"instrument_id", "side", "quantity", "price"} == set(OrderOptions.__annotations__)


def test_an_order_with_a_price_is_a_limit_order_and_one_without_is_a_market_order() -> None:
    assert new_order("AAPL", "buy", 1, 2).order_type == v1.ORDER_TYPE_LIMIT
    assert new_order("AAPL", "buy", 1).order_type == v1.ORDER_TYPE_MARKET
    assert not new_order("AAPL", "buy", 1).HasField("price")


def test_every_order_has_a_client_order_id_and_no_two_the_same() -> None:
    ids = {new_order("AAPL", "buy", 1).client_order_id for _ in range(100)}
    assert len(ids) == 100
    assert "" not in ids


@pytest.mark.parametrize("word", ["Buy", "BUY", "buy"])
def test_words_are_read_whatever_their_case(word: str) -> None:
    assert new_order("AAPL", word, 1).side == v1.SIDE_BUY


def test_an_unknown_word_goes_out_as_a_number_that_the_exchange_refuses() -> None:
    order = new_order("AAPL", "hold", 1, 2, {"order_type": "pegged", "time_in_force": "GTX"})
    assert (order.side, order.order_type, order.time_in_force) == (UNKNOWN_WORD,) * 3
    for enum in (v1.Side, v1.OrderType, v1.TimeInForce, v1.SelfTradePrevention, v1.MarketDataChannel):
        assert UNKNOWN_WORD not in enum.values()


@pytest.mark.parametrize("number", [1.5, True, None, b"1"])
def test_a_quantity_that_is_no_exact_number_is_a_type_error(number: Any) -> None:
    with pytest.raises(TypeError, match="quantity"):
        new_order("AAPL", "buy", number)


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "1e30", "0.0000000001", "9223372036.854775808", "ten", "", Decimal("-1e-10")]
)
def test_a_number_that_int64_cannot_hold_exactly_is_refused_with_its_field(number: Any) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        new_order("AAPL", "buy", 1, number)
    assert refusal.value.code == "INVALID_REQUEST"
    assert refusal.value.details == {"field": "price"}


def test_the_largest_and_the_finest_number_pass_exactly() -> None:
    assert new_order("X", "buy", "9223372036.854775807").quantity == 2**63 - 1
    assert new_order("X", "buy", "0.000000001").quantity == 1
    assert new_order("X", "buy", Decimal("1e-9")).quantity == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("expires_at_ns", 2**63), ("valid_until_ns", -(2**70)), ("attempt", 2**31), ("client_order_id", "\ud800")],
)
def test_what_a_field_cannot_hold_is_refused_with_its_name(field: str, value: Any) -> None:
    options: Any = {field: value}
    with pytest.raises(InvalidRequest) as refusal:
        new_order("AAPL", "buy", 1, 2, options)
    assert refusal.value.details == {"field": field}


def test_an_order_is_named_by_exactly_one_of_its_ids() -> None:
    assert cancel_request(12) == v1.CancelRequest(order_id=12)
    assert cancel_request(client_order_id="mine") == v1.CancelRequest(client_order_id="mine")
    for ids in ((None, None), (12, "mine")):
        with pytest.raises(TypeError):
            cancel_request(*ids)


def test_an_order_id_that_cannot_be_one_is_refused() -> None:
    for impossible in (-1, 2**64):
        with pytest.raises(InvalidRequest):
            cancel_request(impossible)


def test_a_replacement_says_only_what_is_to_change() -> None:
    request = replace_request(12, price="1.5")
    assert request == v1.ReplaceRequest(order_id=12, price=1_500_000_000)
    assert not request.HasField("quantity")


def test_instructions_of_a_session_know_their_place() -> None:
    assert instruction(1, new_order("X", "buy", 1)).WhichOneof("instruction") == "submit"
    assert instruction(2, cancel_request(12)).WhichOneof("instruction") == "cancel"
    assert instruction(3, replace_request(12, price=1)).WhichOneof("instruction") == "replace"
    assert instruction(4, cancel_all_request("X", "sell")) == v1.Instruction(
        request_id=4, cancel_all=v1.CancelAllRequest(instrument_id="X", side=v1.SIDE_SELL)
    )
    assert instruction(5, v1.GetOrderBookRequest()).WhichOneof("instruction") == "get_order_book"


def test_market_data_is_asked_for_by_the_channels_names() -> None:
    request = market_data_request(["AAPL"], ["book", "Trades", "ticker"])
    assert list(request.channels) == [1, 2, 3]
    assert list(request.instruments) == ["AAPL"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"side": 1}, "side must be a str, not int"),
        ({"side": None}, "side must be a str, not NoneType"),
        ({"order_type": 2}, "order_type must be a str, not int"),
        ({"order_type": 0}, "order_type must be a str, not int"),
        ({"time_in_force": b"GTC"}, "time_in_force must be a str, not bytes"),
        ({"self_trade_prevention": True}, "self_trade_prevention must be a str, not bool"),
    ],
)
def test_a_word_is_a_str(given: Any, named: str) -> None:
    options: Any = {"side": "buy", **given}
    with pytest.raises(TypeError, match=named):
        new_order("AAPL", options.pop("side"), 1, 1, options)


def test_a_side_or_channel_elsewhere_is_a_str_too() -> None:
    with pytest.raises(TypeError, match="side must be a str, not int"):
        cancel_all_request("", 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="channel must be a str, not int"):
        market_data_request([], [1])  # type: ignore[list-item]
