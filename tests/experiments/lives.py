"""An engine that comes to an end in the middle of its work, and what its next life knows of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.experiments.crowd import Crowd
from tests.venues import EngineProcess, until

HANG_S = 60
ORDERS = 400
SMALL = "tests.data_folders.small_engine"


class Lives:
    """A crowd that trades from life to life. The folder, the address and the crowd stay the same."""

    def __init__(self, data: Path, *flags: str, module: str = SMALL) -> None:
        self.data = data
        self.flags = flags
        self.module = module
        self.address = "127.0.0.1:0"

    def start(self, under: Sequence[str] = ()) -> EngineProcess:
        engine = EngineProcess(self.data, *self.flags, grpc_address=self.address, module=self.module, under=under)
        self.address = engine.address
        return engine

    async def begun(self) -> EngineProcess:
        return await asyncio.to_thread(self.start)

    @asynccontextmanager
    async def crowd(self, seed: int) -> AsyncIterator[Crowd]:
        """Registered and under way, on a first life that is over."""
        engine = await self.begun()
        crowd = Crowd(self.address, seed)
        try:
            await crowd.begin()
            crowd.enters.set()
            await until(lambda: crowd.answered >= ORDERS, HANG_S)
            await asyncio.to_thread(engine.stop)
            yield crowd
        finally:
            await crowd.close()

    async def doomed(self, crowd: Crowd, under: Sequence[str]) -> int | None:
        """A life under a fault, until it ends by itself, or the crowd has had enough: its exit status, None where it
        had to be stopped."""
        try:
            engine = await asyncio.to_thread(self.start, under)
        except RuntimeError:  # it did not even start
            return 1
        enough = crowd.answered + 5 * ORDERS
        await until(lambda: engine.process.poll() is not None or crowd.answered >= enough, HANG_S)
        status = engine.process.poll()
        if status is None:
            engine.kill()
        engine.stop()
        return status

    async def last(self, crowd: Crowd) -> None:
        """A life in which everything is looked at."""
        engine = await self.begun()
        try:
            await crowd.end()
            await crowd.require_each_once()
        finally:
            await asyncio.to_thread(engine.stop)
