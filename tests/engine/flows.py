"""Random instructions for two exchanges that must agree: small prices and quantities, so that orders meet."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

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
from engine.events import BookChanged, Event
from engine.exchange import Exchange
from engine.instrument import FeeSchedule, Instrument, RiskProfile, Role
from tests.engine.naive_exchange import NaiveExchange
from tests.engine.naive_ledger import Holder

ONE = 10**9
DAY = 24 * 60 * 60 * ONE
TICK, LOT = ONE // 100, ONE // 2
KEPT = 3
OPTION = Instrument("OPT", TICK, LOT, "USD", position_limit=5 * ONE)
SHARE = Instrument("SHR", TICK, LOT, "USD", "SHR", settles_in_cash=True, least_notional=2 * TICK)
# Its base asset is what others are paid in, and nobody needs to have it.
SWAP = Instrument("SWP", ONE, LOT, "SHR", "USD")
INSTRUMENTS = [OPTION, SHARE, SWAP]
REBATE = FeeSchedule("rebate", -20_000_000, 30_000_000)
CHARGE = FeeSchedule("charge", 10_000_000, -4_000_000)
HOLDERS = {
    1: Holder({"USD": 40 * TICK, "SHR": 3 * ONE}, REBATE),
    2: Holder({"USD": 1000 * ONE, "SHR": 1000 * ONE}, REBATE, unlimited=True),
    3: Holder({"USD": 200 * TICK}, CHARGE),
}


def opened(holders: dict[int, Holder], kept: int = KEPT) -> list[Command]:
    """The commands that make a venue with these accounts."""
    commands: list[Command] = [PutVenue("open", kept)]
    commands += [PutInstrument(instrument) for instrument in INSTRUMENTS]
    commands += [PutRiskProfile(RiskProfile("limited")), PutRiskProfile(RiskProfile("unlimited", True))]
    for number, holder in holders.items():
        fees = replace(holder.fees, name=f"fees {number}")
        profile = "unlimited" if holder.unlimited else "limited"
        commands += [PutFeeSchedule(fees), PutRole(Role(f"role {number}", fees.name, profile, holder.opening))]
        commands.append(Register(f"team {number}", f"role {number}", number.to_bytes(32, "big")))
    return commands


def naive(holders: dict[int, Holder] = HOLDERS, kept: int = KEPT) -> NaiveExchange:
    return NaiveExchange(INSTRUMENTS, holders, kept)


def real(holders: dict[int, Holder] = HOLDERS, kept: int = KEPT) -> Exchange:
    exchange = Exchange()
    for command in opened(holders, kept):
        exchange.apply(0, 0, command)
    return exchange


ODD_SIDES, ODD_TYPES, ODD_TIMES = (0, 3), (0, 3), (0, 6)
ODD_QUANTITIES, ODD_PRICES = (0, -LOT, LOT + 1), (None, 0, -TICK, TICK + 1)
NAMES = ("OPT", "OPT", "OPT", "SHR", "SHR", "SHR", "SWP")


# Filled in when the instruction's turn comes.
OWNER = 0  # the account of the order that is named
LATER = 10**18  # and so much: that long from now
AGAIN = "again"  # the last order that had a client order id


class Dice:
    """Weighted choices from a seed. Hypothesis picks the seeds, one an instruction, so it can still leave some out."""

    def __init__(self, seed: int) -> None:
        self.below = Random(seed).randrange

    def one_in(self, chances: int) -> bool:
        return self.below(chances) == chances - 1

    def of(self, *values: Any) -> Any:
        return values[self.below(len(values))]

    def instruction(self) -> Command:
        kind = self.below(20)
        if kind < 13:
            return self.new_order()
        if kind < 17:
            return self.replacement()
        if kind < 19:
            return CancelOrder(*self.named())
        return CancelAll(self.of(1, 2, 3), self.of("", "OPT", "SHR", "NONE"), self.of(0, 1, 2, 0, 1, 2, 3))

    def new_order(self) -> NewOrder:
        if self.one_in(16):
            return NewOrder(OWNER, AGAIN, "", 0, 0, 0, 0, attempt=1)
        is_market, name = self.one_in(8), self.of(*NAMES)
        time_in_force = self.of(1, 1, 1, 1, 1, 1, 2, 3, 4, 5)
        order = NewOrder(
            self.of(1, 2, 3),
            self.of("", "", "", "", "a", "b", "c", "d"),
            name,
            self.of(1, 2),
            2 if is_market else 1,
            time_in_force,
            (1 + self.below(8)) * LOT,
            None if is_market else (1 + self.below(8)) * (ONE if name == "SWP" else TICK),
            LATER + self.below(40) if time_in_force == 3 else None,
            self.below(3),
        )
        return self.spoilt(order) if self.one_in(16) else order

    def spoilt(self, order: NewOrder) -> NewOrder:
        changes: dict[str, Any] = self.of(
            {"side": self.of(*ODD_SIDES)},
            {"order_type": self.of(*ODD_TYPES)},
            {"time_in_force": self.of(*ODD_TIMES)},
            {"quantity": self.of(*ODD_QUANTITIES)},
            {"price": self.of(*ODD_PRICES)},
            {"expires_at_ns": self.below(200)},
            {"instrument_id": "NONE"},
        )
        return replace(order, **changes)

    def replacement(self) -> ReplaceOrder:
        quantity = self.of(None, (1 + self.below(10)) * LOT)
        price = self.of(None, None, (1 + self.below(8)) * TICK)
        if quantity == price:
            quantity = (1 + self.below(3)) * LOT
        if self.one_in(12):
            quantity, price = self.of(*ODD_QUANTITIES), self.of(*ODD_PRICES)
        return ReplaceOrder(*self.named(), quantity, price)

    def named(self) -> tuple[int, int, str]:
        """An account and an order: its own by client order id, or one by how long ago it came, mostly its own."""
        account, ago = self.of(1, 2, 3), -1 - self.below(12)
        return self.of(
            (OWNER, ago, ""), (OWNER, ago, ""), (OWNER, ago, ""), (account, 0, self.of(*"abcd")), (account, ago, "")
        )


def instruction(seed: int) -> tuple[int, Command]:
    """An instruction, and the time that passes before it."""
    dice = Dice(seed)
    return dice.of(0, 0, 0, 1, 7, 30, dice.of(0, DAY)), dice.instruction()


SEEDS = st.integers(0, 2**64)
FLOWS = st.lists(SEEDS.map(instruction), min_size=20, max_size=60)


def plain(events: list[Event]) -> list[Event]:
    """Events without what is for people's eyes alone, and books that changed together in one order."""
    last = events[-1]
    changes = [event for event in events if isinstance(event, BookChanged)]
    others = [event for event in events[:-1] if not isinstance(event, BookChanged)]
    assert events == [*others, *changes, last]
    return [bare(event) for event in (*others, *sorted(changes, key=lambda e: e.instrument_id), last)]


def bare(event: Event) -> Event:
    if isinstance(event, BookChanged):
        return replace(event, levels=tuple(sorted(event.levels)))
    refusal = getattr(event, "refusal", None)
    if refusal is None:
        return event
    amounts = refusal.amounts if refusal.reason.name in DETAILED else {}
    return replace(event, refusal=replace(refusal, message="", amounts=amounts))


DETAILED = {"POSITION_LIMIT_EXCEEDED", "INSUFFICIENT_FUNDS", "FOK_NOT_FILLABLE"}


FIRST = NewOrder(1, "a", "OPT", 1, 1, 1, LOT, TICK)


class Pair:
    """The exchange and its oracle, given the same instructions."""

    def __init__(self, holders: dict[int, Holder] = HOLDERS, kept: int = KEPT) -> None:
        self.exchange, self.naive = real(holders, kept), naive(holders, kept)
        self.seq = self.now = 0
        self.last: NewOrder | None = None

    def run(self, wait: int, command: Command) -> list[Event]:
        """Apply to both, after time has passed for what expires; the events on which they agree."""
        self.now += wait
        assert self.exchange.next_expiry_ns == self.naive.next_expiry()
        if self.now >= self.exchange.next_expiry_ns:
            self.apply(AdvanceTime())
        return self.apply(self.addressed(command))

    def addressed(self, command: Command) -> Command:
        """The instruction with what only its turn can tell: which order is meant, whose it is, what to send again."""
        if isinstance(command, NewOrder):
            if command.client_order_id == AGAIN:
                command = replace(self.last or FIRST, attempt=command.attempt)
            if (command.expires_at_ns or 0) >= LATER:
                command = replace(command, expires_at_ns=self.now + 1 + (command.expires_at_ns or 0) - LATER)
            self.last = command if command.client_order_id else self.last
        elif isinstance(command, CancelOrder | ReplaceOrder) and command.order_id < 0:
            order_id = max(1, len(self.naive.orders) + 1 + command.order_id)
            owner = self.naive.orders[order_id - 1]["account"] if order_id <= len(self.naive.orders) else 1
            command = replace(command, order_id=order_id, account=command.account or owner)
        return command

    def apply(self, command: Command) -> list[Event]:
        self.seq += 1
        events = self.exchange.apply(self.seq, self.now, command)
        assert plain(events) == plain(self.naive.apply(self.seq, self.now, command))
        return events
