"""The maker's own execution feed: the only place that tells which of its orders a trade was with.

The feed is numbered, so it is followed by number: a reader that the exchange drops because it is too slow resumes
after the last event it has, and misses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc

from outcry import v1
from outcry.replay.errors import ReplayFailed
from outcry.replay.stage import Account

STALL_S = 30


class MakerFeed:
    """Follows `account` from its first event, and calls `on_fill` with each of its fills. `last` is the last number."""

    def __init__(self, account: Account, on_fill: Callable[[v1.OrderFilled], None]) -> None:
        self.account = account
        self.on_fill = on_fill
        self.last = 0
        self.moved = asyncio.Event()

    async def follow(self) -> None:
        """Read for ever, resuming where the exchange says that the reader was too slow."""
        while True:
            before = self.last
            try:
                await self.read()
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or self.last == before:
                    raise

    async def read(self) -> None:
        async for message in self.account.executions(self.last):
            for report in message.reports:
                if report.HasField("filled"):
                    self.on_fill(report.filled)
            if message.reports:
                self.last = message.reports[-1].seq
                self.moved.set()

    async def reach(self, number: int) -> None:
        """Return when event `number` has been read. ReplayFailed where nothing comes for STALL_S seconds."""
        while self.last < number:
            self.moved.clear()
            try:
                async with asyncio.timeout(STALL_S):
                    await self.moved.wait()
            except TimeoutError:
                raise ReplayFailed(f"the maker's feed stands at event {self.last} of {number}") from None
