"""Accounts: what they hold, what their open orders could still do to it, and the orders they have entered.

Nothing is made or lost here: `settle` moves cash between two accounts and the venue's own, and raises where the parts
of a trade do not come to zero. For every balance the account keeps what open orders could bring and could take, fees
included; entry is refused where total and that could leave int64, so that no fill ever can. The venue's own account is
account 0: it takes the fees, is debited what accounts open with, and alone is unbounded. Books are unknown here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct, field

from engine.fixed import SCALE, notional
from engine.instrument import FeeSchedule
from engine.order import FILLED, PARTIALLY_FILLED, Liquidity, Order, Side, move

if TYPE_CHECKING:
    from engine.risk import Check

BUY = Side.BUY
AFTER_MAKING = {
    Liquidity.NONE: Liquidity.MAKER,
    Liquidity.MAKER: Liquidity.MAKER,
    Liquidity.TAKER: Liquidity.MIXED,
    Liquidity.MIXED: Liquidity.MIXED,
}
AFTER_TAKING = {
    Liquidity.NONE: Liquidity.TAKER,
    Liquidity.MAKER: Liquidity.MIXED,
    Liquidity.TAKER: Liquidity.TAKER,
    Liquidity.MIXED: Liquidity.MIXED,
}


class OutOfBalance(Exception):
    """What was moved does not come to zero: a fault in the engine."""


class Balance(Struct, gc=False):
    """An account's amount of one asset. `incoming` and `outgoing` are the most that its open orders could move."""

    asset: str
    total: int = 0
    reserved: int = 0
    incoming: int = 0
    outgoing: int = 0


class Rates(Struct, frozen=True, gc=False):
    """Fees for a quantity of one: as maker, as taker, the most that is charged, is rebated, or either."""

    maker: int
    taker: int
    charge: int
    rebate: int
    largest: int


def rates_of(schedule: FeeSchedule) -> Rates:
    maker, taker = schedule.maker, schedule.taker
    charge, rebate = max(maker, taker, 0), max(-maker, -taker, 0)
    return Rates(maker, taker, charge, rebate, max(charge, rebate))


class Position(Struct, gc=False):
    """An account in one instrument: trades since opening, open quantity a side, and the balances that trades move."""

    instrument_id: str
    quote: Balance
    base: Balance | None
    settles_in_cash: bool
    checks: tuple[Check, ...]
    quantity: int = 0
    open_buy: int = 0
    open_sell: int = 0


class Account(Struct, gc=False):
    """`number` is its last event's. `orders` are those it keeps, by id; `open` the resting ones among them, oldest
    first.

    `history` has all kept orders in order of id, and perhaps some that are no longer kept; `closed` is in order of
    closing.
    """

    account_id: int
    name: str
    role: str
    rates: Rates
    risk_profile: str = ""  # as given: "" is the role's
    key_hash: bytes = b""
    number: int = 0
    balances: dict[str, Balance] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    resting: dict[int, Order] = field(default_factory=dict)
    by_client_order_id: dict[str, Order] = field(default_factory=dict)
    history: list[Order] = field(default_factory=list)
    closed: deque[Order] = field(default_factory=deque)

    @property
    def id(self) -> int:
        return self.account_id

    def balance(self, asset: str) -> Balance:
        """The balance of `asset`; a fresh one, not yet the account's, where it has none."""
        return self.balances.get(asset) or Balance(asset)

    def adopt(self, position: Position) -> None:
        """Keep a position and its balances, now that an order in it is accepted."""
        self.positions[position.instrument_id] = position
        self.balances.setdefault(position.quote.asset, position.quote)
        if position.base is not None:
            self.balances.setdefault(position.base.asset, position.base)

    def keep(self, order: Order) -> None:
        """Keep an order that was accepted."""
        self.orders[order.order_id] = order
        self.history.append(order)
        if order.client_order_id:
            self.by_client_order_id[order.client_order_id] = order

    def close(self, order: Order, kept: int) -> None:
        """An order has ended: keep it among the last `kept` that did."""
        self.closed.append(order)
        if len(self.closed) > kept:
            self.forget(kept)

    def forget(self, kept: int) -> None:
        """Keep only the last `kept` closed orders, with their client order ids."""
        while len(self.closed) > kept:
            order = self.closed.popleft()
            del self.orders[order.order_id]
            if order.client_order_id:
                del self.by_client_order_id[order.client_order_id]
        if len(self.history) > 2 * len(self.orders):
            self.history = list(self.orders.values())

    def orders_after(self, order_id: int) -> Iterator[Order]:
        """The kept orders with larger ids, oldest first."""
        history, kept = self.history, self.orders
        start = bisect_right(history, order_id, key=lambda order: order.order_id)
        return (history[at] for at in range(start, len(history)) if history[at].order_id in kept)


def find(account: Account, order_id: int, client_order_id: str) -> Order | None:
    """The account's order named by `order_id`, or by `client_order_id` where that is 0."""
    if order_id:
        return account.orders.get(order_id)
    return account.by_client_order_id.get(client_order_id)


def fee(rate: int, quantity: int) -> int:
    """The fee for `quantity` at `rate`. Exact, because fee x lot is a multiple of 1e-9."""
    return rate * quantity // SCALE


def expose(order: Order) -> None:
    """Fix what a quantity of one can move in the quote balance while the order rests at its price."""
    rates = order.rates
    if order.side == BUY:
        order.outgoing, order.incoming = order.price + rates.charge, rates.rebate
    else:
        order.outgoing, order.incoming = rates.charge, order.price + rates.rebate


def hold(order: Order, quantity: int) -> None:
    """Count `quantity` of a resting order among what could happen, and reserve for it; negative to let go."""
    position = order.position
    quote, base = position.quote, position.base
    quote.outgoing += order.outgoing * quantity // SCALE
    quote.incoming += order.incoming * quantity // SCALE
    if order.side == BUY:
        position.open_buy += quantity
        if base is not None:
            base.incoming += quantity
        if position.settles_in_cash:
            quote.reserved += order.price * quantity // SCALE
    else:
        position.open_sell += quantity
        if base is not None:
            base.outgoing += quantity
            if position.settles_in_cash:
                base.reserved += quantity


def fill(order: Order, quantity: int, cost: int, fees: int) -> int:
    """Book one side of a trade: position, cash, asset and the order's own sums. Returns the cash that came in."""
    position = order.position
    if order.side == BUY:
        signed, cash = quantity, -cost - fees
    else:
        signed, cash = -quantity, cost - fees
    position.quantity += signed
    position.quote.total += cash
    if position.base is not None:
        position.base.total += signed
    order.filled += quantity
    order.cost += cost
    order.fees += fees
    move(order, PARTIALLY_FILLED if order.filled < order.quantity else FILLED)
    return cash


def settle(taker: Order, maker: Order, quantity: int, house: Balance) -> tuple[int, int]:
    """Book a trade at the maker's price on both accounts, and its fees on the venue's: the fees of taker and maker.

    OutOfBalance where the parts do not come to zero.
    """
    hold(maker, -quantity)
    cost = notional(maker.price, quantity)
    taker_fee = fee(taker.rates.taker, quantity)
    maker_fee = fee(maker.rates.maker, quantity)
    cash = fill(taker, quantity, cost, taker_fee) + fill(maker, quantity, cost, maker_fee)
    taker.liquidity = AFTER_TAKING[taker.liquidity]
    maker.liquidity = AFTER_MAKING[maker.liquidity]
    house.total += taker_fee + maker_fee
    if cash + taker_fee + maker_fee or taker.side == maker.side:
        raise OutOfBalance(f"orders {taker.order_id} and {maker.order_id}")
    return taker_fee, maker_fee


def transfer(source: Account, target: Account, asset: str, amount: int) -> None:
    """Move `amount` of an asset from one account to another."""
    for account, change in ((source, -amount), (target, amount)):
        account.balances.setdefault(asset, Balance(asset)).total += change
