"""What holds of every state, whatever led to it: nothing is made or lost, and every sum is what its parts come to.

    cash and holdings   of each asset come to zero over all accounts, with the venue's own, which takes the fees
    positions           in each instrument come to zero over all accounts
    books               are uncrossed, and hold the open orders of the accounts, each once, at its price
    reservations        are what the open orders need, and so is what they could bring and take

The engine keeps all of these sums as it goes; here they are worked out anew from the parts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from engine.accounts import Account, Position
from engine.exchange import Exchange
from engine.fixed import SCALE
from engine.market import Market
from engine.order import BUY, Order, Side


def audit(exchange: Exchange) -> Iterator[str]:
    """What does not hold, in words; nothing where all does."""
    yield from sum_faults(exchange)
    resting: dict[int, Order] = {}
    for name, market in sorted(exchange.registry.markets.items()):
        yield from book_faults(name, market, resting)
    for _, account in sorted(exchange.accounts.items()):
        yield from account_faults(account, resting)
    for order_id in sorted(resting):
        yield f"order {order_id} rests in a book, and is no open order of an account"


def sum_faults(exchange: Exchange) -> Iterator[str]:
    """What does not come to zero over all accounts."""
    assets: defaultdict[str, int] = defaultdict(int)
    instruments: defaultdict[str, int] = defaultdict(int)
    for account in exchange.accounts.values():
        for asset, balance in account.balances.items():
            assets[asset] += balance.total
        for name, position in account.positions.items():
            instruments[name] += position.quantity
    for asset, total in sorted(assets.items()):
        if total:
            yield f"all that there is of {asset} comes to {total}, not to zero"
    for name, total in sorted(instruments.items()):
        if total:
            yield f"all positions in {name} come to {total}, not to zero"


def book_faults(name: str, market: Market, resting: dict[int, Order]) -> Iterator[str]:
    """What is wrong with a book; its orders are added to `resting`."""
    best: list[int] = []
    for side in Side:
        ladder = market.book.ladders[side]
        if list(ladder.ranks) != sorted(ladder.levels):
            yield f"the book of {name} has other prices than levels"
        for rank in ladder.ranks:
            level = ladder.levels[rank]
            orders = list(level.orders())
            if not orders or sum(order.remaining for order in orders) != level.quantity:
                yield f"the level {level.price} in the book of {name} is not what its orders come to"
            for order in orders:
                if order.side != side or order.price != level.price or order.remaining <= 0:
                    yield f"order {order.order_id} does not belong to the level {level.price} of {name}"
                if order.content.instrument_id != name or order.order_id in resting:
                    yield f"order {order.order_id} does not belong in the book of {name}"
                resting[order.order_id] = order
        best += [] if ladder.best is None else [ladder.best.price]
    if len(best) == len(Side) and best[0] >= best[1]:
        yield f"the book of {name} is crossed: buyers at {best[0]}, sellers at {best[1]}"


def account_faults(account: Account, resting: dict[int, Order]) -> Iterator[str]:
    """What is wrong with an account; its orders are taken out of `resting`."""
    reserved: defaultdict[str, int] = defaultdict(int)
    open_sums = {name: [0, 0, 0, 0] for name in account.positions}
    number = account.account_id
    for order_id, order in account.resting.items():
        if resting.pop(order_id, None) is not order:
            yield f"order {order_id} of account {number} is open, and rests in no book"
            continue
        if order.remaining + order.filled != order.quantity:
            yield f"order {order_id} has {order.filled} filled and {order.remaining} left of {order.quantity}"
        add_to(open_sums[order.content.instrument_id], reserved, order)
    for name, position in sorted(account.positions.items()):
        if open_sums[name] != held(position):
            yield f"account {number} counts as open in {name} what its orders there do not come to"
    for asset, balance in sorted(account.balances.items()):
        if balance.reserved != reserved[asset]:
            yield f"account {number} has {balance.reserved} {asset} reserved; its open orders need {reserved[asset]}"


def held(position: Position) -> list[int]:
    return [position.open_buy, position.open_sell, position.incoming, position.outgoing]


def add_to(sums: list[int], reserved: defaultdict[str, int], order: Order) -> None:
    """Count an open order among its position's sums and its account's reservations."""
    left, price, rates, position = order.remaining, order.price, order.rates, order.position
    if order.side == BUY:
        moves = [left, 0, rates.rebate * left, (price + rates.charge) * left]
        asset, needed = position.quote.asset, price * left // SCALE
    else:
        moves = [0, left, (price + rates.rebate) * left, rates.charge * left]
        asset, needed = (position.base.asset if position.base else ""), left
    sums[:] = [total + move for total, move in zip(sums, moves, strict=True)]
    if position.settles_in_cash:
        reserved[asset] += needed
