"""The bridge's channels to the engine for what lasts: as many as its sockets need.

A channel is one connection, on which the engine serves a bounded number of streams. What comes beyond waits in the
client, and behind streams that last as long as their sockets it would wait for ever. So a channel is taken up to a
bound of our own, below the engine's, and then there is another one. How many places are taken at once is for those to
bound who take them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from outcry import AsyncClient

STREAMS_PER_CHANNEL = 100  # of the 128 that the engine serves on a connection


class Links:
    """Clients of one kind, each on a channel of its own, and how many places on it are taken."""

    def __init__(self, new_client: Callable[[], AsyncClient]) -> None:
        self.new_client = new_client
        self.taken: dict[AsyncClient, int] = {}

    @contextmanager
    def one(self) -> Iterator[AsyncClient]:
        """Take a place for a while, for one call or stream at a time, on the first channel that has one left."""
        client = next((client for client, taken in self.taken.items() if taken < STREAMS_PER_CHANNEL), None)
        if client is None:
            client = self.new_client()
        self.taken[client] = self.taken.get(client, 0) + 1
        try:
            yield client
        finally:
            self.taken[client] -= 1

    async def close(self) -> None:
        for client in self.taken:
            await client.close()
