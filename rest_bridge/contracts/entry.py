"""Orders, cancels and replaces from JSON to the engine: what /exchange and /orders have in common."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from outcry.encoding import fresh_client_order_id
from outcry.errors import ExchangeError, NotFound, OrderRejected
from outcry.models import Order, OrderResult
from rest_bridge.bodies import CANCELLATION, REPLACEMENT, SUBMISSION, invalid, shorten
from rest_bridge.calls import Call
from rest_bridge.identifiers import parse_order_name

EXCHANGE_CHANNEL = 1
ORDERS_CHANNEL = 2
NEEDED = ("instrument_id", "side", "quantity")
GONE = "Order not found or already filled"


async def submit(call: Call, channel: int) -> OrderResult:
    order = await read_submission(call)
    return await call.exchange.submit_order(**order, channel=channel, valid_until_ns=call.valid_until_ns)


async def validate(call: Call) -> OrderResult:
    """The dry run: judged as an order would be, and nothing changes."""
    order = await read_submission(call)
    return await call.exchange.validate_order(**order, channel=ORDERS_CHANNEL, valid_until_ns=call.valid_until_ns)


async def read_submission(call: Call) -> dict[str, Any]:
    """The order in the body, as the client takes it, under a client order id in any case."""
    order = await call.body(SUBMISSION, NEEDED)
    key = call.header("Idempotency-Key")
    order["client_order_id"] = call.client_order_id = order.get("client_order_id") or key or fresh_client_order_id()
    if "expires_at" in order:
        order["expires_at_ns"] = order.pop("expires_at")
    return order


async def cancel(call: Call) -> OrderResult:
    call.order_id = shorten(call.request.path_params["order_id"])
    await call.optional_body(CANCELLATION)
    order_id = named_order(call, "CANCEL_FAILED")
    try:
        return await call.exchange.cancel_order(order_id, valid_until_ns=call.valid_until_ns)
    except OrderRejected as error:
        raise named(call, error) from None


async def replace(call: Call) -> OrderResult:
    call.order_id = shorten(call.request.path_params["order_id"])
    change = await call.body(REPLACEMENT)
    if not change:
        raise invalid("quantity", "or price is needed")
    order_id = named_order(call, "REPLACE_FAILED")
    try:
        return await call.exchange.replace_order(order_id, **change, valid_until_ns=call.valid_until_ns)
    except OrderRejected as error:
        raise named(call, error) from None


def named_order(call: Call, code: str) -> int:
    """The order that the path names. A malformed name is that of an order which never was: refused with `code`."""
    name = call.request.path_params["order_id"]
    call.order_id = shorten(name)
    order_id = parse_order_name(name)
    if order_id is None:
        raise OrderRejected(code, GONE, {"order_id": call.order_id, "reason": "not_found"})
    return order_id


def named(call: Call, error: ExchangeError) -> ExchangeError:
    """`error` with the order's name as the caller knows it."""
    if error.code in ("CANCEL_FAILED", "REPLACE_FAILED") and call.order_id:
        error.details["order_id"] = call.order_id
        if error.code == "CANCEL_FAILED":
            error.message = GONE
    return error


async def find(call: Call) -> Order:
    """The order that the path names. NotFound for another account's, or one that never was."""
    order_id = parse_order_name(call.request.path_params["order_id"])
    if order_id is None:
        raise NotFound("ORDER_NOT_FOUND", "Order not found")
    return await call.exchange.order(order_id)


async def listing(call: Call) -> list[Order]:
    """The account's open orders, or all with `?status=all`, oldest first; or the one with `?client_order_id=`."""
    client_order_id = call.query.get("client_order_id")
    status = call.query.get("status", "open" if client_order_id is None else "all")
    if status not in ("open", "all"):
        raise invalid("status", "is neither open nor all")
    instrument_id = call.query.get("instrument_id", "")
    if client_order_id is None:
        return await call.exchange.orders(include_closed=status == "all", instrument_id=instrument_id)
    with suppress(NotFound):
        order = await call.exchange.order(client_order_id=client_order_id)
        if (status == "all" or order.remaining_quantity) and instrument_id in ("", order.instrument_id):
            return [order]
    return []
