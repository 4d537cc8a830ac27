"""The exchange against the naive one, on random instructions: every event the same, and what must hold afterwards."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.commands import Command, NewOrder
from engine.events import AdminOutcome, CancelAllOutcome, OrderOutcome
from engine.exchange import Exchange
from engine.fixed import INT64_MAX
from engine.instrument import FeeSchedule
from engine.order import Side
from tests.engine.flows import FLOWS, HOLDERS, INSTRUMENTS, LOT, ONE, SEEDS, Dice, Pair
from tests.engine.naive_ledger import Holder

Flow = list[tuple[int, Command]]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(FLOWS)
def test_the_exchange_says_what_the_naive_one_says_of_every_instruction(flow: Flow) -> None:
    pair = Pair()
    for wait, command in flow:
        pair.run(wait, command)
    require_agreement(pair)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(FLOWS)
def test_a_refused_or_repeated_command_leaves_the_state_as_it_was(flow: Flow) -> None:
    pair = Pair()
    for wait, command in flow:
        pair.run(wait, command)
        command = pair.addressed(command)
        before = pair.exchange.digest()
        dry = pair.exchange.validate(pair.now, command) if isinstance(command, NewOrder) else None
        outcome = pair.apply(command)[-1]
        assert not isinstance(outcome, AdminOutcome)
        if dry is not None:
            assert isinstance(outcome, OrderOutcome)
            assert (dry.refusal, dry.duplicate) == (outcome.refusal, outcome.duplicate)
        if outcome.refusal is not None or getattr(outcome, "duplicate", False):
            assert pair.exchange.digest() == before
        elif not isinstance(outcome, CancelAllOutcome):
            assert pair.exchange.digest() != before or command.__class__.__name__ == "ReplaceOrder"


HUGE_QUANTITIES = (INT64_MAX - INT64_MAX % LOT, 2**62 - 2**62 % LOT, 4 * 10**18, 10**18, ONE)


def huge_order(seed: int) -> NewOrder:
    dice = Dice(seed)
    quantity, price = dice.of(*HUGE_QUANTITIES), dice.of(1, 2, 3, 9) * ONE
    return NewOrder(
        dice.of(1, 2, 3), "", dice.of("OPT", "SHR", "SWP"), dice.of(1, 2), 1, dice.of(1, 1, 1, 4), quantity, price
    )


RICH = {
    1: Holder({"USD": INT64_MAX, "SHR": INT64_MAX}, FeeSchedule("f", -5 * ONE, 7 * ONE), unlimited=True),
    2: Holder({"USD": 2**62, "SHR": 2**62}, FeeSchedule("g", 0, 0), unlimited=True),
    3: Holder({}, FeeSchedule("h", ONE // 20, ONE // 10), unlimited=True),
}


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(SEEDS.map(huge_order), min_size=15, max_size=40))
def test_no_fill_ever_takes_a_balance_a_position_or_a_level_beyond_int64(orders: list[NewOrder]) -> None:
    pair = Pair(RICH)
    for order in orders:
        pair.run(0, order)
        require_range(pair.exchange)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(FLOWS)
def test_a_replay_has_the_same_digest_and_events(flow: Flow) -> None:
    pair = Pair()
    said = [pair.run(wait, command) for wait, command in flow]
    again, repeated = Pair(), []
    for wait, command in flow:
        repeated.append(again.run(wait, command))
    assert repeated == said
    assert again.exchange.digest() == pair.exchange.digest()


def require_agreement(pair: Pair) -> None:
    """The state is what the record of orders and trades comes to; nothing was made or lost; no book is crossed."""
    exchange, naive = pair.exchange, pair.naive
    assets = {asset for holder in HOLDERS.values() for asset in holder.opening}
    for number in HOLDERS:
        balances = {view.asset: (view.total, view.reserved) for view in exchange.balances(number)}
        for asset in assets:
            expected = naive.total(number, asset), naive.reserved(number, asset)
            assert balances.get(asset, (0, 0)) == expected
        for view in exchange.positions(number):
            name = view.instrument_id
            waiting = [o for o in naive.waiting(number) if o["name"] == name]
            bought, sold = (sum(naive.left(o) for o in waiting if o["side"] == side) for side in Side)
            expected_view = naive.position(number, name), bought, sold
            assert (view.position, view.open_buy_quantity, view.open_sell_quantity) == expected_view
        known = [o["id"] for o in naive.known(number)]
        assert [view.order_id for view in exchange.orders(number, include_closed=True)[0]] == known
        assert exchange.last_number(number) == naive.numbers[number]
    for asset in assets:
        assert sum(account.balance(asset).total for account in exchange.accounts.values()) == 0
    for instrument in INSTRUMENTS:
        require_sound_book(pair, instrument.instrument_id)


def require_sound_book(pair: Pair, name: str) -> None:
    book = pair.exchange.book(name)
    assert book is not None
    levels = {(1, price): quantity for price, quantity in book.bids} | {
        (2, price): quantity for price, quantity in book.asks
    }
    assert levels == pair.naive.depth(name)
    assert list(book.bids) == sorted(book.bids, reverse=True)
    assert list(book.asks) == sorted(book.asks)
    assert not book.bids or not book.asks or book.bids[0][0] < book.asks[0][0]
    market = pair.exchange.registry.markets[name]
    for side in Side:
        ladder = market.book.ladders[side]
        queue = [order.order_id for rank in ladder.ranks for order in ladder.levels[rank].orders()]
        assert queue == [order["id"] for order in pair.naive.queue(name, side)]
    assert sum(p.quantity for a in pair.exchange.accounts.values() for n, p in a.positions.items() if n == name) == 0


def require_range(exchange: Exchange) -> None:
    """Every balance, position and level is within int64, and within the account's own bound."""
    for account in exchange.accounts.values():
        if account is not exchange.registry.house:
            sums = [balance.total for balance in account.balances.values()]
            sums += [position.quantity + position.open_buy for position in account.positions.values()]
            sums += [position.quantity - position.open_sell for position in account.positions.values()]
            assert all(abs(amount) <= min(INT64_MAX, account.bound // ONE) for amount in sums)
    for instrument in INSTRUMENTS:
        book = exchange.book(instrument.instrument_id)
        assert book is not None
        assert all(quantity <= INT64_MAX for _, quantity in book.bids + book.asks)
