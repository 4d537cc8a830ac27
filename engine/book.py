"""One instrument's price-time book. It knows orders, prices and quantities, and nothing of accounts.

Prices are kept as ranks, so that the lower rank trades first on either side: a seller's rank is its price, a buyer's
is its price negated. An order's limit on the other side is then its own rank negated, and one path serves both sides.
A level is a queue of orders linked through themselves: an order joins at the end and leaves from anywhere in one step.
The best level of a side is at hand; the others are found by rank in a dict, and in order in a sorted list of ranks.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from sortedcontainers import SortedList

from engine.fixed import INT64_MAX, SCALE
from engine.order import BUY, Order

MARKET_RANK = -INT64_MAX  # of an order without a price: its limit is beyond every rank


def rank_of(side: int, price: int) -> int:
    """Where a price stands on its own side: the lower, the earlier it trades."""
    return -price if side == BUY else price


class Level(Struct, gc=False):
    """All resting orders of one side at one price, oldest first, and their total quantity."""

    rank: int
    price: int
    quantity: int = 0
    first: Order | None = None
    last: Order | None = None

    def remove(self, order: Order) -> None:
        """Let an order leave, from wherever it stands."""
        previous, following = order.previous, order.following
        if previous is None:
            self.first = following
        else:
            previous.following = following
        if following is None:
            self.last = previous
        else:
            following.previous = previous
        order.previous = order.following = None
        self.quantity -= order.remaining

    def shift(self, first: Order) -> None:
        """Let the first order go, without counting its quantity."""
        following = self.first = first.following
        if following is None:
            self.last = None
        else:
            following.previous = first.following = None

    def orders(self) -> Iterator[Order]:
        order = self.first
        while order is not None:
            yield order
            order = order.following


class Ladder:
    """The levels of one side."""

    __slots__ = ("best", "levels", "ranks")

    def __init__(self) -> None:
        self.levels: dict[int, Level] = {}
        self.ranks: SortedList[int] = SortedList()
        self.best: Level | None = None

    def add(self, rank: int) -> Level:
        """A new, empty level."""
        level = self.levels[rank] = Level(rank, abs(rank))
        self.ranks.add(rank)
        if self.best is None or rank < self.best.rank:
            self.best = level
        return level

    def drop(self, level: Level) -> None:
        """Take an empty level away."""
        del self.levels[level.rank]
        self.ranks.remove(level.rank)
        if level is self.best:
            self.best = self.levels[self.ranks[0]] if self.ranks else None


class Book:
    """Both sides of one instrument. `changes` gathers (side, price, new quantity) until somebody collects it.

    `bound` is all that ever came to rest here: no level can have more.
    """

    __slots__ = ("bound", "changes", "ladders")

    def __init__(self) -> None:
        self.ladders = (Ladder(), Ladder(), Ladder())  # by side; the first stands for no side and stays empty
        self.changes: list[tuple[int, int, int]] = []
        self.bound = 0

    def rest(self, order: Order) -> None:
        """Let an order wait at the end of its level."""
        side, rank, remaining = order.side, order.rank, order.remaining
        ladder = self.ladders[side]
        level = ladder.levels.get(rank)
        if level is None:
            level = ladder.add(rank)
        last = level.last
        if last is None:
            level.first = order
        else:
            last.following = order
            order.previous = last
        level.last = order
        level.quantity = quantity = level.quantity + remaining
        self.bound += remaining
        self.changes.append((side, level.price, quantity))

    def remove(self, order: Order) -> None:
        """Take a resting order away."""
        level = self.level(order)
        level.remove(order)
        self.changes.append((order.side, level.price, level.quantity))
        if level.first is None:
            self.ladders[order.side].drop(level)

    def reduce(self, order: Order, remaining: int) -> None:
        """Let a resting order want less, at its place in the queue."""
        level = self.level(order)
        if remaining != order.remaining:
            level.quantity += remaining - order.remaining
            order.remaining = remaining
            self.changes.append((order.side, level.price, level.quantity))

    def sweep(self, taker: Order) -> list[tuple[Order, int]]:
        """Trade `taker` against the other side up to its limit: what it took, as (maker, quantity), in order.

        What remains of each order is changed, and makers that are filled leave the book.
        """
        taken: list[tuple[Order, int]] = []
        ladder, side = self.ladders[3 - taker.side], 3 - taker.side
        limit, left = -taker.rank, taker.remaining
        level = ladder.best
        while left and level is not None and level.rank <= limit:
            gone = 0
            while left and (maker := level.first) is not None:
                quantity = maker.remaining
                if quantity > left:
                    quantity = left
                    maker.remaining -= quantity
                else:
                    level.shift(maker)
                    maker.remaining = 0
                left -= quantity
                gone += quantity
                taken.append((maker, quantity))
            level.quantity -= gone
            self.changes.append((side, level.price, level.quantity))
            if level.first is None:
                ladder.drop(level)
            level = ladder.best
        taker.remaining = left
        return taken

    def reach(self, side: int, rank: int, quantity: int) -> tuple[int, int]:
        """How much of `quantity` an order of this side and rank could trade now, and what that would cost."""
        ladder = self.ladders[3 - side]
        left, cost = quantity, 0
        for other in ladder.ranks:
            if not left or other > -rank:
                break
            level = ladder.levels[other]
            part = min(left, level.quantity)
            left -= part
            cost += level.price * part // SCALE
        return quantity - left, cost

    def depth(self, side: int, levels: int) -> tuple[tuple[int, int], ...]:
        """The best `levels` of a side as (price, quantity), best first; 0 is all."""
        ladder = self.ladders[side]
        ranks = ladder.ranks.islice(0, levels or None)
        return tuple((ladder.levels[rank].price, ladder.levels[rank].quantity) for rank in ranks)

    def resting(self, side: int) -> Iterator[Order]:
        """The orders of a side, in the order in which they trade."""
        ladder = self.ladders[side]
        return (order for rank in ladder.ranks for order in ladder.levels[rank].orders())

    def is_empty(self) -> bool:
        return all(ladder.best is None for ladder in self.ladders)

    def level(self, order: Order) -> Level:
        """Where a resting order stands."""
        return self.ladders[order.side].levels[order.rank]
