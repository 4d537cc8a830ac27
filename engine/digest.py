"""One number for the whole state: equal for equal histories, in any process.

It covers configuration, accounts, orders (the closed ones that are kept too), books in price-time order and the
counters of ids. Closed orders count in the form in which an archive keeps them, in order of closing, so that none has
to be made live for it. It leaves out the counters of events, and the numbers that outcomes were given: a refused
command advances those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec.msgpack import Encoder

from engine.accounts import Account
from engine.archive import closed_form
from engine.market import Market
from engine.order import Order

if TYPE_CHECKING:
    from engine.exchange import Exchange

CANONICAL = Encoder(order="sorted")


def digest(exchange: Exchange) -> str:
    """SHA-256 of the state, in hexadecimal."""
    total = hashlib.sha256()
    for part in parts(exchange):
        total.update(part if isinstance(part, bytes | memoryview) else CANONICAL.encode(part))
    return total.hexdigest()


def parts(exchange: Exchange) -> Iterator[object]:
    registry = exchange.registry
    yield registry.instruments, registry.fee_schedules, registry.risk_profiles, registry.roles, registry.venue
    yield registry.named_accounts
    yield sorted(registry.invites.items())
    yield exchange.entry.last_order_id, exchange.matching.last_trade_id
    for _, account in sorted(registry.accounts.items()):
        yield from account_parts(account)
    for name, market in sorted(registry.markets.items()):
        yield name, market.last_price, str(market.volume)
        yield from book_parts(market)


def account_parts(account: Account) -> Iterator[object]:
    yield account.account_id, account.name, account.role, account.risk_profile, account.key_hash
    # The venue's own sums have no bound, and msgpack's integers do: as text, they fit.
    yield [[b.asset, str(b.total), b.reserved] for _, b in sorted(account.balances.items())]
    for name, position in sorted(account.positions.items()):
        yield name, position.quantity, position.open_buy, position.open_sell
    for order in account.orders.values():
        if order.remaining:
            yield order_part(order)
    if account.archive is not None:
        yield account.archive.states.since(account.archive.first)
    for order in account.closed:
        yield closed_form(order)


def order_part(order: Order) -> tuple[object, ...]:
    number, content, rates = order.order_id, order.content, order.rates
    state = order.status, order.quantity, order.price, order.remaining, order.filled
    paid = str(order.cost), order.fees, order.liquidity, rates.maker, rates.taker
    return number, content, *state, *paid, order.submitted_at_ns, order.expires_at_ns


def book_parts(market: Market) -> Iterator[object]:
    for ladder in market.book.ladders:
        for rank in ladder.ranks:
            level = ladder.levels[rank]
            yield level.price, level.quantity, [order.order_id for order in level.orders()]
