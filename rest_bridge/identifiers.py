"""The documents' names of orders, trades and accounts: `ORD_12345` outside, 12345 inside."""

from __future__ import annotations

import re

ORDER_ID = re.compile(r"ORD_([1-9][0-9]{0,19})")
UINT64_MAX = 2**64 - 1


def order_name(order_id: int) -> str:
    return f"ORD_{order_id}"


def trade_name(trade_id: int) -> str:
    return f"TRD_{trade_id}"


def account_name(account_id: int) -> str:
    return f"TEAM_{account_id}"


def parse_order_name(name: str) -> int | None:
    """The order id, or None: a malformed id is an unknown id."""
    match = ORDER_ID.fullmatch(name)
    order_id = int(match[1]) if match else 0
    return order_id if 0 < order_id <= UINT64_MAX else None
