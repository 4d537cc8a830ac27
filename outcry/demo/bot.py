"""What the bots have in common: rounds, at a pace, through refusals and restarts of the exchange."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Coroutine
from random import Random
from typing import Any, TypeVar

import structlog

from outcry.async_client import AsyncClient
from outcry.demo.market import Listing
from outcry.errors import ExchangeError, NotFound, OrderRejected, PermissionDenied, Unauthenticated

Answer = TypeVar("Answer")

LOST_WAIT_S = 0.5

log = structlog.get_logger()


class Bot(ABC):
    """Trades in rounds. A round reads what is, and acts on it; nothing is remembered that the exchange knows."""

    name: str
    pace_s: float

    def __init__(self, client: AsyncClient, listings: list[Listing], random: Random) -> None:
        self.client = client
        self.listings = {listing.instrument_id: listing for listing in listings}
        self.random = random

    @abstractmethod
    async def round(self) -> None:
        """Look and act once."""

    def parts(self) -> list[Coroutine[Any, Any, None]]:
        """What goes on at the same time, for ever."""
        return [self.rounds()]

    async def run(self) -> None:
        """Trade for ever. A lost exchange is waited for; a key that is not known there is an error."""
        await asyncio.gather(*self.parts())

    async def rounds(self) -> None:
        while True:
            try:
                await self.round()
            except (Unauthenticated, PermissionDenied):
                raise
            except ExchangeError as error:  # it is away, or overloaded: the next round sees what became of things
                log.warning("exchange_away", bot=self.name, error=str(error))
                await asyncio.sleep(LOST_WAIT_S)
            await asyncio.sleep(self.pace_s * self.random.uniform(0.5, 1.5))

    async def attempt(self, command: Awaitable[Answer]) -> Answer | None:
        """The answer to a command; None where it was refused, as when an order has traded before its cancel."""
        try:
            return await command
        except (OrderRejected, NotFound) as refusal:
            log.debug("refused", bot=self.name, refusal=str(refusal), details=str(refusal.details))
            return None
