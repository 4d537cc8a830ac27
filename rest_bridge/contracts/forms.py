"""What orders, books and positions look like in JSON: one function for each documented form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from outcry.models import BookLevel, Order, OrderBook, OrderResult, Positions
from rest_bridge.decimals import money, optional_money, quantity
from rest_bridge.identifiers import order_name
from rest_bridge.moments import iso_time


def order_data(result: OrderResult) -> dict[str, Any]:
    """An order's state at the end of its own command, as /exchange answers."""
    return {
        "order_id": order_name(result.order_id),
        "client_order_id": result.client_order_id or None,
        "status": result.status,
        "timestamp": iso_time(result.time_ns),
        "filled_quantity": quantity(result.filled_quantity),
        "remaining_quantity": quantity(result.remaining_quantity),
        "average_price": optional_money(result.average_price),
        "fees": money(result.fees),
        "liquidity_type": result.liquidity,
        "duplicate": result.duplicate,
    }


def order_row(order: Order) -> dict[str, Any]:
    """An order in a list."""
    return {
        "order_id": order_name(order.order_id),
        "client_order_id": order.client_order_id or None,
        "instrument_id": order.instrument_id,
        "side": order.side,
        "price": optional_money(order.price),
        "original_quantity": quantity(order.quantity),
        "remaining_quantity": quantity(order.remaining_quantity),
        "status": order.status,
        "submitted_at": iso_time(order.submitted_at_ns),
    }


def order_detail(order: Order) -> dict[str, Any]:
    """An order by itself."""
    return {
        **order_row(order),
        "order_type": order.order_type,
        "time_in_force": order.time_in_force,
        "filled_quantity": quantity(order.filled_quantity),
        "average_price": optional_money(order.average_price),
        "fees": money(order.fees),
        "liquidity_type": order.liquidity,
    }


def book_data(book: OrderBook) -> dict[str, Any]:
    return {
        "instrument_id": book.instrument_id,
        "seq": book.seq,
        "timestamp": iso_time(book.time_ns),
        "bids": levels(book.bids),
        "asks": levels(book.asks),
    }


def levels(side: Iterable[BookLevel]) -> list[dict[str, Any]]:
    return [{"price": money(level.price), "quantity": quantity(level.quantity)} for level in side]


def held(positions: Positions) -> dict[str, Any]:
    return {instrument_id: quantity(position) for instrument_id, position in positions.items()}
