"""The documents' scenarios as requests and answers: 000 at /exchange, 001 and 003 at /orders and on the WebSocket.

Where the documents and the contract differ, these follow the contract: fees are positive when charged, an immediate
partial fill is the taker's.
"""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

NOW = "2024-01-15T10:30:45.123456Z"
CALL = "SPX_4500_CALL"
DATED_CALL = "SPX_CALL_4500_20240315"
DATED_PUT = "SPX_PUT_4500_20240315"

MARKET_ORDER: Example = {"instrument_id": CALL, "order_type": "market", "side": "buy", "quantity": 10}
LIMIT_ORDER: Example = {"instrument_id": CALL, "order_type": "limit", "side": "buy", "quantity": 20, "price": 127.0}
PLAIN_ORDER: Example = {"instrument_id": DATED_CALL, "side": "buy", "quantity": 10, "price": 100.0}
NAMED_ORDER: Example = {
    "instrument_id": CALL,
    "order_type": "limit",
    "side": "buy",
    "quantity": 10,
    "price": 100.0,
    "client_order_id": "MY_ORDER_001",
}


def success(data: Any, order_id: str | None = None, **also: Any) -> Example:
    head = {"success": True, "request_id": "req_1234567890", "order_id": order_id, "data": data, "error": None}
    return {**head, "timestamp": NOW, **also}


def failure(code: str, message: str, details: Example, order_id: str | None = None, **also: Any) -> Example:
    error = {"code": code, "message": message, "details": details}
    head = {"success": False, "request_id": "req_1234567893", "order_id": order_id, "data": None, "error": error}
    return {**head, "timestamp": NOW, **also}


def order(order_id: str, status: str, filled: int, remaining: int, price: float | None, fees: float) -> Example:
    data = {
        "order_id": order_id,
        "client_order_id": "MY_ORDER_001",
        "status": status,
        "timestamp": NOW,
        "filled_quantity": filled,
        "remaining_quantity": remaining,
        "average_price": price,
        "fees": fees,
        "liquidity_type": None if price is None else "maker" if fees < 0 else "taker",
        "duplicate": False,
    }
    return success(data, order_id)


FILLED = order("ORD_12345", "filled", 10, 0, 128.5, 0.3)
RESTING = order("ORD_12346", "new", 0, 20, None, 0.0)
PARTIALLY_FILLED = order("ORD_12347", "partially_filled", 20, 30, 128.0, 0.6)
CANCELLED = order("ORD_12346", "cancelled", 5, 15, 127.0, -0.1)
REPLACED = order("ORD_12346", "new", 0, 25, None, 0.0)

ACCEPTANCE: Example = {
    "status": "accepted",
    "filled_quantity": 0,
    "average_price": None,
    "fees": 0.0,
    "liquidity_type": None,
    "client_order_id": "MY_ORDER_001",
    "duplicate": False,
}
ACCEPTED = success(None, "ORD_67890", **ACCEPTANCE)
WOULD_BE_ACCEPTED = success(None, None, **ACCEPTANCE)

ROW: Example = {
    "order_id": "ORD_67890",
    "client_order_id": "MY_ORDER_001",
    "instrument_id": DATED_CALL,
    "side": "buy",
    "price": 100.0,
    "original_quantity": 10,
    "remaining_quantity": 7,
    "status": "partially_filled",
    "submitted_at": NOW,
}
DETAIL: Example = {
    **ROW,
    "order_type": "limit",
    "time_in_force": "GTC",
    "filled_quantity": 3,
    "average_price": 100.0,
    "fees": 0.09,
    "liquidity_type": "taker",
}
OPEN_ORDERS = success({"orders": [ROW]})
ONE_ORDER = success(DETAIL, "ORD_67890")
POSITIONS = success({"positions": {DATED_CALL: 10, DATED_PUT: -5}})
BALANCES = success({"balances": {"USD": {"total": 998999.7, "reserved": 500, "available": 998499.7}}})
BOOK = success(
    {
        "instrument_id": CALL,
        "seq": 42,
        "timestamp": NOW,
        "bids": [{"price": 127.0, "quantity": 20}],
        "asks": [{"price": 128.5, "quantity": 10}],
    }
)
ACCOUNT: Example = {"team_id": "TEAM_12", "team_name": "Alpha", "role": "trader", "api_key": "…"}
REGISTERED = success(ACCOUNT, **ACCOUNT)
ROTATION: Example = {"team_id": "TEAM_12", "api_key": "…"}
ROTATED = success(ROTATION, **ROTATION)

POSITION_LIMIT = failure(
    "POSITION_LIMIT_EXCEEDED",
    "Order would exceed position limit of ±50",
    {"current_position": 45, "open_quantity": 0, "order_quantity": 100, "position_limit": 50, "limit": 50},
)
UNKNOWN_INSTRUMENT = failure(
    "INVALID_INSTRUMENT",
    "Unknown instrument: INVALID_SYMBOL",
    {"requested_instrument": "INVALID_SYMBOL", "available_instruments": [CALL, "SPX_4500_PUT"]},
)
FUNDS = failure(
    "INSUFFICIENT_FUNDS",
    "Not enough USD: 1500.0 needed, 1000.0 available",
    {"required_balance": 1500, "available_balance": 1000},
)
TIMEOUT = failure(
    "PROCESSING_TIMEOUT",
    "Order processing exceeded time limit",
    {"timeout_ms": 5000, "stage": "matching", "outcome": "not_executed"},
)
INTERNAL = failure(
    "INTERNAL_ERROR",
    "Internal system error during order processing",
    {"support_reference": "ERR_20240115_103045_789abc", "stage": "settlement", "outcome": "unknown"},
)
CANCEL_FAILED = failure(
    "CANCEL_FAILED",
    "Order not found or already filled",
    {"order_id": "ORD_12345", "reason": "already_filled"},
    "ORD_12345",
)
REPLACE_FAILED = failure(
    "REPLACE_FAILED",
    "Order not found or already filled",
    {"order_id": "ORD_12345", "reason": "already_filled"},
    "ORD_12345",
)
NOT_JSON = failure("INVALID_REQUEST", "body is not JSON", {"field": "body"})
NO_HANDSHAKE = failure("INVALID_REQUEST", "upgrade is missing: /ws is a WebSocket's address", {"field": "upgrade"})
NO_KEY = failure("UNAUTHENTICATED", "A valid API key is needed", {})
FORBIDDEN = failure("PERMISSION_DENIED", "Registration is closed", {})
NO_ORDER = failure("ORDER_NOT_FOUND", "Order not found", {})
USED_ID = failure(
    "DUPLICATE_CLIENT_ORDER_ID", "client_order_id was used for another order", {"client_order_id": "MY_ORDER_001"}
)
TOO_LARGE = failure("PAYLOAD_TOO_LARGE", "The body is larger than 65536 bytes", {"limit_bytes": 65536})
RATE_LIMITED = failure(
    "RATE_LIMIT_EXCEEDED", "Too many registrations from this address", {"limit": 600, "window": 60, "retry_after": 1}
)
NOWHERE = failure("NOT_FOUND", "There is nothing at …", {"path": "…"})
AWAY = failure("SERVICE_UNAVAILABLE", "The exchange is not available", {"outcome": "not_executed"})


def refused(example: Example) -> Example:
    """The same refusal at /orders, which says so at the top level too."""
    unknown = example["error"]["details"].get("outcome") == "unknown"
    return {**example, "status": "unknown" if unknown else "rejected"}
