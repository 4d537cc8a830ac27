"""The checks before an order may trade: a flat list, in order of precedence, of which the first failure is the answer.

The list is made once for an account in an instrument, from the account's risk profile and the instrument: what is off
is not in it. Every check counts what could happen: the order as if it filled whole, together with all that is open.
`worth` is the most of the quote asset that the order's trades could move: its price x quantity, or the cost at the
levels that it would take now where that is more (a seller better paid than it asks) or all there is to go by (a market
order).
"""

from __future__ import annotations

from collections.abc import Callable

from engine.accounts import Balance
from engine.book import Book
from engine.fixed import INT64_MAX, SCALE, text
from engine.instrument import Instrument, RiskProfile
from engine.market import Market
from engine.order import Order, Side
from engine.reject import Refusal, RejectReason

BUY = Side.BUY
Check = Callable[[Order, Market, int], Refusal | None]


def checks(instrument: Instrument, profile: RiskProfile) -> tuple[Check, ...]:
    """What an account of this profile is held to in this instrument."""
    enabled: list[Check] = [in_range]
    if instrument.least_notional is not None:
        enabled.append(least_notional)
    if instrument.position_limit is not None and not profile.no_position_limit:
        enabled.append(position_limit)
    if instrument.settles_in_cash:
        enabled.append(funds)
    return tuple(enabled)


def worth(order: Order, book: Book) -> int:
    """The most of the quote asset that the trades of `order` could move, in units of 1e-9."""
    price, side, quantity = order.price, order.side, order.remaining
    if price and (side == BUY or not book.crosses(side, order.rank)):
        return price * quantity // SCALE
    taken, cost = book.reach(side, order.rank, quantity)
    return cost + price * (quantity - taken) // SCALE


def in_range(order: Order, market: Market, worth: int) -> Refusal | None:
    """Nothing that could come of the order, with all that is open, leaves int64; nor does the level it would join."""
    position, rates, quantity = order.position, order.rates, order.remaining
    quote, base = position.quote, position.base
    charge, rebate = rates.charge * quantity // SCALE, rates.rebate * quantity // SCALE
    if order.side == BUY:
        fits = (
            worth + quote.outgoing + charge - quote.total <= INT64_MAX
            and quote.total + quote.incoming + rebate <= INT64_MAX
            and position.quantity + position.open_buy + quantity <= INT64_MAX
            and (base is None or base.total + base.incoming + quantity <= INT64_MAX)
        )
    else:
        fits = (
            worth + quote.incoming + rebate + quote.total <= INT64_MAX
            and quote.outgoing + charge - quote.total <= INT64_MAX
            and position.open_sell + quantity - position.quantity <= INT64_MAX
            and (base is None or base.outgoing + quantity - base.total <= INT64_MAX)
        )
    level = market.book.ladders[order.side].levels.get(order.rank)
    if level is not None and level.quantity + quantity > INT64_MAX:
        fits = False
    if fits and worth <= INT64_MAX and rates.largest * order.quantity // SCALE <= INT64_MAX:
        return None
    return Refusal(RejectReason.NOTIONAL_OUT_OF_RANGE, "Order is too large for the account to hold its result")


def least_notional(order: Order, market: Market, worth: int) -> Refusal | None:
    """Price x quantity is at least the instrument's; of a market order, what it would trade now, if anything."""
    instrument = market.instrument
    least = instrument.least_notional or 0
    notional = order.price * order.quantity // SCALE if order.price else worth
    if notional >= least or not notional:
        return None
    words = f"Order of {text(notional)} {instrument.quote_asset} is below the least of {text(least)}"
    return Refusal(RejectReason.NOTIONAL_OUT_OF_RANGE, words, {"notional": notional, "least_notional": least})


def position_limit(order: Order, market: Market, worth: int) -> Refusal | None:
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


def funds(order: Order, market: Market, worth: int) -> Refusal | None:
    """A buyer has what the order would cost, a seller has what it would deliver. Fees are not counted."""
    position = order.position
    balance: Balance
    if order.side == BUY or position.base is None:
        balance, required = position.quote, worth
    else:
        balance, required = position.base, order.remaining
    available = balance.total - balance.reserved
    if required <= available:
        return None
    asset = balance.asset
    words = f"Insufficient funds for {text(required)} {asset} order; available: {text(available)} {asset}"
    amounts = {"required_balance": required, "available_balance": available}
    return Refusal(RejectReason.INSUFFICIENT_FUNDS, words, amounts)
