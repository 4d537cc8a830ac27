"""A TCP proxy that cuts connections in the middle of what the server says, after a number of bytes drawn from a seed.

Most cuts come early, within a message or two; some connections get far enough to catch up with what was missed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK = 1 << 16
SHORT = (6, 10)  # powers of two, in bytes
LONG = (12, 16)


class Cut(Exception):
    """The connection ends here, on both sides."""


class Cutter:
    """Listens on a free port and forwards to `target`, HOST:PORT, while it `is_open`. It cuts while it `is_sharp`."""

    def __init__(self, target: str, seed: int, lasting: float) -> None:
        self.target = target
        self.lasting = lasting  # the share of connections that get far
        self.random = random.Random(seed)
        self.is_sharp = self.is_open = True
        self.cuts = 0
        self.connections: set[asyncio.Task[None]] = set()
        print(f"cutter before {target}: seed {seed}")

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        host, port = self.server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    async def stop(self) -> None:
        self.server.close()
        await self.shut()
        await self.server.wait_closed()

    async def shut(self) -> None:
        """Drop all connections, and take no more while it is not open."""
        self.is_open = False
        for connection in self.connections:
            connection.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        ends = [writer]
        try:
            if not self.is_open:
                return
            host, _, port = self.target.rpartition(":")
            answers, server = await asyncio.open_connection(host, int(port))
            ends.append(server)
            powers = LONG if self.random.random() < self.lasting else SHORT
            told = asyncio.ensure_future(self.tell(answers, writer, int(2 ** self.random.uniform(*powers))))
            ways = [asyncio.ensure_future(forward(reader, server)), told]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self.connections.discard(task)
            for end in ends:
                end.transport.abort()

    async def tell(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, allowed: int) -> None:
        while data := await answers.read(CHUNK):
            if self.is_sharp and len(data) > allowed:
                writer.write(data[:allowed])
                with suppress(OSError):
                    await writer.drain()
                self.cuts += 1
                return
            allowed -= len(data)
            writer.write(data)
            await writer.drain()


async def forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(CHUNK):
        sink.write(data)
        await sink.drain()


@asynccontextmanager
async def cutting(target: str, seed: int, *, lasting: float = 0.1) -> AsyncIterator[Cutter]:
    cutter = Cutter(target, seed, lasting)
    await cutter.start()
    try:
        yield cutter
    finally:
        await cutter.stop()
