"""What the WebSocket says: one field table per format.

A table has, for every event of the account, the message's type and what each of its fields reads. The default format
(document 003) wraps the fields in `data`; the flat one (document 001) has them at the top level under its own names and
keeps silent where that document does: a hole in its numbers is a refused order or cancel. Market data and errors have
one form of their own in both, without a number of the account's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from outcry.errors import ExchangeError
from outcry.models import (
    Accepted,
    BookChange,
    Cancelled,
    CancelRejected,
    ExecutionReport,
    Expired,
    Filled,
    MarketDataUpdate,
    OrderBook,
    Positions,
    PositionUpdated,
    PublicTrade,
    Rejected,
    Replaced,
    ReplaceRejected,
    Ticker,
)
from rest_bridge.answers import encode, error_content
from rest_bridge.contracts.forms import held, levels
from rest_bridge.decimals import money, optional_money, quantity
from rest_bridge.identifiers import order_name, trade_name
from rest_bridge.moments import iso_time

Read = Callable[[Any], object]
Message = dict[str, Any]


class Form(NamedTuple):
    """A message's type, its fields, and whether it is about an order."""

    type: str
    fields: Mapping[str, Read]
    is_order: bool = True


def always(word: str | None) -> Read:
    return lambda event: word


def order_id(event: Any) -> str | None:
    return order_name(event.order_id) if event.order_id else None


def client_order_id(event: Any) -> str | None:
    return event.client_order_id or None


def plain(name: str) -> Read:
    return lambda event: getattr(event, name)


def amount(name: str) -> Read:
    return lambda event: quantity(getattr(event, name))


def price(name: str) -> Read:
    return lambda event: optional_money(getattr(event, name))


ORDER: Mapping[str, Read] = {"order_id": order_id, "client_order_id": client_order_id}
CANCELLED_QUANTITY: Mapping[str, Read] = {"cancelled_quantity": amount("cancelled_quantity")}
ENTERED = Form(
    "new_order_ack",
    {
        **ORDER,
        "instrument_id": plain("instrument_id"),
        "side": plain("side"),
        "order_type": plain("order_type"),
        "quantity": amount("quantity"),
        "price": price("price"),
        "status": always("new"),
    },
)
TRADED: Mapping[str, Read] = {
    **ORDER,
    "trade_id": lambda event: trade_name(event.trade_id),
    "instrument_id": plain("instrument_id"),
    "side": plain("side"),
}
LEFT: Mapping[str, Read] = {
    "remaining_quantity": amount("remaining_quantity"),
    "order_status": plain("status"),
    "liquidity_type": plain("liquidity"),
    "fees": lambda event: money(event.fees),
}
CANCELLED: Mapping[str, Read] = {
    **ORDER,
    "status": always("cancelled"),
    **CANCELLED_QUANTITY,
    "reason": plain("reason"),
}
REPLACED = Form(
    "order_replaced",
    {
        **ORDER,
        "quantity": amount("quantity"),
        "price": price("price"),
        "remaining_quantity": amount("remaining_quantity"),
    },
)
EXPIRED = Form("order_expired", {**ORDER, **CANCELLED_QUANTITY})
POSITION = Form("position_update", {"instrument_id": plain("instrument_id"), "position": amount("position")}, False)

DEFAULT_TABLE: Mapping[type, Form | None] = {
    Accepted: ENTERED,
    Rejected: Form(
        "new_order_reject",
        {
            "order_id": always(None),
            "client_order_id": client_order_id,
            "status": always("rejected"),
            "reason": plain("message"),
            "error_code": plain("code"),
        },
    ),
    Filled: Form(
        "execution_report",
        {**TRADED, "executed_quantity": amount("quantity"), "executed_price": price("price"), **LEFT},
    ),
    Cancelled: Form("order_cancel_ack", CANCELLED),
    CancelRejected: Form("order_cancel_reject", {"order_id": order_id, "reason": plain("reason")}),
    Replaced: REPLACED,
    ReplaceRejected: Form(
        "order_replace_reject", {"order_id": order_id, "reason": plain("message"), "error_code": plain("code")}
    ),
    Expired: EXPIRED,
    PositionUpdated: POSITION,
}
FLAT_TABLE: Mapping[type, Form | None] = {
    Accepted: ENTERED,
    Rejected: None,
    Filled: Form("execution_report", {**TRADED, "price": price("price"), "quantity": amount("quantity"), **LEFT}),
    Cancelled: Form("order_cancelled", CANCELLED),
    CancelRejected: None,
    Replaced: REPLACED,
    ReplaceRejected: None,
    Expired: EXPIRED,
    PositionUpdated: POSITION,
}


def read(form: Form, event: object) -> Message:
    return {name: field(event) for name, field in form.fields.items()}


class DefaultFormat:
    """`{seq, type, timestamp, data}`, `order_id` beside it, and the first document's `fills` beside that."""

    def report(self, report: ExecutionReport) -> bytes | None:
        event = report.event
        form = DEFAULT_TABLE[type(event)]
        if form is None:
            return None
        timestamp, data = iso_time(report.time_ns), read(form, event)
        message: Message = {"seq": report.seq, "type": form.type, "timestamp": timestamp, "data": data}
        if form.is_order:
            message["order_id"] = data["order_id"]
        if isinstance(event, Filled):
            fill = {"price": data["executed_price"], "quantity": data["executed_quantity"], "timestamp": timestamp}
            message.update(fills=[fill], remaining_quantity=data["remaining_quantity"])
        return encode(message)

    def snapshot(self, positions: Positions, time_ns: int) -> bytes:
        data = {"positions": held(positions)}
        return encode({"seq": positions.seq, "type": "position_snapshot", "timestamp": iso_time(time_ns), "data": data})


class FlatFormat:
    """The same events with their fields at the top level, and nothing for what was refused."""

    def report(self, report: ExecutionReport) -> bytes | None:
        form = FLAT_TABLE[type(report.event)]
        if form is None:
            return None
        head = {"seq": report.seq, "type": form.type, "timestamp": iso_time(report.time_ns)}
        return encode(head | read(form, report.event))

    def snapshot(self, positions: Positions, time_ns: int) -> bytes:
        head = {"seq": positions.seq, "type": "position_snapshot", "timestamp": iso_time(time_ns)}
        return encode(head | {"positions": held(positions)})


Format = DefaultFormat | FlatFormat
FORMATS: Mapping[str, Format] = {"default": DefaultFormat(), "flat": FlatFormat()}


def error_message(error: ExchangeError) -> bytes:
    return encode({"type": "error", "data": error_content(error)})


def subscription_message(type_: str, channel: str, instrument_id: str) -> bytes:
    return encode({"type": type_, "data": {"channel": channel, "instrument_id": instrument_id}})


def market_message(update: MarketDataUpdate) -> bytes:
    """A public message. Its `seq` is the instrument's and stands in `data`, away from the account's numbers."""
    kind, content = public(update.update)
    data = {"instrument_id": update.instrument_id, "seq": update.seq, "conflated": update.conflated, **content}
    return encode({"type": kind, "timestamp": iso_time(update.time_ns), "data": data})


def public(update: OrderBook | BookChange | PublicTrade | Ticker) -> tuple[str, Message]:
    match update:
        case OrderBook():
            return "book_snapshot", {"bids": levels(update.bids), "asks": levels(update.asks)}
        case BookChange():
            return "book_update", {"bids": levels(update.bids), "asks": levels(update.asks)}
        case PublicTrade():
            return "trade", {
                "trade_id": trade_name(update.trade_id),
                "price": money(update.price),
                "quantity": quantity(update.quantity),
                "aggressor_side": "buy" if update.buyer_is_aggressor else "sell",
            }
        case Ticker():
            return "ticker", {
                "last_price": optional_money(update.last_price),
                "best_bid": optional_money(update.best_bid),
                "best_ask": optional_money(update.best_ask),
                "volume": quantity(update.volume),
            }
