"""Gateway and bridge in the test's own process, over a disk that the test can stall and break."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.disk import LocalDisk
from rest_bridge.__main__ import server
from rest_bridge.settings import Settings
from tests.venues import Venue, venue


class FaultyDisk(LocalDisk):
    """The local disk, until it stalls or fails."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.is_asked = False  # to sync, since it answers no more
        self.failure: OSError | None = None

    def sync(self, fd: int) -> None:
        self.is_asked = not self.answers.is_set()
        self.answers.wait()
        if self.failure:
            raise self.failure
        super().sync(fd)


@asynccontextmanager
async def bridge(running: Venue) -> AsyncIterator[str]:
    """The bridge in this process, before `running`; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    settings = Settings(grpc=running.address, service_key=running.data / "keys" / "bridge.key")
    bridge = server(settings, listener)
    serving = asyncio.create_task(bridge.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        bridge.should_exit = True
        await serving


@asynccontextmanager
async def exchange(data: Path, disk: FaultyDisk) -> AsyncIterator[tuple[Venue, str]]:
    """A gateway whose journal is on `disk`, and a bridge before it. The disk answers again before they stop."""
    async with venue(data, durability="fsync", disk=disk) as running, bridge(running) as base_url:
        try:
            yield running, base_url
        finally:
            disk.answers.set()
