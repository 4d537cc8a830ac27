"""A small venue for tests that read as sentences: whole quantities and prices in, events out."""

from __future__ import annotations

from typing import Any

from engine.commands import (
    AdvanceTime,
    CancelAll,
    CancelOrder,
    Command,
    NewOrder,
    PutFeeSchedule,
    PutInstrument,
    PutRiskProfile,
    PutRole,
    PutVenue,
    Register,
    ReplaceOrder,
)
from engine.events import AdminOutcome, Event, OrderOutcome
from engine.exchange import Exchange
from engine.instrument import FeeSchedule, Instrument, RiskProfile, Role

ONE = 10**9
CENT = ONE // 100
BUY, SELL = 1, 2
LIMIT, MARKET = 1, 2
GTC, DAY, GTD, IOC, FOK = 1, 2, 3, 4, 5
ANN, BOB, CAT = 1, 2, 3
SPX = Instrument("SPX", CENT, ONE, "USD", position_limit=50 * ONE)
AAPL = Instrument("AAPL", CENT, ONE, "USD", "AAPL", settles_in_cash=True)
FEES = FeeSchedule("standard", -2 * CENT, 3 * CENT)
OPENING = {"USD": 10_000 * ONE, "AAPL": 100 * ONE}


def fixed(number: int | str) -> int:
    """A whole number, or a decimal in words, in units of 1e-9."""
    whole, _, rest = str(number).partition(".")
    return int(whole) * ONE + int(rest.ljust(9, "0") or 0) * (-1 if whole.startswith("-") else 1)


class Desk:
    """An exchange with two instruments and three accounts, and the shortest way to say things to it."""

    def __init__(self, *extra: Command, kept: int = 100_000) -> None:
        self.exchange = Exchange()
        self.seq = 0
        self.now = 1
        self.said: list[Event] = []
        self.do(PutVenue("open", kept))
        self.do(PutInstrument(SPX))
        self.do(PutInstrument(AAPL))
        self.do(PutFeeSchedule(FEES))
        self.do(PutRiskProfile(RiskProfile("limited")))
        self.do(PutRiskProfile(RiskProfile("unlimited", no_position_limit=True)))
        self.do(PutRole(Role("trader", "standard", "limited", OPENING)))
        for number in (ANN, BOB, CAT):
            self.do(Register(f"team {number}", "trader", key(number)))
        for command in extra:
            self.do(command)

    def do(self, command: Command) -> list[Event]:
        self.seq += 1
        self.said = self.exchange.apply(self.seq, self.now, command)
        return self.said

    def enter(
        self,
        account: int,
        side: int,
        quantity: int | str,
        at: int | str | None = None,
        *,
        on: str = "SPX",
        tif: int = GTC,
        named: str = "",
        expires: int | None = None,
        order_type: int | None = None,
        attempt: int = 0,
    ) -> OrderOutcome:
        price = None if at is None else fixed(at)
        order_type = order_type or (MARKET if at is None else LIMIT)
        command = NewOrder(account, named, on, side, order_type, tif, fixed(quantity), price, expires, attempt)
        return self.outcome(command)

    def buy(self, account: int, quantity: int | str, at: int | str | None = None, **more: Any) -> OrderOutcome:
        return self.enter(account, BUY, quantity, at, **more)

    def sell(self, account: int, quantity: int | str, at: int | str | None = None, **more: Any) -> OrderOutcome:
        return self.enter(account, SELL, quantity, at, **more)

    def cancel(self, account: int, order_id: int = 0, named: str = "") -> OrderOutcome:
        return self.outcome(CancelOrder(account, order_id, named))

    def replace(
        self, account: int, order_id: int, quantity: int | str | None = None, at: int | str | None = None
    ) -> OrderOutcome:
        total = None if quantity is None else fixed(quantity)
        price = None if at is None else fixed(at)
        return self.outcome(ReplaceOrder(account, order_id, "", total, price))

    def cancel_all(self, account: int, on: str = "", side: int = 0) -> list[Event]:
        return self.do(CancelAll(account, on, side))

    def outcome(self, command: Command) -> OrderOutcome:
        last = self.do(command)[-1]
        assert isinstance(last, OrderOutcome)
        return last

    def pass_time(self, until: int) -> list[Event]:
        self.now = until
        return self.do(AdvanceTime())

    def admin(self, command: Command) -> AdminOutcome:
        last = self.do(command)[-1]
        assert isinstance(last, AdminOutcome)
        return last

    def refused(self, command: Command) -> str:
        """The reason why a configuring command is refused."""
        before = self.exchange.digest()
        refusal = self.admin(command).refusal
        assert refusal is not None
        assert self.exchange.digest() == before
        return refusal.reason.name

    @property
    def kinds(self) -> list[str]:
        """What the last command's events were, in order."""
        return [type(event).__name__ for event in self.said]

    def events(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.said if isinstance(event, kind)]

    def bids(self, on: str = "SPX") -> list[tuple[int, int]]:
        return self.levels(on, BUY)

    def asks(self, on: str = "SPX") -> list[tuple[int, int]]:
        return self.levels(on, SELL)

    def levels(self, on: str, side: int) -> list[tuple[int, int]]:
        """Whole prices and quantities of one side, best first."""
        book = self.exchange.book(on, 0)
        assert book is not None
        return [(price // ONE, quantity // ONE) for price, quantity in (book.bids if side == BUY else book.asks)]

    def cash(self, account: int, asset: str = "USD") -> tuple[int, int]:
        """Total and reserved, in units of 1e-9."""
        for view in self.exchange.balances(account):
            if view.asset == asset:
                return view.total, view.reserved
        return 0, 0

    def position(self, account: int, on: str = "SPX") -> int:
        for view in self.exchange.positions(account):
            if view.instrument_id == on:
                return view.position // ONE
        return 0


def key(number: int) -> bytes:
    """A stand-in for the SHA-256 of an API key."""
    return number.to_bytes(32, "big")


def reason(outcome: OrderOutcome) -> str | None:
    return None if outcome.refusal is None else outcome.refusal.reason.name
