"""The audit finds nothing wrong with any state that commands led to, and whatever is made wrong by hand."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from engine.audit import audit
from tests.engine.desk import ANN, BOB, ONE, SELL, Desk
from tests.engine.flows import Pair, instruction


def busy() -> Desk:
    desk = Desk()
    desk.buy(ANN, 3, 99)
    desk.sell(BOB, 3, 101)
    desk.buy(ANN, 2, 99, on="AAPL")
    desk.sell(BOB, 2, 101, on="AAPL")
    desk.buy(ANN, 1, 101, on="AAPL")
    return desk


@pytest.mark.parametrize("seed", range(5))
def test_whatever_was_commanded_the_audit_finds_nothing_wrong(seed: int) -> None:
    pair, seeds = Pair(), Random(seed)
    for _ in range(300):
        pair.run(*instruction(seeds.randrange(2**64)))
        assert list(audit(pair.exchange)) == []


def take_cash(desk: Desk) -> None:
    desk.exchange.accounts[ANN].balances["USD"].total -= 1


def take_position(desk: Desk) -> None:
    desk.exchange.accounts[ANN].positions["AAPL"].quantity += 1


def reserve(desk: Desk) -> None:
    desk.exchange.accounts[ANN].balances["USD"].reserved += 1


def count_as_open(desk: Desk) -> None:
    desk.exchange.accounts[BOB].positions["SPX"].outgoing += 1


def leave_the_book(desk: Desk) -> None:
    book = desk.exchange.registry.markets["SPX"].book
    book.remove(next(book.resting(SELL)))


def leave_the_account(desk: Desk) -> None:
    desk.exchange.accounts[ANN].resting.clear()


def grow(desk: Desk) -> None:
    next(desk.exchange.registry.markets["SPX"].book.resting(SELL)).remaining += ONE


def cross(desk: Desk) -> None:
    market = desk.exchange.registry.markets["SPX"]
    order = next(market.book.resting(SELL))
    market.book.remove(order)
    order.price = order.rank = 98 * ONE
    market.book.rest(order)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (take_cash, "USD comes to -1, not to zero"),
        (take_position, "positions in AAPL come to 1, not to zero"),
        (reserve, "its open orders need"),
        (count_as_open, "account 2 counts as open in SPX"),
        (leave_the_book, "is open, and rests in no book"),
        (leave_the_account, "is no open order of an account"),
        (grow, "is not what its orders come to"),
        (cross, "the book of SPX is crossed"),
    ],
)
def test_what_is_made_wrong_is_found(change: Callable[[Desk], None], words: str) -> None:
    desk = busy()
    assert list(audit(desk.exchange)) == []
    change(desk)
    assert any(words in fault for fault in audit(desk.exchange)), list(audit(desk.exchange))
