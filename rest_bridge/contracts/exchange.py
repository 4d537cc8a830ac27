"""/exchange (document 000): the answer comes when the outcome is final."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from outcry.models import Order, OrderResult
from rest_bridge.answers import answer
from rest_bridge.bodies import invalid
from rest_bridge.calls import Call
from rest_bridge.contracts import entry
from rest_bridge.contracts.forms import book_data, order_data, order_detail, order_row
from rest_bridge.identifiers import order_name

DEPTH_LIMIT = 1_000
ROWS_A_TURN = 1_000


async def submit(call: Call) -> Response:
    return final(call, await entry.submit(call, entry.EXCHANGE_CHANNEL))


async def cancel(call: Call) -> Response:
    return final(call, await entry.cancel(call))


async def replace(call: Call) -> Response:
    return final(call, await entry.replace(call))


def final(call: Call, result: OrderResult) -> Response:
    name = order_name(result.order_id)
    return answer(call.request_id, order_id=name, data=order_data(result), time_ns=result.time_ns)


async def list_orders(call: Call) -> Response:
    rows = []
    for order in await entry.listing(call):
        rows.append(order_row(order))
        if not len(rows) % ROWS_A_TURN:
            await asyncio.sleep(0)  # a long list is no reason for others to wait
    return answer(call.request_id, data={"orders": rows})


async def get_order(call: Call) -> Response:
    order: Order = await entry.find(call)
    return answer(call.request_id, order_id=order_name(order.order_id), data=order_detail(order))


async def get_order_book(call: Call) -> Response:
    """The book is public, and the path is not: it takes a key, as everything here does."""
    depth = call.query.get("depth", "0")
    if not (depth.isascii() and depth.isdigit() and len(depth) <= 4 and int(depth) <= DEPTH_LIMIT):
        raise invalid("depth", f"is not a whole number from 0 to {DEPTH_LIMIT}")
    instrument_id = call.request.path_params["instrument_id"]
    await call.exchange.positions()
    book = await call.exchange.order_book(instrument_id, int(depth))
    return answer(call.request_id, data=book_data(book))
