"""The noise trader: small orders for no reason, now taking, now waiting in the book, drawn back to no position."""

from __future__ import annotations

from decimal import Decimal

from outcry.demo.bot import Bot
from outcry.demo.market import Listing
from outcry.models import OrderBook

WAITING_LIMIT = 3  # orders of its own in one book
POSITION_LIMIT_USUALS = 8


class NoiseTrader(Bot):
    name = "noise"
    pace_s = 0.25

    async def round(self) -> None:
        listing = self.random.choice(list(self.listings.values()))
        book = await self.client.order_book(listing.instrument_id, depth=1)
        if not (book.bids and book.asks):
            return
        side = await self.side(listing)
        if self.random.randrange(3):
            await self.take(listing, book, side)
        else:
            await self.wait(listing, book, side)

    async def side(self, listing: Listing) -> str:
        """A coin, loaded against the position: at its limit it shows one side only."""
        held = listing.lots((await self.client.positions()).get(listing.instrument_id, Decimal(0)))
        limit = POSITION_LIMIT_USUALS * listing.usual
        return "sell" if self.random.randint(-limit, limit) < held else "buy"

    def quantity(self, listing: Listing) -> Decimal:
        return listing.quantity(self.random.randint(max(1, listing.usual // 4), listing.usual))

    async def take(self, listing: Listing, book: OrderBook, side: str) -> None:
        touch = book.asks[0].price if side == "buy" else book.bids[0].price
        quantity = self.quantity(listing)
        order = self.client.submit_order(listing.instrument_id, side, quantity, touch, time_in_force="IOC")
        await self.attempt(order)

    async def wait(self, listing: Listing, book: OrderBook, side: str) -> None:
        """Improve on the best price, or join it, and let go of the oldest orders of this kind."""
        spread = listing.ticks(book.asks[0].price - book.bids[0].price)
        better = self.random.randrange(max(1, spread)) * (1 if side == "buy" else -1)
        best = book.bids[0].price if side == "buy" else book.asks[0].price
        price = best + listing.price(better)
        await self.attempt(self.client.submit_order(listing.instrument_id, side, self.quantity(listing), price))
        waiting = await self.client.orders(instrument_id=listing.instrument_id)
        for order in waiting[: max(0, len(waiting) - WAITING_LIMIT)]:
            await self.attempt(self.client.cancel_order(order.order_id))
