"""What happens to orders that rest: cancelled, replaced, expired."""

from __future__ import annotations

from msgspec.structs import replace

from engine.accounts import find, hold
from engine.book import rank_of
from engine.commands import AdvanceTime, CancelAll, CancelOrder, ReplaceOrder
from engine.entry import Entry
from engine.events import (
    AdminOutcome,
    CancelAllOutcome,
    CancelRejected,
    Event,
    OrderExpired,
    OrderFilled,
    OrderReplaced,
    ReplaceRejected,
)
from engine.form import price_refusal, quantity_refusal
from engine.market import Market
from engine.matching import Matching, cancelled
from engine.order import CANCELLED, EXPIRED, Order, Side
from engine.outcomes import gone, gone_because, outcome_of, refused, unknown_account
from engine.registry import Registry
from engine.reject import Refusal, RejectReason
from engine.risk import risk_refusal

EITHER_SIDE = 0


class Amendment:
    """Takes CancelOrder, ReplaceOrder, CancelAll and AdvanceTime."""

    def __init__(self, registry: Registry, matching: Matching, entry: Entry) -> None:
        self.accounts = registry.accounts
        self.markets = registry.markets
        self.matching = matching
        self.entry = entry

    def cancel_order(self, seq: int, time_ns: int, command: CancelOrder) -> list[Event]:
        account = self.accounts.get(command.account)
        order = None if account is None else find(account, command.order_id, command.client_order_id)
        if order is None or not order.remaining:
            return self.cancel_refused(seq, time_ns, command, gone_because(order))
        market = self.markets[order.content.instrument_id]
        left = self.matching.end(order, market, CANCELLED)
        events: list[Event] = [cancelled(order, left, "user_requested")]
        market.publish_changes(events)
        events.append(outcome_of(order, (), seq, time_ns))
        return events

    def cancel_refused(self, seq: int, time_ns: int, command: CancelOrder, because: str) -> list[Event]:
        number, order_id, client_order_id = command.account, command.order_id, command.client_order_id
        refusal = gone(RejectReason.CANCEL_FAILED, order_id, client_order_id, because)
        account = self.accounts.get(number)
        if account is None:
            return [refused(number, order_id, client_order_id, 0, refusal, seq, time_ns)]
        account.number += 1
        return [
            CancelRejected(number, account.number, order_id, client_order_id, because),
            refused(number, order_id, client_order_id, account.number, refusal, seq, time_ns),
        ]

    def replace_order(self, seq: int, time_ns: int, command: ReplaceOrder) -> list[Event]:
        account = self.accounts.get(command.account)
        order = None if account is None else find(account, command.order_id, command.client_order_id)
        if command.quantity is None and command.price is None:
            refusal = Refusal(RejectReason.INVALID_REQUEST, "A new quantity or price is needed")
            return self.replace_refused(seq, time_ns, command, refusal)
        if order is None or not order.remaining:
            asked = command.order_id, command.client_order_id
            refusal = gone(RejectReason.REPLACE_FAILED, *asked, gone_because(order))
            return self.replace_refused(seq, time_ns, command, refusal)
        market = self.markets[order.content.instrument_id]
        quantity = order.quantity if command.quantity is None else command.quantity
        price = order.price if command.price is None else command.price
        events: list[Event] = []
        fills = self.amend(order, market, quantity, price, events)
        if isinstance(fills, Refusal):
            return self.replace_refused(seq, time_ns, command, fills)
        market.publish_changes(events)
        events.append(outcome_of(order, fills, seq, time_ns))
        return events

    def replace_refused(self, seq: int, time_ns: int, command: ReplaceOrder, refusal: Refusal) -> list[Event]:
        number, order_id, client_order_id = command.account, command.order_id, command.client_order_id
        account = self.accounts.get(number)
        if account is None:
            return [refused(number, order_id, client_order_id, 0, refusal, seq, time_ns)]
        account.number += 1
        return [
            ReplaceRejected(number, account.number, order_id, client_order_id, refusal),
            refused(number, order_id, client_order_id, account.number, refusal, seq, time_ns),
        ]

    def amend(
        self, order: Order, market: Market, quantity: int, price: int, events: list[Event]
    ) -> tuple[OrderFilled, ...] | Refusal:
        """Give an open order a new total and price: its fills by that, or the refusal, and then nothing changed.

        Wanting less at the same price is allowed whatever the limits have become: it only lowers what could happen.
        """
        refusal = quantity_refusal(quantity, market.instrument) or price_refusal(price, market.instrument)
        if refusal is not None:
            return refusal
        if quantity <= order.filled:
            events.append(cancelled(order, self.matching.end(order, market, CANCELLED), "replaced"))
            return ()
        if price != order.price or quantity > order.quantity:
            return self.enter_again(order, market, quantity, price, events)
        remaining = quantity - order.filled
        hold(order, remaining - order.remaining)
        market.book.reduce(order, remaining)
        order.quantity = quantity
        events.append(replaced(order))
        return ()

    def enter_again(
        self, order: Order, market: Market, quantity: int, price: int, events: list[Event]
    ) -> tuple[OrderFilled, ...] | Refusal:
        """Send an open order to the back, at a new price or quantity at which it may trade, if it passes again.

        What it holds itself is let go before it is judged, and held again if it is refused.
        """
        rank, remaining = rank_of(order.side, price), quantity - order.filled
        level, waiting = market.book.level(order), order.remaining
        hold(order, -waiting)
        level.quantity -= waiting
        proposed = replace(order, quantity=quantity, price=price, rank=rank, remaining=remaining)
        refusal = risk_refusal(proposed, market)
        level.quantity += waiting
        if refusal is not None:
            hold(order, waiting)
            return refusal
        market.book.remove(order)
        order.account.bound += proposed.span
        order.quantity, order.price, order.rank, order.remaining = quantity, price, rank, remaining
        events.append(replaced(order))
        fills = self.matching.match(order, market, events)
        if order.remaining:
            self.matching.rest(order, market)
        return fills

    def cancel_all(self, seq: int, time_ns: int, command: CancelAll) -> list[Event]:
        account, name, side = self.accounts.get(command.account), command.instrument_id, command.side
        refusal = None
        if account is None:
            return [CancelAllOutcome(command.account, (), 0, seq, time_ns, unknown_account(command.account))]
        if name and name not in self.markets:
            refusal = self.entry.unknown_instrument(name)
        elif side not in (EITHER_SIDE, Side.BUY, Side.SELL):
            refusal = Refusal(RejectReason.INVALID_SIDE, f"Unknown side: {side}")
        if refusal is not None:
            return [CancelAllOutcome(command.account, (), account.number, seq, time_ns, refusal)]
        orders = [
            order
            for order in account.resting.values()
            if (not name or order.content.instrument_id == name) and side in (EITHER_SIDE, order.side)
        ]
        events: list[Event] = []
        markets: dict[str, Market] = {}
        for order in orders:
            market = markets[order.content.instrument_id] = self.markets[order.content.instrument_id]
            events.append(cancelled(order, self.matching.end(order, market, CANCELLED), "user_requested"))
        for market in markets.values():
            market.publish_changes(events)
        ids = tuple([order.order_id for order in orders])
        events.append(CancelAllOutcome(command.account, ids, account.number, seq, time_ns))
        return events

    def advance_time(self, seq: int, time_ns: int, command: AdvanceTime) -> list[Event]:
        events: list[Event] = []
        markets: dict[str, Market] = {}
        for order in self.matching.expiries.until(time_ns):
            market = markets[order.content.instrument_id] = self.markets[order.content.instrument_id]
            events.append(expired(order, self.matching.end(order, market, EXPIRED)))
        for market in markets.values():
            market.publish_changes(events)
        events.append(AdminOutcome(seq))
        return events


def replaced(order: Order) -> OrderReplaced:
    account = order.account
    account.number += 1
    number, left = account.number, order.remaining
    return OrderReplaced(
        account.account_id, number, order.order_id, order.client_order_id, order.quantity, order.price, left
    )


def expired(order: Order, left: int) -> OrderExpired:
    account = order.account
    account.number += 1
    return OrderExpired(account.account_id, account.number, order.order_id, order.client_order_id, left)
