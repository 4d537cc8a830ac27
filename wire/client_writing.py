"""The requests that a caller writes, as the iterator that interceptors take them from: one waits at a time."""

from __future__ import annotations

import asyncio
from typing import Any

from wire.client_calls import FINISHED, HALF_CLOSED


class WrittenRequests:
    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.ended = False  # no more come
        self.abandoned = False  # no more are wanted
        self.changed = asyncio.Event()

    async def put(self, request: Any) -> None:
        """InvalidStateError where no more may come, or the call is over before the request is taken."""
        while self.waiting and not self.abandoned:
            await self.change()
        if self.abandoned:
            raise asyncio.InvalidStateError(FINISHED)
        if self.ended:
            raise asyncio.InvalidStateError(HALF_CLOSED)
        self.waiting.append(request)
        self.changed.set()

    def end(self) -> None:
        self.ended = True
        self.changed.set()

    def abandon(self) -> None:
        self.abandoned = True
        self.changed.set()

    def __aiter__(self) -> WrittenRequests:
        return self

    async def __anext__(self) -> Any:
        while not self.waiting and not self.ended and not self.abandoned:
            await self.change()
        if not self.waiting or self.abandoned:
            raise StopAsyncIteration
        self.changed.set()
        return self.waiting.pop()

    async def change(self) -> None:
        """Both sides wait here; whoever is woken looks for itself."""
        self.changed.clear()
        await self.changed.wait()
