"""What the exchange says, beside what the file expects of it.

Every instruction that goes out carries the judge of its result: one of the methods here, with the row filled in.
Books and refusals are judged as they arrive. Who a taker traded with is known only to the two accounts: the taker's
result tells the numbers of its trades, the maker's own feed tells which of its orders each trade was with, and the
two are put side by side when both are complete.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from outcry import v1
from outcry.replay.files import PRICE_UNIT, QUANTITY_UNIT, levels
from outcry.replay.translation import file_id

KEPT = 20  # differences of a kind that are kept to be named; the rest are counted

Levels = list[tuple[int, int]]


class Difference(NamedTuple):
    row: int
    where: str
    expected: str
    got: str


class Hit(NamedTuple):
    """An aggressive order: what it had to trade with, and the numbers of the trades that it made."""

    row: int
    maker: str
    quantity: int
    trades: list[int]


@dataclass
class Tally:
    """How many were compared, how many of them differ, and the first of those."""

    compared: int = 0
    different: int = 0
    first: list[Difference] = field(default_factory=list)

    def add(self, difference: Difference | None) -> None:
        self.compared += 1
        if difference is not None:
            self.different += 1
            if len(self.first) < KEPT:
                self.first.append(difference)

    @property
    def equal(self) -> int:
        return self.compared - self.different


class Comparison:
    """Judges results and the maker's feed. `books`, `makers` and `instructions` are the tallies."""

    def __init__(self) -> None:
        self.books = Tally()
        self.makers = Tally()
        self.instructions = Tally()
        self.hits: list[Hit] = []
        self.filled: dict[int, tuple[str, int]] = {}  # by trade: the maker's order and the quantity

    def accepted(self, row: int, result: v1.Result) -> None:
        """Judge an instruction that must be carried out."""
        order = result.order
        refused = order.HasField("reject")
        self.instructions.add(Difference(row, "instruction", "accepted", refusal(order.reject)) if refused else None)

    def hit(self, row: int, maker: str, quantity: int, result: v1.Result) -> None:
        """Judge an aggressive order: it must be accepted now; its trades are kept for `judge_makers`."""
        self.accepted(row, result)
        self.hits.append(Hit(row, maker, quantity, [fill.trade_id for fill in result.order.fills]))

    def book(self, row: int, line: str, result: v1.Result) -> None:
        """Judge the book after a row against its line of the file."""
        if not result.HasField("order_book"):
            self.books.add(Difference(row, "book", "a book", refusal(result.reject)))
            return
        expected, book = levels(line), result.order_book
        bids = [(level.price, level.quantity) for level in book.bids]
        asks = [(level.price, level.quantity) for level in book.asks]
        if bids == expected.bids and asks == expected.asks:
            self.books.add(None)
            return
        side, got, wanted = ("ask", asks, expected.asks) if asks != expected.asks else ("bid", bids, expected.bids)
        self.books.add(first_level(row, side, wanted, got))

    def fill(self, event: v1.OrderFilled) -> None:
        """Note one fill from the maker's feed."""
        self.filled[event.trade_id] = event.client_order_id, event.quantity

    def judge_makers(self) -> None:
        """Put the taker's trades and the maker's fills side by side. Call once, when both are complete."""
        for hit in self.hits:
            got = [self.filled.get(trade, ("an unknown order:?", 0)) for trade in hit.trades]
            wanted = [(hit.maker, hit.quantity)]
            difference = None if got == wanted else Difference(hit.row, "maker", fills(wanted), fills(got))
            self.makers.add(difference)

    def differences(self) -> list[Difference]:
        """The first of each kind, by row."""
        return sorted(self.instructions.first + self.books.first + self.makers.first)

    @property
    def different(self) -> int:
        return self.instructions.different + self.books.different + self.makers.different


def first_level(row: int, side: str, wanted: Levels, got: Levels) -> Difference:
    """The first level of one side at which two books differ."""
    depth = max(len(wanted), len(got))
    pairs = zip(padded(wanted, depth), padded(got, depth), strict=True)
    level, (one, other) = next((at, pair) for at, pair in enumerate(pairs, start=1) if pair[0] != pair[1])
    return Difference(row, f"{side} level {level}", shown(one), shown(other))


def padded(side: Levels, depth: int) -> list[tuple[int, int] | None]:
    return [*side, *[None] * (depth - len(side))]


def shown(level: tuple[int, int] | None) -> str:
    """A level in the file's own units."""
    if level is None:
        return "empty"
    return f"{level[1] // QUANTITY_UNIT} at {level[0] // PRICE_UNIT}"


def fills(made: list[tuple[str, int]]) -> str:
    return " and ".join(f"{quantity // QUANTITY_UNIT} of {file_id(name)}" for name, quantity in made) or "no trade"


def refusal(reject: v1.Reject) -> str:
    return f"{v1.RejectReason.Name(reject.reason)}: {reject.message}"
