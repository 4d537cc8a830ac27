"""The state as bytes, and back: all that the next commands and queries depend on, in a form of its own version.

A snapshot is a sequence of parts, each behind its length: the venue's own, then each account's, and after an account
its archive of closed orders. What follows from the rest (levels, what open orders hold, bounds, checks, whose a key
is) is worked out again by the code that always does. Equal histories give equal bytes, in any process, and whether or
not they went through snapshots; a restored exchange says of all that follows what the first one would say.

Open orders become live again. Closed ones stay bytes, slices of what `restore` is given (see archive.py), so that
a start takes the same however many there are. Files and checksums are the caller's: a digit that has changed on its
way is not noticed here.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import DecodeError, Struct
from msgspec.msgpack import Decoder, Encoder

from engine.accounts import Account, Balance, Rates, hold, rates_of, tighten
from engine.archive import EMPTY, Archive
from engine.book import rank_of
from engine.commands import NewOrder, PutVenue
from engine.events import OrderOutcome
from engine.exchange import Exchange
from engine.expiries import Expiries
from engine.fixed import Wide, narrow, wide
from engine.instrument import FeeSchedule, Instrument, RiskProfile, Role
from engine.market import Market
from engine.order import BUY, SELL, Liquidity, Order, OrderStatus
from engine.registry import HOUSE, Registry

VERSION = 1
LENGTH_BYTES = 8
SIDES = BUY, SELL


class SnapshotInvalid(Exception):
    """These bytes are no snapshot that this version can read, and why."""


class Versioned(Struct, array_like=True):
    """The beginning of every snapshot, of whatever version."""

    version: int


class MarketState(Struct, frozen=True, array_like=True):
    """`queues` are the ids of resting orders in price-time order, buyers first."""

    number: int
    last_price: int | None
    volume: Wide
    queues: tuple[list[int], list[int]]


class VenueState(Struct, frozen=True, array_like=True):
    """Names are in order of their making, and each instrument's market in its place. `accounts` is how many follow."""

    version: int
    venue: PutVenue
    instruments: list[Instrument]
    fee_schedules: list[FeeSchedule]
    risk_profiles: list[RiskProfile]
    roles: list[Role]
    named_accounts: dict[str, int]
    invites: list[tuple[bytes, str]]
    last_order_id: int
    last_trade_id: int
    markets: list[MarketState]
    expiries: list[tuple[int, list[int]]]
    accounts: int


class OpenOrder(Struct, frozen=True, gc=False, array_like=True):
    """An order that rests, with the fees it was entered under."""

    order_id: int
    content: NewOrder
    maker: int
    taker: int
    quantity: int
    price: int
    submitted_at_ns: int
    expires_at_ns: int | None
    remaining: int
    status: OrderStatus
    filled: int
    cost: Wide
    fees: int
    liquidity: Liquidity
    outcome: OrderOutcome | None


class AccountState(Struct, frozen=True, array_like=True):
    """`resting` is in the account's own order. `archive` has the lengths of the archive's parts, which follow."""

    account_id: int
    name: str
    role: str
    risk_profile: str
    key_hash: bytes
    number: int
    balances: list[tuple[str, Wide]]
    positions: list[tuple[str, int]]
    resting: list[OpenOrder]
    archive: list[int]


ENCODER = Encoder()
VERSIONED, VENUE, ACCOUNT = Decoder(Versioned), Decoder(VenueState), Decoder(AccountState)


def snapshot(exchange: Exchange) -> Iterator[bytes | memoryview]:
    """The state in pieces, to be written one after another before the next command is applied."""
    registry = exchange.registry
    yield from framed(venue_state(exchange))
    for account in registry.accounts.values():
        archive = account.archive or EMPTY
        if account.closed or archive.first:
            archive = archive.extended(account.closed)
        parts = archive.parts() if len(archive) else []
        yield from framed(account_state(account, [len(part) for part in parts]))
        yield from parts


def framed(part: Struct) -> tuple[bytes, bytes]:
    data = ENCODER.encode(part)
    return len(data).to_bytes(LENGTH_BYTES, "little"), data


def venue_state(exchange: Exchange) -> VenueState:
    registry, matching = exchange.registry, exchange.matching
    return VenueState(
        VERSION,
        registry.venue,
        list(registry.instruments.values()),
        list(registry.fee_schedules.values()),
        list(registry.risk_profiles.values()),
        list(registry.roles.values()),
        registry.named_accounts,
        list(registry.invites.items()),
        exchange.entry.last_order_id,
        matching.last_trade_id,
        [market_state(registry.markets[name]) for name in registry.instruments],
        [(moment, list(matching.expiries.due[moment])) for moment in matching.expiries.times],
        len(registry.accounts),
    )


def market_state(market: Market) -> MarketState:
    buyers, sellers = ([order.order_id for order in market.book.resting(side)] for side in SIDES)
    return MarketState(market.number, market.last_price, wide(market.volume), (buyers, sellers))


def account_state(account: Account, archive: list[int]) -> AccountState:
    return AccountState(
        account.account_id,
        account.name,
        account.role,
        account.risk_profile,
        account.key_hash,
        account.number,
        [(asset, wide(balance.total)) for asset, balance in account.balances.items()],
        [(name, position.quantity) for name, position in account.positions.items()],
        [open_order(order) for order in account.resting.values()],
        archive,
    )


def open_order(order: Order) -> OpenOrder:
    return OpenOrder(
        order.order_id,
        order.content,
        order.rates.maker,
        order.rates.taker,
        order.quantity,
        order.price,
        order.submitted_at_ns,
        order.expires_at_ns,
        order.remaining,
        order.status,
        order.filled,
        wide(order.cost),
        order.fees,
        order.liquidity,
        order.outcome,
    )


def restore(data: bytes | memoryview) -> Exchange:
    """The exchange that was written. It keeps slices of `data`, which must stay as it is. SnapshotInvalid otherwise."""
    try:
        return Reading(memoryview(data).cast("B")).exchange()
    except (DecodeError, ValueError, LookupError) as problem:
        raise SnapshotInvalid(f"Not a snapshot, or a damaged one: {problem!r}") from problem


class Reading:
    """A snapshot on its way back, taken from the front."""

    def __init__(self, rest: memoryview) -> None:
        self.rest = rest
        self.orders: dict[int, Order] = {}
        self.rates: dict[tuple[int, int], Rates] = {}

    def take(self, length: int) -> memoryview:
        if length > len(self.rest):
            raise ValueError("it ends too early")
        taken, self.rest = self.rest[:length], self.rest[length:]
        return taken

    def part(self) -> memoryview:
        return self.take(int.from_bytes(self.take(LENGTH_BYTES), "little"))

    def exchange(self) -> Exchange:
        head = self.part()
        version = VERSIONED.decode(head).version
        if version != VERSION:
            raise SnapshotInvalid(f"The snapshot has version {version}, this engine reads version {VERSION}")
        state, exchange = VENUE.decode(head), Exchange()
        registry = exchange.registry
        registry.venue = state.venue
        registry.instruments.update((each.instrument_id, each) for each in state.instruments)
        registry.fee_schedules.update((each.name, each) for each in state.fee_schedules)
        registry.risk_profiles.update((each.name, each) for each in state.risk_profiles)
        registry.roles.update((each.name, each) for each in state.roles)
        registry.named_accounts.update(state.named_accounts)
        registry.invites.update(state.invites)
        exchange.entry.last_order_id, exchange.matching.last_trade_id = state.last_order_id, state.last_trade_id
        for _ in range(state.accounts):
            self.account(registry)
        for instrument, market in zip(state.instruments, state.markets, strict=True):
            registry.markets[instrument.instrument_id] = self.market(instrument, market, registry)
        for moment, order_ids in state.expiries:
            self.expire(exchange.matching.expiries, moment, order_ids)
        if self.rest:
            raise ValueError("it goes on after its end")
        return exchange

    def account(self, registry: Registry) -> None:
        state = ACCOUNT.decode(self.part())
        number = state.account_id
        account = registry.house
        if number != HOUSE:
            schedule = registry.fee_schedules[registry.roles[state.role].fee_schedule]
            account = registry.accounts[number] = Account(number, state.name, state.role, rates_of(schedule))
        account.risk_profile, account.key_hash, account.number = state.risk_profile, state.key_hash, state.number
        if account.key_hash:
            registry.account_by_key[account.key_hash] = number
        for asset, total in state.balances:
            account.balances[asset] = Balance(asset)
            account.balances[asset].total = narrow(total)
        for name, quantity in state.positions:
            position = registry.position(account, registry.instruments[name])
            position.quantity = quantity
            account.adopt(position)
        for waiting in state.resting:
            order = account.resting[waiting.order_id] = self.order(account, waiting)
            hold(order, order.remaining)
        tighten(account)
        account.history = sorted(account.resting.values(), key=lambda order: order.order_id)
        account.orders = {order.order_id: order for order in account.history}
        account.by_client_order_id = {o.client_order_id: o for o in account.history if o.client_order_id}
        if state.archive:
            account.archive = Archive.of([self.take(length) for length in state.archive])

    def order(self, account: Account, state: OpenOrder) -> Order:
        content, fees = state.content, (state.maker, state.taker)
        rates = self.rates.get(fees)
        if rates is None:
            rates = self.rates[fees] = rates_of(FeeSchedule("", *fees))
        order = self.orders[state.order_id] = Order(
            state.order_id,
            account,
            account.positions[content.instrument_id],
            content,
            rates,
            content.client_order_id,
            content.side,
            state.quantity,
            state.price,
            rank_of(content.side, state.price),
            state.submitted_at_ns,
            state.expires_at_ns,
            state.remaining,
            state.status,
            state.filled,
            narrow(state.cost),
            state.fees,
            state.liquidity,
            outcome=state.outcome,
        )
        return order

    def market(self, instrument: Instrument, state: MarketState, registry: Registry) -> Market:
        market = Market(instrument, registry.house_balance(instrument.quote_asset))
        market.number, market.last_price, market.volume = state.number, state.last_price, narrow(state.volume)
        for queue in state.queues:
            for order_id in queue:
                market.book.rest(self.orders[order_id])
        market.book.changes.clear()
        return market

    def expire(self, expiries: Expiries, moment: int, order_ids: list[int]) -> None:
        for order_id in order_ids:
            expiries.add(self.orders[order_id], moment)
