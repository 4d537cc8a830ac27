"""ApiResponse: the one form of every answer, and the one table of statuses.

    {success, request_id, order_id, data, error: {code, message, details} | null, timestamp}

The HTTP status of an error is what the contract's enum of codes says. Answers are encoded once, by one encoder, to the
bytes that leave; no model stands between.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil
from typing import Any

from msgspec import json
from starlette.responses import Response

from outcry import v1
from outcry.errors import DetailValue, ExchangeError
from outcry.v1.statuses import HTTP_STATUS
from rest_bridge.decimals import quantity
from rest_bridge.moments import iso_time

TIMEOUT_MS = 5000
RETRY_AFTER_S = 1  # where nothing better is known
STATUS_OF = {v1.RejectReason.Name(v1.RejectReason.ValueType(number)): status for number, status in HTTP_STATUS.items()}
RETRYABLE = frozenset({"RATE_LIMIT_EXCEEDED", "SERVICE_UNAVAILABLE", "CIRCUIT_BREAKER_OPEN"})
encode = json.Encoder().encode


def fresh_request_id() -> str:
    return "req_" + secrets.token_hex(8)


def fresh_support_reference() -> str:
    """A name for one failure, for the client to quote and the operator to find in the log."""
    return f"ERR_{datetime.now(UTC):%Y%m%d_%H%M%S}_{secrets.token_hex(3)}"


def is_header_value(words: str) -> bool:
    return words.isascii() and words.isprintable()


def answer(
    request_id: str,
    *,
    order_id: str | None = None,
    data: object = None,
    time_ns: int | None = None,
    also: Mapping[str, Any] | None = None,
) -> Response:
    """A success. `also` are fields at the top level beside ApiResponse's; the time is now where none is given."""
    content = {
        "success": True,
        "request_id": request_id,
        "order_id": order_id,
        "data": data,
        "error": None,
        "timestamp": iso_time(time.time_ns() if time_ns is None else time_ns),
    }
    if also:
        content.update(also)
    return respond(200, request_id, content)


def refusal(
    request_id: str,
    error: ExchangeError,
    *,
    order_id: str | None = None,
    also: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    status: int | None = None,
) -> Response:
    """An error, with the status of its code where no other is given."""
    content = {
        "success": False,
        "request_id": request_id,
        "order_id": order_id,
        "data": None,
        "error": error_content(error),
        "timestamp": iso_time(time.time_ns()),
    }
    if also:
        content.update(also)
    response = respond(status or STATUS_OF[error.code], request_id, content)
    if error.code in RETRYABLE:
        response.headers["Retry-After"] = str(retry_after_s(error))
    if headers:
        response.headers.update(headers)
    return response


def respond(status: int, request_id: str, content: object) -> Response:
    headers = {"X-Request-Id": request_id} if is_header_value(request_id) else None
    return Response(encode(content), status, headers, "application/json")


def error_content(error: ExchangeError) -> dict[str, Any]:
    details = {name: detail(value) for name, value in error.details.items()}
    return {"code": error.code, "message": error.message, "details": details}


def detail(value: DetailValue) -> object:
    return quantity(value) if isinstance(value, Decimal) else value


def retry_after_s(error: ExchangeError) -> int:
    """Whole seconds after which a retry makes sense, as the error says or guesses."""
    seconds = error.details.get("retry_after", RETRY_AFTER_S)
    return max(1, ceil(seconds)) if isinstance(seconds, int | Decimal) else RETRY_AFTER_S
