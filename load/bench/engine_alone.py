"""The engine without anything around it: apply() in a loop, no journal, no network.

Commands are made beforehand; what is timed is validation, risk, matching and the events that come out.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence

from engine.commands import (
    Command,
    NewOrder,
    PutAccount,
    PutFeeSchedule,
    PutInstrument,
    PutRiskProfile,
    PutRole,
)
from engine.exchange import Exchange
from engine.instrument import FeeSchedule, Instrument, RiskProfile, Role
from engine.order import OrderType, Side, TimeInForce
from load import flows
from load.bench.figures import Figure, alternating

INSTRUMENT = "BENCH"
FEE_MAKER, FEE_TAKER = -20_000_000, 30_000_000
START_NS = 1_700_000_000_000_000_000
TRADERS = 100
ORDERS = 1_000
MIXED = 50_000
SMALL_BOOK, LARGE_BOOK = 10, 1_000_000
PROBES = 20_000
ORDERS_PER_LEVEL = 100
EDGE = 1_000 * flows.TICK  # from the middle to the first order that only fills the book

ORDERS_GOAL_MS, MIXED_GOAL_US, GROWTH_GOAL = 4.0, 4.0, 1.5


class Bench:
    """An exchange with one instrument and some accounts, and the numbering of what it is told."""

    def __init__(self, traders: int = TRADERS) -> None:
        self.exchange = Exchange()
        self.seq = 0
        for command in setting():
            self.apply([command])
        for number in range(traders):
            self.apply([PutAccount(f"trader {number}", "trader", key_hash=number.to_bytes(32, "big"))])
        self.accounts = list(self.exchange.named_accounts.values())

    def apply(self, commands: Sequence[Command]) -> float:
        """Apply all of them; return how many seconds that took."""
        apply, first = self.exchange.apply, self.seq + 1
        started = time.perf_counter()
        for seq, command in enumerate(commands, start=first):
            apply(seq, START_NS + seq, command)
        taken = time.perf_counter() - started
        self.seq += len(commands)
        return taken

    def commands(self, acts: Sequence[flows.Act]) -> list[Command]:
        return [flows.command(act, INSTRUMENT, self.accounts) for act in acts]


def setting() -> list[Command]:
    """One instrument that needs no cash, a position limit that is checked and never reached, and fees."""
    limit = 1_000_000_000 * flows.LOT
    return [
        PutInstrument(Instrument(INSTRUMENT, flows.TICK, flows.LOT, "USD", position_limit=limit)),
        PutFeeSchedule(FeeSchedule("standard", FEE_MAKER, FEE_TAKER)),
        PutRiskProfile(RiskProfile("standard")),
        PutRole(Role("trader", "standard", "standard")),
    ]


def thousand_orders() -> float:
    bench = Bench()
    commands = bench.commands(list(flows.orders(1, ORDERS, TRADERS)))
    return bench.apply(commands) * 1e3


def mixed_command() -> float:
    bench = Bench()
    commands = bench.commands(list(flows.half_cancels(2, MIXED, TRADERS)))
    return bench.apply(commands) / MIXED * 1e6


def filled_book(size: int) -> Bench:
    """A book of `size` orders that stay where they are, away from where the probes trade."""
    bench = Bench()
    bench.apply([resting(bench.accounts, number) for number in range(size)])
    return bench


def resting(accounts: list[int], number: int) -> NewOrder:
    buys = number % 2 == 0
    away = EDGE + number // (2 * ORDERS_PER_LEVEL) * flows.TICK
    price = flows.MIDDLE - away if buys else flows.MIDDLE + away
    side = Side.BUY if buys else Side.SELL
    account = accounts[number % len(accounts)]
    limit, gtc = OrderType.LIMIT, TimeInForce.GTC
    return NewOrder(account, f"rest {number}", INSTRUMENT, side, limit, gtc, flows.LOT, price)


def probe(bench: Bench, turn: list[int]) -> float:
    """Microseconds a command, of a mix that leaves the book about as large as it was."""
    turn[0] += 1
    commands = bench.commands(list(flows.half_cancels(3, PROBES, TRADERS, run=f"probe {turn[0]} ")))
    return bench.apply(commands) / PROBES * 1e6


def figures() -> list[Figure]:
    medians = alternating({"orders": thousand_orders, "mixed": mixed_command}, rounds=5)
    return [
        Figure(
            "engine alone, 1,000 limit orders",
            f"{TRADERS} accounts, one in ten trades",
            f"{medians['orders']:.2f} ms",
            f"<= {ORDERS_GOAL_MS:.0f} ms",
            medians["orders"] <= ORDERS_GOAL_MS,
        ),
        Figure(
            "engine alone, a command of the mix",
            f"{MIXED:,} commands, half cancels, {TRADERS} accounts",
            f"{medians['mixed']:.2f} us",
            f"<= {MIXED_GOAL_US:.0f} us",
            medians["mixed"] <= MIXED_GOAL_US,
        ),
        growth(),
    ]


def growth() -> Figure:
    small, large = filled_book(SMALL_BOOK), filled_book(LARGE_BOOK)
    gc.freeze()  # as the server does with what is there at its start
    turns = [0], [0]
    medians = alternating({"small": lambda: probe(small, turns[0]), "large": lambda: probe(large, turns[1])}, rounds=5)
    gc.unfreeze()
    ratio = medians["large"] / medians["small"]
    return Figure(
        "engine alone, cost as the book grows",
        f"{SMALL_BOOK} to {LARGE_BOOK:,} resting, the mix on top",
        f"{ratio:.2f}x ({medians['small']:.2f} to {medians['large']:.2f} us)",
        f"<= {GROWTH_GOAL}x",
        ratio <= GROWTH_GOAL,
    )
