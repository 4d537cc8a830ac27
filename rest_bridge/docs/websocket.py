"""The WebSocket's messages as examples, in both formats, with the documents' scenarios."""

from __future__ import annotations

from rest_bridge.docs.examples import CALL, DATED_CALL, NOW, Example

ORDER_ID = "ORD_123456"
NAME: Example = {"order_id": ORDER_ID, "client_order_id": "MY_ORDER_001"}


def numbered(seq: int, type_: str, data: Example, **also: object) -> Example:
    return {"seq": seq, "type": type_, "timestamp": NOW, "data": data, **also}


def flat(seq: int, type_: str, **fields: object) -> Example:
    return {"seq": seq, "type": type_, "timestamp": NOW, **fields}


ENTERED: Example = {
    **NAME,
    "instrument_id": CALL,
    "side": "buy",
    "order_type": "limit",
    "quantity": 10,
    "price": 100.0,
    "status": "new",
}
EXECUTED: Example = {
    **NAME,
    "trade_id": "TRD_789012",
    "instrument_id": CALL,
    "side": "buy",
    "executed_quantity": 10,
    "executed_price": 100.0,
    "remaining_quantity": 0,
    "order_status": "filled",
    "liquidity_type": "maker",
    "fees": -0.2,
}
GONE: Example = {**NAME, "status": "cancelled", "cancelled_quantity": 10, "reason": "user_requested"}

DEFAULT_MESSAGES: dict[str, Example] = {
    "position_snapshot": numbered(1, "position_snapshot", {"positions": {CALL: 10}}),
    "new_order_ack": numbered(2, "new_order_ack", ENTERED, order_id=ORDER_ID),
    "new_order_reject": numbered(
        2,
        "new_order_reject",
        {
            "order_id": None,
            "client_order_id": "MY_ORDER_001",
            "status": "rejected",
            "reason": "Order would exceed position limit of ±50",
            "error_code": "POSITION_LIMIT_EXCEEDED",
        },
        order_id=None,
    ),
    "execution_report": numbered(
        3,
        "execution_report",
        EXECUTED,
        order_id=ORDER_ID,
        fills=[{"price": 100.0, "quantity": 10, "timestamp": NOW}],
        remaining_quantity=0,
    ),
    "order_cancel_ack": numbered(3, "order_cancel_ack", GONE, order_id=ORDER_ID),
    "order_cancel_reject": numbered(
        3, "order_cancel_reject", {"order_id": ORDER_ID, "reason": "already_filled"}, order_id=ORDER_ID
    ),
    "order_replaced": numbered(
        3, "order_replaced", {**NAME, "quantity": 12, "price": 101.0, "remaining_quantity": 12}, order_id=ORDER_ID
    ),
    "order_replace_reject": numbered(
        3,
        "order_replace_reject",
        {"order_id": ORDER_ID, "reason": "Order not found or already filled", "error_code": "REPLACE_FAILED"},
        order_id=ORDER_ID,
    ),
    "order_expired": numbered(3, "order_expired", {**NAME, "cancelled_quantity": 10}, order_id=ORDER_ID),
    "position_update": numbered(4, "position_update", {"instrument_id": CALL, "position": 10}),
    "error": {
        "type": "error",
        "data": {"code": "INVALID_REQUEST", "message": "body is not JSON", "details": {"field": "body"}},
    },
}
FLAT_MESSAGES: dict[str, Example] = {
    "new_order_ack": flat(2, "new_order_ack", **{**ENTERED, "instrument_id": DATED_CALL}),
    "execution_report": flat(
        3,
        "execution_report",
        **NAME,
        trade_id="TRD_11111",
        instrument_id=DATED_CALL,
        side="buy",
        price=100.0,
        quantity=10,
        remaining_quantity=0,
        order_status="filled",
        liquidity_type="taker",
        fees=0.3,
    ),
    "order_cancelled": flat(3, "order_cancelled", **GONE),
    "order_replaced": flat(3, "order_replaced", **NAME, quantity=12, price=101.0, remaining_quantity=12),
    "order_expired": flat(3, "order_expired", **NAME, cancelled_quantity=10),
    "position_update": flat(4, "position_update", instrument_id=DATED_CALL, position=10),
    "position_snapshot": flat(4, "position_snapshot", positions={DATED_CALL: 10}),
}


def public(type_: str, **data: object) -> Example:
    return {"type": type_, "timestamp": NOW, "data": {"instrument_id": CALL, "seq": 42, "conflated": False, **data}}


LEVELS: Example = {
    "bids": [{"price": 127.0, "quantity": 20}],
    "asks": [{"price": 128.5, "quantity": 10}],
}
MARKET_MESSAGES: dict[str, Example] = {
    "subscribed": {"type": "subscribed", "data": {"channel": "book", "instrument_id": CALL}},
    "book_snapshot": public("book_snapshot", **LEVELS),
    "book_update": public("book_update", bids=[], asks=[{"price": 128.5, "quantity": 0}]),
    "trade": public("trade", trade_id="TRD_789012", price=128.5, quantity=10, aggressor_side="buy"),
    "ticker": public("ticker", last_price=128.5, best_bid=127.0, best_ask=128.5, volume=10),
}
