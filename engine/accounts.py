"""Accounts: what they hold, what their open orders could still do to it, and the orders they have entered.

Nothing is made or lost here: `settle` moves cash between two accounts and the venue's own, and raises where the parts
of a trade do not come to zero. No sum may ever leave int64, so entry is refused where the order, with all that is
open, could take one there. Adding all that up for every order would be slow; instead each account has a `bound` that
none of its sums can be beyond, which grows with each order by the most it could move, and is worked out exactly only
when it comes near the end of the range. The venue's own account is account 0: it takes the fees, is debited what
accounts open with, and alone is unbounded. Books are unknown here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from heapq import merge
from typing import TYPE_CHECKING

from msgspec import Struct

from engine.fixed import SCALE
from engine.instrument import FeeSchedule, Instrument
from engine.order import BUY, Order

if TYPE_CHECKING:
    from engine.archive import Archive
    from engine.risk import Check


class OutOfBalance(Exception):
    """What was moved does not come to zero: a fault in the engine."""


class Balance:
    """An account's amount of one asset, and how much of it is reserved for open orders."""

    __slots__ = ("asset", "reserved", "total")

    def __init__(self, asset: str) -> None:
        self.asset = asset
        self.total = 0
        self.reserved = 0


class Rates(Struct, frozen=True, gc=False):
    """Fees for a quantity of one: as maker, as taker, and the most that is charged or rebated, as amounts.

    `span` is more than fees and the quantity itself can move in any one sum.
    """

    maker: int
    taker: int
    charge: int
    rebate: int
    span: int


def rates_of(schedule: FeeSchedule) -> Rates:
    maker, taker = schedule.maker, schedule.taker
    charge, rebate = max(maker, taker, 0), max(-maker, -taker, 0)
    return Rates(maker, taker, charge, rebate, SCALE + charge + rebate)


class Position:
    """An account in one instrument: trades since opening, open quantity a side, and the balances that trades move.

    `incoming` and `outgoing` are the most of the quote asset that open orders could bring and take, fees included, in
    units of 1e-18: price x quantity as it is multiplied.
    """

    __slots__ = (
        "base",
        "checks",
        "incoming",
        "instrument_id",
        "open_buy",
        "open_sell",
        "outgoing",
        "quantity",
        "quote",
        "settles_in_cash",
    )

    def __init__(self, instrument: Instrument, quote: Balance, base: Balance | None, checks: tuple[Check, ...]) -> None:
        self.instrument_id = instrument.instrument_id
        self.settles_in_cash = instrument.settles_in_cash
        self.quote = quote
        self.base = base
        self.checks = checks
        self.quantity = 0
        self.open_buy = 0
        self.open_sell = 0
        self.incoming = 0
        self.outgoing = 0


class Account:
    """`number` is its last event's. `orders` are those it keeps, by id; `resting` the open ones among them.

    `history` has all kept orders in order of id, and perhaps some that are no longer kept; `closed` is in order of
    closing. `archive` is None, or has closed orders that came out of a snapshot, older than those in `closed`: it is
    asked for what the others do not know. `risk_profile` is as given: "" is the role's. `bound`, in units of 1e-18, is
    what none of the account's sums can be beyond.
    """

    __slots__ = (
        "account_id",
        "archive",
        "balances",
        "bound",
        "by_client_order_id",
        "closed",
        "history",
        "key_hash",
        "name",
        "number",
        "orders",
        "positions",
        "rates",
        "resting",
        "risk_profile",
        "role",
    )

    def __init__(self, account_id: int, name: str, role: str, rates: Rates) -> None:
        self.account_id = account_id
        self.name = name
        self.role = role
        self.rates = rates
        self.risk_profile = ""
        self.key_hash = b""
        self.number = 0
        self.bound = 0
        self.balances: dict[str, Balance] = {}
        self.positions: dict[str, Position] = {}
        self.orders: dict[int, Order] = {}
        self.resting: dict[int, Order] = {}
        self.by_client_order_id: dict[str, Order] = {}
        self.history: list[Order] = []
        self.closed: deque[Order] = deque()
        self.archive: Archive | None = None

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

    def close(self, order: Order, kept: int) -> None:
        """An order has ended: keep it among the last `kept` that did."""
        self.closed.append(order)
        if len(self.closed) > kept or (self.archive is not None and len(self.closed) + len(self.archive) > kept):
            self.forget(kept)

    def forget(self, kept: int) -> None:
        """Keep only the last `kept` closed orders, with their client order ids."""
        if self.archive is not None:
            self.archive.keep(max(kept - len(self.closed), 0))
            if not len(self.archive):
                self.archive = None
        while len(self.closed) > kept:
            order = self.closed.popleft()
            del self.orders[order.order_id]
            if order.client_order_id:
                del self.by_client_order_id[order.client_order_id]
        if len(self.history) > 2 * len(self.orders):
            self.history = list(self.orders.values())

    def orders_after(self, order_id: int, include_closed: bool = True, instrument_id: str = "") -> Iterator[Order]:
        """The kept orders with larger ids, oldest first: in one instrument, or in all ("")."""
        history, kept = self.history, self.orders
        start = bisect_right(history, order_id, key=lambda order: order.order_id)
        live = (
            order
            for at in range(start, len(history))
            if (order := history[at]).order_id in kept
            and (include_closed or order.remaining)
            and instrument_id in ("", order.content.instrument_id)
        )
        if self.archive is None or not include_closed:
            return live
        return merge(live, self.archive.after(self, order_id, instrument_id), key=lambda order: order.order_id)


def find(account: Account, order_id: int, client_order_id: str) -> Order | None:
    """The account's order named by `order_id`, or by `client_order_id` where that is 0."""
    order = account.orders.get(order_id) if order_id else account.by_client_order_id.get(client_order_id)
    if order is None and account.archive is not None:
        return account.archive.find(account, order_id, client_order_id)
    return order


def hold(order: Order, quantity: int) -> None:
    """Count `quantity` of a resting order as open, and reserve what it may need; negative to let go."""
    position, rates = order.position, order.rates
    if order.side == BUY:
        position.open_buy += quantity
        position.outgoing += (order.price + rates.charge) * quantity
        position.incoming += rates.rebate * quantity
        if position.settles_in_cash:
            position.quote.reserved += order.price * quantity // SCALE
    else:
        position.open_sell += quantity
        position.outgoing += rates.charge * quantity
        position.incoming += (order.price + rates.rebate) * quantity
        if position.settles_in_cash and position.base is not None:
            position.base.reserved += quantity


def settle(taker: Order, maker: Order, quantity: int, house: Balance) -> tuple[int, int]:
    """Book a trade at the maker's price on both accounts, and its fees on the venue's: the fees of taker and maker.

    OutOfBalance where the parts do not come to zero.
    """
    cost = maker.price * quantity // SCALE
    taker_fee = taker.rates.taker * quantity // SCALE
    maker_fee = maker.rates.maker * quantity // SCALE
    fees = taker_fee + maker_fee
    if taker.side == BUY:
        bought, sold, taker_cash, maker_cash = quantity, -quantity, -cost - taker_fee, cost - maker_fee
    else:
        bought, sold, taker_cash, maker_cash = -quantity, quantity, cost - taker_fee, -cost - maker_fee
    if taker_cash + maker_cash + fees or bought + sold:
        raise OutOfBalance(f"orders {taker.order_id} and {maker.order_id}")
    hold(maker, -quantity)
    taking, making = taker.position, maker.position
    taking.quantity += bought
    making.quantity += sold
    taking.quote.total += taker_cash
    making.quote.total += maker_cash
    house.total += fees
    if taking.base is not None and making.base is not None:
        taking.base.total += bought
        making.base.total += sold
    taker.filled += quantity
    maker.filled += quantity
    taker.cost += cost
    maker.cost += cost
    taker.fees += taker_fee
    maker.fees += maker_fee
    return taker_fee, maker_fee


def transfer(source: Account, target: Account, asset: str, amount: int) -> None:
    """Move `amount` of an asset from one account to another."""
    for account, change in ((source, -amount), (target, amount)):
        account.balances.setdefault(asset, Balance(asset)).total += change
        account.bound += amount * SCALE


def open_moves(account: Account, asset: str) -> tuple[int, int]:
    """The most of an asset that the account's open orders could bring, and could take."""
    incoming = outgoing = 0
    for position in account.positions.values():
        if position.quote.asset == asset:
            incoming += position.incoming // SCALE
            outgoing += position.outgoing // SCALE
        elif position.base is not None and position.base.asset == asset:
            incoming += position.open_buy
            outgoing += position.open_sell
    return incoming, outgoing


def tighten(account: Account) -> None:
    """Bring the account's bound down to what its sums and its open orders come to now."""
    bound = sum(abs(balance.total) for balance in account.balances.values()) * SCALE
    for position in account.positions.values():
        bound += (abs(position.quantity) + position.open_buy + position.open_sell) * SCALE
        bound += position.incoming + position.outgoing
    account.bound = bound
