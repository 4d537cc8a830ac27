"""The momentum trader: buys what rises, sells what falls, and lets go when neither."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from decimal import Decimal
from random import Random
from typing import Any

from outcry.async_client import AsyncClient
from outcry.demo.bot import Bot
from outcry.demo.market import Listing
from outcry.models import PublicTrade

WINDOW = 20  # rounds that it looks back
MOVE_UNITS = 6  # what it takes for a move
POSITION_LIMIT_USUALS = 4


class MomentumTrader(Bot):
    name = "momentum"
    pace_s = 1.0

    def __init__(self, client: AsyncClient, listings: list[Listing], random: Random) -> None:
        super().__init__(client, listings, random)
        self.last: dict[str, int] = {}  # price of the last trade, in ticks
        self.seen = {instrument_id: deque[int](maxlen=WINDOW) for instrument_id in self.listings}

    def parts(self) -> list[Coroutine[Any, Any, None]]:
        return [*super().parts(), self.watch()]

    async def watch(self) -> None:
        """Follow the trades; the client opens the stream again whenever it breaks."""
        async for update in self.client.market_data(list(self.listings), channels=("trades",)):
            if isinstance(update.update, PublicTrade):
                listing = self.listings[update.instrument_id]
                self.last[listing.instrument_id] = listing.ticks(update.update.price)

    async def round(self) -> None:
        positions = await self.client.positions()
        for instrument_id, last in list(self.last.items()):  # `watch` goes on meanwhile
            seen = self.seen[instrument_id]
            seen.append(last)
            listing = self.listings[instrument_id]
            held = listing.lots(positions.get(instrument_id, Decimal(0)))
            if lots := self.wish(listing, held, last - seen[0]):
                await self.take(listing, lots)

    def wish(self, listing: Listing, held: int, move: int) -> int:
        """How many lots to buy, negative to sell: along with a move, up to the limit; back to nothing without one."""
        clip = max(1, listing.usual // 3)
        limit = POSITION_LIMIT_USUALS * listing.usual
        if abs(move) < MOVE_UNITS * listing.unit:
            return -max(-clip, min(clip, held))
        return min(clip, limit - held) if move > 0 else -min(clip, limit + held)

    async def take(self, listing: Listing, lots: int) -> None:
        side = "buy" if lots > 0 else "sell"
        quantity = listing.quantity(abs(lots))
        await self.attempt(self.client.submit_order(listing.instrument_id, side, quantity, order_type="market"))
