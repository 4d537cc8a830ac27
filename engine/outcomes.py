"""The last word on an order's command: the state of the order at its end, or why it was refused."""

from __future__ import annotations

from engine.events import OrderFilled, OrderOutcome
from engine.fixed import average
from engine.order import FILLED, REJECTED, Liquidity, Order
from engine.reject import Refusal, RejectReason

NEITHER = Liquidity.NONE
GONE = "Order not found or already filled"


def outcome_of(order: Order, fills: tuple[OrderFilled, ...], seq: int, time_ns: int) -> OrderOutcome:
    """The state of `order` now; `fills` are the command's own."""
    filled = order.filled
    return OrderOutcome(
        order.account.account_id,
        order.order_id,
        order.client_order_id,
        order.status,
        filled,
        order.remaining,
        average(order.cost, filled) if filled else None,
        order.fees,
        order.liquidity,
        fills,
        order.account.number,
        seq,
        time_ns,
    )


def refused(
    account: int, order_id: int, client_order_id: str, number: int, refusal: Refusal, seq: int, time_ns: int
) -> OrderOutcome:
    """A command that changed nothing. The order is named as it was asked for."""
    return OrderOutcome(
        account, order_id, client_order_id, REJECTED, 0, 0, None, 0, NEITHER, (), number, seq, time_ns, False, refusal
    )


def gone_because(order: Order | None) -> str:
    """Why an order cannot be cancelled or replaced any more."""
    if order is None:
        return "not_found"
    return "already_filled" if order.status is FILLED else "already_cancelled"


def gone(reason: RejectReason, order_id: int, client_order_id: str, because: str) -> Refusal:
    """The refusal to change an order that is not open; it names the order as it was asked for."""
    asked = f"ORD_{order_id}" if order_id else client_order_id
    return Refusal(reason, GONE, {}, {"order_id": asked, "reason": because})


def unknown_account(account: int) -> Refusal:
    return Refusal(RejectReason.PERMISSION_DENIED, f"Account {account} may not trade")
