"""An order's words, its state, and its legal life as a table.

An order is born `new` (what is refused never becomes an order), may fill in parts, and ends filled, cancelled or
expired. Every change of status goes through `move`, which holds it to the table; the diagram in the docs is printed
from the table too. The links make each order a member of its level's queue, so that leaving it from the middle takes
one step.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from engine.accounts import Account, Position, Rates
    from engine.commands import NewOrder
    from engine.events import OrderOutcome


class Side(IntEnum):
    BUY = 1
    SELL = 2


class OrderType(IntEnum):
    LIMIT = 1
    MARKET = 2


class TimeInForce(IntEnum):
    GTC = 1
    DAY = 2
    GTD = 3
    IOC = 4
    FOK = 5


class Liquidity(IntEnum):
    """Which side of its trades an order was on; NONE before the first. `a | b` is the two together."""

    NONE = 0
    MAKER = 1
    TAKER = 2
    MIXED = 3


class OrderStatus(IntEnum):
    NEW = 1
    PARTIALLY_FILLED = 2
    FILLED = 3
    CANCELLED = 4
    REJECTED = 5
    EXPIRED = 6


# Plain integers where an order is on its way: an enumeration's members compare several times slower.
BUY, SELL = int(Side.BUY), int(Side.SELL)

NEW, PARTIALLY_FILLED, FILLED = OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED
CANCELLED, REJECTED, EXPIRED = OrderStatus.CANCELLED, OrderStatus.REJECTED, OrderStatus.EXPIRED

ALLOWED: dict[OrderStatus, frozenset[OrderStatus]] = {
    NEW: frozenset({PARTIALLY_FILLED, FILLED, CANCELLED, EXPIRED}),
    PARTIALLY_FILLED: frozenset({PARTIALLY_FILLED, FILLED, CANCELLED, EXPIRED}),
    FILLED: frozenset(),
    CANCELLED: frozenset(),
    REJECTED: frozenset(),
    EXPIRED: frozenset(),
}


class Order(Struct, gc=False):
    """One order that was accepted, or is proposed. Amounts in units of 1e-9.

    `quantity` is the total, `remaining` what can still trade (0 once it is closed), `cost` the exact notional of its
    fills. `content` is the command as it came; `rates` the fees it was entered under, which stay its own. `span` is
    more than any one sum can be moved by the order's trades, in units of 1e-18.
    """

    order_id: int
    account: Account
    position: Position
    content: NewOrder
    rates: Rates
    client_order_id: str
    side: int
    quantity: int
    price: int  # 0 where it has none
    rank: int
    submitted_at_ns: int
    expires_at_ns: int | None
    remaining: int
    status: OrderStatus = NEW
    filled: int = 0
    cost: int = 0
    fees: int = 0
    liquidity: Liquidity = Liquidity.NONE
    span: int = 0
    outcome: OrderOutcome | None = None
    previous: Order | None = None
    following: Order | None = None


class IllegalTransition(Exception):
    """A change of status that the table does not have: a fault in the engine."""


def move(order: Order, status: OrderStatus) -> None:
    """Change an order's status. IllegalTransition where the table does not allow it."""
    if status not in ALLOWED[order.status]:
        raise IllegalTransition(f"order {order.order_id}: {order.status.name} to {status.name}")
    order.status = status


def diagram() -> str:
    """The table of transitions as a Mermaid state diagram, for the docs."""
    lines = ["stateDiagram-v2", "    [*] --> new", "    [*] --> rejected"]
    for status, following in ALLOWED.items():
        lines += [f"    {status.name.lower()} --> {after.name.lower()}" for after in sorted(following)]
        if not following:
            lines.append(f"    {status.name.lower()} --> [*]")
    return "\n".join(lines)
