"""What a bot must know of an instrument: its grid, what it is about worth, and how that wanders.

Prices are counted in ticks and quantities in lots, as integers; `unit` is the step, in ticks, in which this market
thinks: a ten-thousandth of the price.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random

from msgspec import Struct

from outcry.models import Instrument, OrderBook

ANCHORS = {"AAPL": Decimal(150), "BTC/USDT": Decimal(50_000)}
OPTION_ANCHOR = Decimal("128.50")  # of the built-in index options
OTHER_ANCHOR = Decimal(100)
USUAL_NOTIONAL = Decimal(2_000)  # of one order, in the quote asset

REACH_UNITS = 200  # the fair value stays within 2 % of its anchor
PULL_UNITS = 250  # the further away, the likelier a step back; certain from here on
TREND_LENGTH = 40  # steps, on average


class Listing(Struct, frozen=True):
    """An instrument on its grid: `anchor` and `unit` in ticks, `usual` in lots."""

    instrument_id: str
    tick: Decimal
    lot: Decimal
    anchor: int
    unit: int
    usual: int

    def price(self, ticks: int) -> Decimal:
        return self.tick * ticks

    def quantity(self, lots: int) -> Decimal:
        return self.lot * lots

    def ticks(self, price: Decimal) -> int:
        return int(price // self.tick)

    def lots(self, quantity: Decimal) -> int:
        return int(quantity / self.lot)


def listing(instrument: Instrument) -> Listing:
    anchor = anchor_price(instrument.instrument_id)
    ticks = max(1, int(anchor // instrument.tick_size))
    notional = max(USUAL_NOTIONAL, 4 * (instrument.least_notional or 0))
    return Listing(
        instrument_id=instrument.instrument_id,
        tick=instrument.tick_size,
        lot=instrument.lot_size,
        anchor=ticks,
        unit=max(1, ticks // 10_000),
        usual=max(4, int(notional / anchor // instrument.lot_size)),
    )


def anchor_price(instrument_id: str) -> Decimal:
    if instrument_id.startswith("SPX"):
        return OPTION_ANCHOR
    return ANCHORS.get(instrument_id, OTHER_ANCHOR)


class FairValue:
    """A slow walk around the anchor, in ticks, with trends that come and go."""

    def __init__(self, listing: Listing, random: Random, book: OrderBook) -> None:
        self.listing = listing
        self.random = random
        self.trend = 0
        self.ticks = self.within(self.middle(book))

    def middle(self, book: OrderBook) -> int:
        """Where the market was left; the anchor where it has no two sides."""
        if not (book.bids and book.asks):
            return self.listing.anchor
        return self.listing.ticks((book.bids[0].price + book.asks[0].price) / 2)

    def within(self, ticks: int) -> int:
        reach = REACH_UNITS * self.listing.unit
        return max(self.listing.anchor - reach, min(self.listing.anchor + reach, ticks))

    def step(self) -> int:
        """Move on by one step, and return the new value."""
        if self.random.randrange(TREND_LENGTH) == 0:
            self.trend = self.random.choice((-1, 0, 0, 1))
        units = self.random.choice((-1, 0, 0, 1)) + self.trend + self.pull()
        self.ticks = self.within(self.ticks + units * self.listing.unit)
        return self.ticks

    def pull(self) -> int:
        away = (self.ticks - self.listing.anchor) // self.listing.unit
        if self.random.randrange(PULL_UNITS) >= abs(away):
            return 0
        return -1 if away > 0 else 1
