"""The oracle's memory: every order and every trade that ever was, and what follows from them.

Each question (what is in the book, what an account owns, what is reserved) is answered by looking at all of them again.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from engine.events import Event
from engine.instrument import FeeSchedule, Instrument
from engine.order import Liquidity

ONE = 10**9
MOST = 2**63 - 1
BUY, SELL = 1, 2
OPEN = ("new", "partially_filled")


class Holder:
    """What an account is given to start with."""

    def __init__(self, opening: dict[str, int], fees: FeeSchedule, unlimited: bool = False) -> None:
        self.opening, self.fees, self.unlimited = opening, fees, unlimited


class NaiveLedger:
    def __init__(self, instruments: list[Instrument], holders: dict[int, Holder], kept: int) -> None:
        self.instruments = {i.instrument_id: i for i in instruments}
        self.holders = holders
        self.kept = kept
        self.orders: list[dict[str, Any]] = []  # every order that ever was
        self.trades: list[dict[str, Any]] = []  # every trade that ever was
        self.numbers: Counter[int | str] = Counter()  # of events, by account or instrument
        self.turn = 0  # grows with everything that joins a queue or ends
        self.events: list[Event] = []

    def queue(self, name: str, side: int) -> list[dict[str, Any]]:
        waiting = [o for o in self.orders if o["name"] == name and o["side"] == side and o["waits"]]
        return sorted(waiting, key=lambda o: (o["price"] if side == SELL else -o["price"], o["turn"]))

    def depth(self, name: str) -> Counter[tuple[int, int]]:
        levels: Counter[tuple[int, int]] = Counter()
        for side in (BUY, SELL):
            for o in self.queue(name, side):
                levels[side, o["price"]] += self.left(o)
        return levels

    def left(self, o: dict[str, Any]) -> int:
        return int(o["quantity"] - self.filled(o)) if o["status"] in OPEN else 0

    def filled(self, o: dict[str, Any]) -> int:
        return sum(t["quantity"] for t in self.trades if o["id"] in (t["taker"], t["maker"]))

    def position(self, account: int, name: str) -> int:
        bought = sum(t["quantity"] for t in self.trades if t["name"] == name and t["buyer"] == account)
        return bought - sum(t["quantity"] for t in self.trades if t["name"] == name and t["seller"] == account)

    def total(self, account: int, asset: str) -> int:
        amount = self.holders[account].opening.get(asset, 0)
        for t in self.trades:
            i = self.instruments[t["name"]]
            if i.quote_asset == asset:
                cost = t["price"] * t["quantity"] // ONE
                amount += cost * ((t["seller"] == account) - (t["buyer"] == account))
                amount -= sum(fee for payer, fee in t["fees"] if payer == account)
            if i.base_asset == asset:
                amount += t["quantity"] * ((t["buyer"] == account) - (t["seller"] == account))
        return int(amount)

    def venue_total(self, asset: str) -> int:
        quoted = [t for t in self.trades if self.instruments[t["name"]].quote_asset == asset]
        opened = sum(holder.opening.get(asset, 0) for holder in self.holders.values())
        return sum(fee for t in quoted for _, fee in t["fees"]) - opened

    def waiting(self, account: int) -> list[dict[str, Any]]:
        return [o for o in self.orders if o["account"] == account and o["waits"]]

    def reserved(self, account: int, asset: str) -> int:
        amount = 0
        for o in self.waiting(account):
            i = self.instruments[o["name"]]
            if i.settles_in_cash and o["side"] == BUY and i.quote_asset == asset:
                amount += o["price"] * self.left(o) // ONE
            if i.settles_in_cash and o["side"] == SELL and i.base_asset == asset:
                amount += self.left(o)
        return amount

    def known(self, account: int) -> list[dict[str, Any]]:
        mine = [o for o in self.orders if o["account"] == account]
        closed = sorted((o for o in mine if o["status"] not in OPEN), key=lambda o: o["ended"])
        forgotten = [o["id"] for o in closed[: max(0, len(closed) - self.kept)]]
        return [o for o in mine if o["id"] not in forgotten]

    def next_expiry(self) -> int:
        return min((o["expires"] for o in self.orders if o["waits"] and o["expires"]), default=MOST)

    def fees(self, o: dict[str, Any]) -> int:
        paid = 0
        for t in self.trades:
            paid += t["fees"][0][1] if t["taker"] == o["id"] else 0
            paid += t["fees"][1][1] if t["maker"] == o["id"] else 0
        return paid

    def liquidity(self, o: dict[str, Any]) -> Liquidity:
        took = any(t["taker"] == o["id"] for t in self.trades)
        made = any(t["maker"] == o["id"] for t in self.trades)
        return Liquidity(2 * took + made)
