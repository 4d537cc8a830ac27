"""Answers for people, as tables, and for programs, as JSON with exact numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from itertools import zip_longest

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from outcry.models import Balances, BookLevel, CancelAllResult, Order, OrderBook, OrderResult, Positions

Answer = OrderResult | CancelAllResult | OrderBook | list[Order] | tuple[Positions, Balances]

JSON = msgspec.json.Encoder(decimal_format="number")
PIPE_WIDTH = 200  # what is not a terminal has no edge
LEFT = {"order", "client order id", "instrument", "side", "type", "tif", "status", "liquidity", "asset", "submitted"}


def show(answer: Answer, as_json: bool) -> None:
    if as_json:
        typer.echo(JSON.encode(plain(answer)))
        return
    console = Console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    for shown in tables(answer):
        console.print(shown)


def plain(answer: Answer) -> object:
    """The answer as msgspec takes it."""
    if isinstance(answer, tuple):
        positions, balances = answer
        return {"positions": dict(positions), "balances": dict(balances), "seq": max(positions.seq, balances.seq)}
    return answer


def tables(answer: Answer) -> list[Table]:
    match answer:
        case OrderResult():
            return [of_result(answer)]
        case CancelAllResult():
            return [table(["order"], [[name(order_id)] for order_id in answer.order_ids], "cancelled")]
        case OrderBook():
            return [of_book(answer)]
        case tuple():
            return [of_positions(answer[0]), of_balances(answer[1])]
        case _:
            return [of_orders(answer)]


def table(columns: list[str], rows: list[list[str]], title: str | None = None) -> Table:
    drawn = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        drawn.add_column(column, justify="left" if column in LEFT else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    return drawn


def name(order_id: int) -> str:
    return f"ORD_{order_id}" if order_id else ""


def text(number: Decimal | None) -> str:
    return "" if number is None else f"{number:,f}"


def moment(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%m-%d %H:%M:%SZ")


def of_result(result: OrderResult) -> Table:
    columns = ["order", "status", "filled", "remaining", "average price", "fees", "liquidity", "client order id"]
    row = [
        name(result.order_id),
        result.status + (" (duplicate)" if result.duplicate else ""),
        text(result.filled_quantity),
        text(result.remaining_quantity),
        text(result.average_price),
        text(result.fees),
        result.liquidity or "",
        result.client_order_id,
    ]
    return table(columns, [row])


def of_orders(orders: list[Order]) -> Table:
    columns = ["order", "instrument", "side", "type", "tif", "price", "quantity", "filled", "status", "submitted"]
    rows = [
        [
            name(order.order_id),
            order.instrument_id,
            order.side,
            order.order_type,
            order.time_in_force,
            text(order.price),
            text(order.quantity),
            text(order.filled_quantity),
            order.status,
            moment(order.submitted_at_ns),
        ]
        for order in orders
    ]
    return table(columns, rows)


def of_positions(positions: Positions) -> Table:
    rows = [
        [row.instrument_id, text(row.position), text(row.open_buy_quantity), text(row.open_sell_quantity)]
        for row in positions.rows
    ]
    return table(["instrument", "position", "open to buy", "open to sell"], rows, "positions")


def of_balances(balances: Balances) -> Table:
    rows = [
        [asset, text(balance.total), text(balance.reserved), text(balance.available)]
        for asset, balance in balances.items()
    ]
    return table(["asset", "total", "reserved", "available"], rows, "balances")


def of_book(book: OrderBook) -> Table:
    rows = [[*level(bid)[::-1], *level(ask)] for bid, ask in zip_longest(book.bids, book.asks)]
    return table(["quantity", "bid", "ask", "quantity"], rows, f"{book.instrument_id}, as of its event {book.seq}")


def level(level: BookLevel | None) -> list[str]:
    return [text(level.price), text(level.quantity)] if level else ["", ""]
