"""The market maker: a few levels of quotes on both sides of what it thinks fair, leaning against what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from decimal import Decimal
from random import Random

from outcry.async_client import AsyncClient
from outcry.demo.bot import Bot
from outcry.demo.market import FairValue, Listing
from outcry.models import Order

LEVELS = 5
HALF_SPREAD_UNITS = 2
LEAN_LIMIT_UNITS = 15  # how far quotes move against the position
STALE_PART = 4  # a quote with less than this part of the usual quantity left is renewed

Quote = tuple[str, int]  # side, price in ticks


class MarketMaker(Bot):
    name = "maker"
    pace_s = 1.0

    def __init__(self, client: AsyncClient, listings: list[Listing], random: Random) -> None:
        super().__init__(client, listings, random)
        self.fair: dict[str, FairValue] = {}

    async def round(self) -> None:
        orders, positions = await asyncio.gather(self.client.orders(), self.client.positions())
        for listing in self.listings.values():
            mine = [order for order in orders if order.instrument_id == listing.instrument_id]
            await self.quote(listing, mine, positions.get(listing.instrument_id, Decimal(0)))

    async def quote(self, listing: Listing, mine: list[Order], position: Decimal) -> None:
        """Cancel the quotes that are out of place, then enter those that are missing."""
        fair = await self.fair_value(listing)
        wanted = set(quotes(listing, fair.step() + lean(listing, position)))
        kept: set[Quote] = set()
        out_of_place = []
        for order in mine:
            quote = (order.side, listing.ticks(order.price or Decimal(0)))
            fresh = listing.lots(order.remaining_quantity) * STALE_PART >= listing.usual
            if quote in wanted and quote not in kept and fresh:
                kept.add(quote)
            else:
                out_of_place.append(order.order_id)
        await self.cancel(out_of_place)
        await self.enter(listing, sorted(wanted - kept))

    async def fair_value(self, listing: Listing) -> FairValue:
        if listing.instrument_id not in self.fair:
            book = await self.client.order_book(listing.instrument_id, depth=1)
            self.fair[listing.instrument_id] = FairValue(listing, self.random, book)
        return self.fair[listing.instrument_id]

    async def cancel(self, order_ids: Iterable[int]) -> None:
        await asyncio.gather(*(self.attempt(self.client.cancel_order(order_id)) for order_id in order_ids))

    async def enter(self, listing: Listing, quotes: Iterable[Quote]) -> None:
        sizes = (listing.usual // 2, listing.usual, 2 * listing.usual)
        orders = [
            self.client.submit_order(
                listing.instrument_id, side, listing.quantity(self.random.choice(sizes)), listing.price(ticks)
            )
            for side, ticks in quotes
        ]
        await asyncio.gather(*map(self.attempt, orders))


def quotes(listing: Listing, middle: int) -> Iterable[Quote]:
    for level in range(LEVELS):
        away = (HALF_SPREAD_UNITS + level) * listing.unit
        yield "buy", middle - away
        yield "sell", middle + away


def lean(listing: Listing, position: Decimal) -> int:
    """How many ticks to quote lower for what is held, or higher for what is owed."""
    usuals = int(listing.lots(position) / listing.usual)
    return -max(-LEAN_LIMIT_UNITS, min(LEAN_LIMIT_UNITS, usuals)) * listing.unit
