"""The checks before an order may trade: a flat list, in order of precedence, of which the first failure is the answer.

The list is made once for an account in an instrument, from the account's risk profile and the instrument: what is off
is not in it. One check is always on and comes first, that every sum stays within int64; the account's bound answers it
for almost every order. Every check counts what could happen: the order as if it filled whole, together with all that
is open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from engine.accounts import Balance, open_moves, tighten
from engine.fixed import INT64_MAX, SCALE, text
from engine.instrument import Instrument, RiskProfile
from engine.market import Market
from engine.order import BUY, Order, TimeInForce
from engine.reject import Refusal, RejectReason

FOK = int(TimeInForce.FOK)
FARTHEST = INT64_MAX * SCALE  # what an account's bound may come to, in units of 1e-18
Check = Callable[[Order, Market], Refusal | None]


def checks(instrument: Instrument, profile: RiskProfile) -> tuple[Check, ...]:
    """What an account of this profile is held to in this instrument."""
    enabled: list[Check] = []
    if instrument.least_notional is not None:
        enabled.append(least_notional)
    if instrument.position_limit is not None and not profile.no_position_limit:
        enabled.append(position_limit)
    if instrument.settles_in_cash:
        enabled.append(funds)
    return tuple(enabled)


def risk_refusal(order: Order, market: Market) -> Refusal | None:
    """Why the order may not be, as things stand, if so. Changes nothing but the order's own span."""
    account, book, price = order.account, market.book, order.price
    if price:
        if order.side != BUY and (best := book.ladders[BUY].best) is not None and best.price > price:
            price = best.price  # a seller may be better paid than it asks
        span = (price + order.rates.span) * order.quantity
    else:
        span = worth(order, market) * SCALE + order.rates.span * order.quantity
    order.span = span
    if account.bound + span > FARTHEST or book.bound + order.remaining > INT64_MAX:
        refusal = range_refusal(order, market)
        if refusal is not None:
            return refusal
    for check in order.position.checks:
        refusal = check(order, market)
        if refusal is not None:
            return refusal
    if order.content.time_in_force == FOK:
        return whole_fill(order, market)
    return None


def worth(order: Order, market: Market) -> int:
    """Price x what remains; of a market order, the cost at the levels that it would take now."""
    if order.price:
        return order.price * order.remaining // SCALE
    return market.book.reach(order.side, order.rank, order.remaining)[1]


def range_refusal(order: Order, market: Market) -> Refusal | None:
    """Nothing that could come of the order, with all that is open, leaves int64; nor does the level it would join."""
    account = order.account
    level = market.book.ladders[order.side].levels.get(order.rank)
    if level is None or level.quantity + order.remaining <= INT64_MAX:
        tighten(account)
        if account.bound + order.span <= FARTHEST or max(sums(order, market)) <= INT64_MAX:
            return None
    return Refusal(RejectReason.NOTIONAL_OUT_OF_RANGE, "Order is too large for the account to hold its result")


def sums(order: Order, market: Market) -> Iterator[int]:
    """How far from zero each sum could come by what is open and this order together, in the worst case for each."""
    position, rates, quantity = order.position, order.rates, order.remaining
    quote, base = position.quote, position.base
    incoming, outgoing = open_moves(order.account, quote.asset)
    incoming += rates.rebate * quantity // SCALE
    outgoing += rates.charge * quantity // SCALE
    if order.side == BUY:
        cost = worth(order, market)
        outgoing += cost
        yield position.quantity + position.open_buy + quantity
    else:
        taken, cost = market.book.reach(order.side, order.rank, quantity)
        cost += order.price * (quantity - taken) // SCALE
        incoming += cost
        yield position.open_sell + quantity - position.quantity
    yield cost
    yield max(rates.charge, rates.rebate) * order.quantity // SCALE
    yield quote.total + incoming
    yield outgoing - quote.total
    if base is not None:
        bought, sold = open_moves(order.account, base.asset)
        yield base.total + bought + (quantity if order.side == BUY else 0)
        yield sold + (0 if order.side == BUY else quantity) - base.total


def least_notional(order: Order, market: Market) -> Refusal | None:
    """Price x quantity is at least the instrument's; of a market order, what it would trade now, if anything."""
    instrument = market.instrument
    least = instrument.least_notional or 0
    notional = order.price * order.quantity // SCALE if order.price else worth(order, market)
    if notional >= least or not notional:
        return None
    words = f"Order of {text(notional)} {instrument.quote_asset} is below the least of {text(least)}"
    return Refusal(RejectReason.NOTIONAL_OUT_OF_RANGE, words, {"notional": notional, "least_notional": least})


def position_limit(order: Order, market: Market) -> Refusal | None:
    """The position, the open orders of the same side and this one stay within the limit on either side."""
    position, limit, quantity = order.position, market.instrument.position_limit or 0, order.remaining
    if order.side == BUY:
        open_quantity = position.open_buy
        if position.quantity + open_quantity + quantity <= limit:
            return None
    else:
        open_quantity = position.open_sell
        if open_quantity + quantity - position.quantity <= limit:
            return None
    amounts = {
        "current_position": position.quantity,
        "open_quantity": open_quantity,
        "order_quantity": quantity,
        "position_limit": limit,
        "limit": limit,
    }
    words = f"Order would exceed position limit of ±{text(limit)}"
    return Refusal(RejectReason.POSITION_LIMIT_EXCEEDED, words, amounts)


def funds(order: Order, market: Market) -> Refusal | None:
    """A buyer has what the order would cost, a seller has what it would deliver. Fees are not counted."""
    position = order.position
    balance: Balance
    if order.side == BUY or position.base is None:
        balance, required = position.quote, worth(order, market)
    else:
        balance, required = position.base, order.remaining
    available = balance.total - balance.reserved
    if required <= available:
        return None
    asset = balance.asset
    words = f"Insufficient funds for {text(required)} {asset} order; available: {text(available)} {asset}"
    amounts = {"required_balance": required, "available_balance": available}
    return Refusal(RejectReason.INSUFFICIENT_FUNDS, words, amounts)


def whole_fill(order: Order, market: Market) -> Refusal | None:
    """A fill-or-kill order can trade whole now."""
    available, _ = market.book.reach(order.side, order.rank, order.remaining)
    if available >= order.remaining:
        return None
    amounts = {"order_quantity": order.remaining, "available_quantity": available}
    return Refusal(RejectReason.FOK_NOT_FILLABLE, "Not enough quantity to fill the order at once", amounts)
