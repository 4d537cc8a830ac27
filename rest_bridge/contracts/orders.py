"""/orders (documents 001 and 003): the answer is the acceptance; what becomes of the order is told on the feed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from outcry.errors import ExchangeError
from outcry.models import OrderResult
from rest_bridge.answers import answer
from rest_bridge.calls import Call
from rest_bridge.contracts import entry
from rest_bridge.decimals import ONE_DECIMAL, money
from rest_bridge.identifiers import order_name

# What a bot of document 003 reads at the top level, beside the ApiResponse of document 001.
ACCEPTED: Mapping[str, Any] = {
    "status": "accepted",
    "filled_quantity": 0,
    "average_price": None,
    "fees": money(ONE_DECIMAL),
    "liquidity_type": None,
}


async def submit(call: Call) -> Response:
    return accepted(call, await entry.submit(call, entry.ORDERS_CHANNEL))


async def validate(call: Call) -> Response:
    result = await entry.validate(call)
    also = {**ACCEPTED, "client_order_id": result.client_order_id, "duplicate": result.duplicate}
    return answer(call.request_id, time_ns=result.time_ns, also=also)


async def cancel(call: Call) -> Response:
    return accepted(call, await entry.cancel(call))


async def replace(call: Call) -> Response:
    return accepted(call, await entry.replace(call))


def accepted(call: Call, result: OrderResult) -> Response:
    also = {**ACCEPTED, "client_order_id": result.client_order_id or None, "duplicate": result.duplicate}
    return answer(call.request_id, order_id=order_name(result.order_id), time_ns=result.time_ns, also=also)


def refused(error: ExchangeError) -> Mapping[str, Any]:
    """What an error says at the top level: `rejected`, or `unknown` where nobody can say."""
    return {"status": "unknown" if error.details.get("outcome") == "unknown" else "rejected"}
