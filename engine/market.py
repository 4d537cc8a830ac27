"""One instrument at work: its listing, its book, and the public numbers of what happens in it."""

from __future__ import annotations

from engine.accounts import Balance
from engine.book import Book
from engine.events import BookChanged, Event
from engine.instrument import Instrument


class Market:
    """`number` is the last public event's; `house` is the venue's own balance of the quote asset, which takes fees.

    `last_price` is that of the last trade, None before the first; `volume` is all that has traded.
    """

    __slots__ = ("book", "house", "instrument", "last_price", "number", "volume")

    def __init__(self, instrument: Instrument, house: Balance) -> None:
        self.instrument = instrument
        self.house = house
        self.book = Book()
        self.number = 0
        self.last_price: int | None = None
        self.volume = 0

    def publish_changes(self, events: list[Event]) -> None:
        """Say which levels the command changed, once each, with what they have come to."""
        changes = self.book.changes
        if not changes:
            return
        if len(changes) > 1:
            last = {(side, price): quantity for side, price, quantity in changes}
            levels = tuple([(side, price, quantity) for (side, price), quantity in last.items()])
        else:
            levels = tuple(changes)
        changes.clear()
        self.number = number = self.number + 1
        events.append(BookChanged(self.instrument.instrument_id, number, levels))
