"""New orders: recognised if sent before, judged, accepted, matched, and then resting or ended."""

from __future__ import annotations

from msgspec.structs import replace

from engine.accounts import Account
from engine.book import MARKET_RANK
from engine.commands import NewOrder
from engine.events import Event, OrderAccepted, OrderOutcome, OrderRejected
from engine.expiries import next_midnight_ns
from engine.form import form_refusal
from engine.matching import Matching, cancelled
from engine.order import BUY, CANCELLED, Order, OrderType, TimeInForce
from engine.outcomes import outcome_of, refused, unknown_account
from engine.registry import HOUSE, Registry
from engine.reject import Refusal, RejectReason
from engine.risk import risk_refusal

DAY, IOC, FOK = int(TimeInForce.DAY), int(TimeInForce.IOC), int(TimeInForce.FOK)
MARKET = int(OrderType.MARKET)


class Entry:
    """Takes NewOrder commands. Order ids are counted here."""

    def __init__(self, registry: Registry, matching: Matching) -> None:
        self.registry = registry
        self.matching = matching
        self.accounts = registry.accounts
        self.markets = registry.markets
        self.last_order_id = 0

    def new_order(self, seq: int, time_ns: int, command: NewOrder) -> list[Event]:
        account = self.accounts.get(command.account)
        if account is None:
            return [self.refuse(command, 0, unknown_account(command.account), seq, time_ns)]
        verdict = self.judge(account, command, time_ns)
        if isinstance(verdict, Order):
            return self.enter(verdict, account, command, seq, time_ns)
        if isinstance(verdict, OrderOutcome):
            return [verdict]
        account.number += 1
        client_order_id, name = command.client_order_id, command.instrument_id
        event = OrderRejected(account.account_id, account.number, client_order_id, name, verdict)
        return [event, self.refuse(command, account.number, verdict, seq, time_ns)]

    def validate(self, time_ns: int, command: NewOrder) -> OrderOutcome:
        """What would become of the order; nothing changes. `new` and order id 0 where it would be accepted."""
        account = self.accounts.get(command.account)
        if account is None:
            return self.refuse(command, 0, unknown_account(command.account), 0, time_ns)
        verdict = self.judge(account, command, time_ns)
        if isinstance(verdict, OrderOutcome):
            return verdict
        if isinstance(verdict, Refusal):
            return self.refuse(command, account.number, verdict, 0, time_ns)
        return outcome_of(verdict, (), 0, time_ns)

    def refuse(self, command: NewOrder, number: int, refusal: Refusal, seq: int, time_ns: int) -> OrderOutcome:
        return refused(command.account, 0, command.client_order_id, number, refusal, seq, time_ns)

    def judge(self, account: Account, command: NewOrder, time_ns: int) -> Order | OrderOutcome | Refusal:
        """The order as it can be entered, or what became of it when it was sent before, or why it cannot be entered.

        Changes nothing.
        """
        first = account.by_client_order_id.get(command.client_order_id)
        if first is None and account.archive is not None:
            first = account.archive.named(account, command.client_order_id)
        if first is not None:
            return sent_before(first, command)
        market = self.markets.get(command.instrument_id)
        if market is None:
            return self.unknown_instrument(command.instrument_id)
        if not account.account_id:
            return unknown_account(HOUSE)
        refusal = form_refusal(command, market.instrument, time_ns)
        if refusal is not None:
            return refusal
        name, side, quantity, price = command.client_order_id, command.side, command.quantity, command.price or 0
        rank = MARKET_RANK if command.order_type == MARKET else -price if side == BUY else price
        expires_at_ns = next_midnight_ns(time_ns) if command.time_in_force == DAY else command.expires_at_ns
        position = account.positions.get(command.instrument_id) or self.registry.position(account, market.instrument)
        rates = account.rates
        order = Order(
            0, account, position, command, rates, name, side, quantity, price, rank, time_ns, expires_at_ns, quantity
        )
        return risk_refusal(order, market) or order

    def unknown_instrument(self, name: str) -> Refusal:
        texts: dict[str, str | list[str]] = {
            "requested_instrument": name,
            "available_instruments": sorted(self.markets),
        }
        return Refusal(RejectReason.INVALID_INSTRUMENT, f"Unknown instrument: {name}", {}, texts)

    def enter(self, order: Order, account: Account, command: NewOrder, seq: int, time_ns: int) -> list[Event]:
        """Accept an order that was judged, trade it, and let the rest of it wait or end."""
        market = self.markets[command.instrument_id]
        events: list[Event] = [self.accept(order, account, command)]
        best = market.book.ladders[3 - order.side].best
        fills = self.matching.match(order, market, events) if best is not None and best.rank <= -order.rank else ()
        if order.remaining:
            if command.order_type == MARKET:
                self.cancel_rest(order, "no_liquidity", events)
            elif command.time_in_force == IOC:
                self.cancel_rest(order, "immediate_or_cancel", events)
            else:
                self.matching.rest(order, market)
        market.publish_changes(events)
        outcome = outcome_of(order, fills, seq, time_ns)
        if order.client_order_id:
            order.outcome = outcome
        events.append(outcome)
        return events

    def accept(self, order: Order, account: Account, command: NewOrder) -> OrderAccepted:
        """Give an order its id, and let the account keep it."""
        name, client_order_id = command.instrument_id, command.client_order_id
        self.last_order_id = order.order_id = order_id = self.last_order_id + 1
        account.number = number = account.number + 1
        account.bound += order.span
        if name not in account.positions:
            account.adopt(order.position)
        account.orders[order_id] = order
        account.history.append(order)
        if client_order_id:
            account.by_client_order_id[client_order_id] = order
        return OrderAccepted(
            account.account_id,
            number,
            order_id,
            client_order_id,
            name,
            order.side,
            command.order_type,
            command.time_in_force,
            order.quantity,
            command.price,
            order.expires_at_ns,
        )

    def cancel_rest(self, order: Order, reason: str, events: list[Event]) -> None:
        left = self.matching.drop(order, CANCELLED)
        events.append(cancelled(order, left, reason))


def sent_before(first: Order, command: NewOrder) -> OrderOutcome | Refusal:
    """What became of `first` when it came, if this is the same order again: every field counts but attempt, channel."""
    same = first.content == replace(command, attempt=first.content.attempt, channel=first.content.channel)
    if same and first.outcome is not None:
        return replace(first.outcome, duplicate=True)
    words = f"Client order id is taken by another order: {command.client_order_id}"
    return Refusal(RejectReason.DUPLICATE_CLIENT_ORDER_ID, words)
