"""Everything the state machine can say: one closed union.

Private events carry the account and its own number for them, 1, 2, 3 ... for ever. Public events carry the instrument's
number. Both are counted here, so that a query answers with the number it is true at. The last event of every batch is
the command's outcome, which goes to whoever sent it and has no number. As with commands, fields are only ever added at
the end, with a default. Amounts are in units of 1e-9.
"""

from __future__ import annotations

from msgspec import Struct

from engine.order import Liquidity, OrderStatus
from engine.reject import Refusal


class OrderAccepted(Struct, frozen=True, gc=False, array_like=True, tag=1):
    account: int
    number: int
    order_id: int
    client_order_id: str
    instrument_id: str
    side: int
    order_type: int
    time_in_force: int
    quantity: int
    price: int | None
    expires_at_ns: int | None = None


class OrderRejected(Struct, frozen=True, gc=False, array_like=True, tag=2):
    account: int
    number: int
    client_order_id: str
    instrument_id: str
    refusal: Refusal


class OrderFilled(Struct, frozen=True, gc=False, array_like=True, tag=3):
    """One side of one trade; `fees` and `remaining_quantity` are this order's."""

    account: int
    number: int
    order_id: int
    client_order_id: str
    trade_id: int
    instrument_id: str
    side: int
    price: int
    quantity: int
    remaining_quantity: int
    status: OrderStatus
    liquidity: Liquidity
    fees: int


class OrderCancelled(Struct, frozen=True, gc=False, array_like=True, tag=4):
    """`reason`: user_requested, no_liquidity, immediate_or_cancel, replaced."""

    account: int
    number: int
    order_id: int
    client_order_id: str
    cancelled_quantity: int
    reason: str


class CancelRejected(Struct, frozen=True, gc=False, array_like=True, tag=5):
    """`order_id` and `client_order_id` are as asked for; `reason`: already_filled, already_cancelled, not_found."""

    account: int
    number: int
    order_id: int
    client_order_id: str
    reason: str


class OrderReplaced(Struct, frozen=True, gc=False, array_like=True, tag=6):
    account: int
    number: int
    order_id: int
    client_order_id: str
    quantity: int
    price: int | None
    remaining_quantity: int


class ReplaceRejected(Struct, frozen=True, gc=False, array_like=True, tag=7):
    account: int
    number: int
    order_id: int
    client_order_id: str
    refusal: Refusal


class OrderExpired(Struct, frozen=True, gc=False, array_like=True, tag=8):
    account: int
    number: int
    order_id: int
    client_order_id: str
    cancelled_quantity: int


class PositionUpdated(Struct, frozen=True, gc=False, array_like=True, tag=9):
    """After each trade: the account's position, counted from its opening."""

    account: int
    number: int
    instrument_id: str
    position: int


class TradePrinted(Struct, frozen=True, gc=False, array_like=True, tag=20):
    """Public: a trade, without names."""

    instrument_id: str
    number: int
    trade_id: int
    price: int
    quantity: int
    aggressor: int  # the taker's side


class BookChanged(Struct, frozen=True, gc=False, array_like=True, tag=21):
    """Public: the levels that one command changed, as (side, price, new quantity); 0 means the level is gone."""

    instrument_id: str
    number: int
    levels: tuple[tuple[int, int, int], ...]


class OrderOutcome(Struct, frozen=True, gc=False, array_like=True, tag=30):
    """The state of an order at the end of its own command. `number` is the account's last event number then."""

    account: int
    order_id: int  # 0 where a new order is refused; as asked for where a cancel or replace is
    client_order_id: str
    status: OrderStatus
    filled_quantity: int
    remaining_quantity: int
    average_price: int | None
    fees: int
    liquidity: Liquidity
    fills: tuple[OrderFilled, ...]
    number: int
    journal_seq: int
    time_ns: int
    duplicate: bool = False
    refusal: Refusal | None = None


class CancelAllOutcome(Struct, frozen=True, gc=False, array_like=True, tag=31):
    account: int
    order_ids: tuple[int, ...]
    number: int
    journal_seq: int
    time_ns: int
    refusal: Refusal | None = None


class AdminOutcome(Struct, frozen=True, gc=False, array_like=True, tag=32):
    """The answer to every other command. `account` is the one that was made or changed, else 0."""

    journal_seq: int
    account: int = 0
    refusal: Refusal | None = None


PrivateEvent = (
    OrderAccepted
    | OrderRejected
    | OrderFilled
    | OrderCancelled
    | CancelRejected
    | OrderReplaced
    | ReplaceRejected
    | OrderExpired
    | PositionUpdated
)
PublicEvent = TradePrinted | BookChanged
Outcome = OrderOutcome | CancelAllOutcome | AdminOutcome
Event = PrivateEvent | PublicEvent | Outcome
