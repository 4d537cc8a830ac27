"""The checks before an order may trade: a flat list, in order of precedence, of which the first failure is the answer.

The list is made once for an account in an instrument, from the account's risk profile and the instrument: what is off
is not in it. Every check counts what could happen: the order as if it filled whole, together with all that is open.
`worth` is the order's price x quantity, or for a market
order the cost at the levels that it would take now.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.accounts import Balance, tighten
from engine.fixed import INT64_MAX, SCALE, text
from engine.instrument import Instrument, RiskProfile
from engine.market import Market
from engine.order import BUY, Order, TimeInForce
from engine.reject import Refusal, RejectReason

FOK = int(TimeInForce.FOK)
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


def risk_refusal(order: Order, market: Market) -> Refusal | None:
    """Why the order may not be, as things stand, if so. Changes nothing but the order's own span."""
    book, price, quantity = market.book, order.price, order.remaining
    if price:
        worth = most = price * quantity // SCALE
        if order.side != BUY and (best := book.ladders[BUY].best) is not None and best.price > price:
            most = best.price * quantity // SCALE
    else:
        _, worth = book.reach(order.side, order.rank, quantity)
        most = worth
    order.span = most + order.rates.span * order.quantity // SCALE
    for check in order.position.checks:
        refusal = check(order, market, worth)
        if refusal is not None:
            return refusal
    if order.content.time_in_force == FOK:
        return whole_fill(order, market)
    return None


def in_range(order: Order, market: Market, worth: int) -> Refusal | None:
    """Nothing that could come of the order, with all that is open, leaves int64; nor does the level it would join."""
    account, book = order.account, market.book
    if account.bound + order.span <= INT64_MAX and book.bound + order.remaining <= INT64_MAX:
        return None
    level = book.ladders[order.side].levels.get(order.rank)
    fits = level is None or level.quantity + order.remaining <= INT64_MAX
    if fits:
        tighten(account)
        fits = account.bound + order.span <= INT64_MAX or fits_exactly(order, market)
    if fits:
        return None
    return Refusal(RejectReason.NOTIONAL_OUT_OF_RANGE, "Order is too large for the account to hold its result")


def fits_exactly(order: Order, market: Market) -> bool:
    """Whether everything open, and this too, could trade and leave all the account's sums within int64.

    Looks at every open order of the account, so it is asked only near the end of the range.
    """
    account, position = order.account, order.position
    taken, cost = market.book.reach(order.side, order.rank, order.remaining)
    worth = cost + order.price * (order.remaining - taken) // SCALE
    if order.side == BUY and order.price:
        worth = order.price * order.remaining // SCALE
    fees = max(order.rates.charge, order.rates.rebate) * order.quantity // SCALE
    up: dict[str, int] = {}
    down: dict[str, int] = {}
    moves = [(order, worth)]
    # An order that is being replaced is among the open ones, and counted out.
    moves += [(o, o.price * o.remaining // SCALE) for o in account.resting.values() if o.order_id != order.order_id]
    for other, amount in moves:
        quantity, quote, base = other.remaining, other.position.quote, other.position.base
        gains, gives = (down, up) if other.side == BUY else (up, down)
        gains[quote.asset] = gains.get(quote.asset, 0) + amount
        up[quote.asset] = up.get(quote.asset, 0) + other.rates.rebate * quantity // SCALE
        down[quote.asset] = down.get(quote.asset, 0) + other.rates.charge * quantity // SCALE
        if base is not None:
            gives[base.asset] = gives.get(base.asset, 0) + quantity
    sums = [worth, fees]
    sums += [account.balance(asset).total + amount for asset, amount in up.items()]
    sums += [amount - account.balance(asset).total for asset, amount in down.items()]
    if order.side == BUY:
        sums.append(position.quantity + position.open_buy + order.remaining)
    else:
        sums.append(position.open_sell + order.remaining - position.quantity)
    return max(sums) <= INT64_MAX


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


def whole_fill(order: Order, market: Market) -> Refusal | None:
    """A fill-or-kill order can trade whole now."""
    available, _ = market.book.reach(order.side, order.rank, order.remaining)
    if available >= order.remaining:
        return None
    amounts = {"order_quantity": order.remaining, "available_quantity": available}
    return Refusal(RejectReason.FOK_NOT_FILLABLE, "Not enough quantity to fill the order at once", amounts)
