"""The transports there are, each as what stands for `grpc.aio.server` and `grpc.aio.insecure_channel`.

Every channel is tried against every server; grpcio on both ends is the reference.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc.aio

import wire
from tests.wire.services import SERVICE, Service

CHANNELS: dict[str, Callable[..., Any]] = {"grpcio": grpc.aio.insecure_channel, "native": wire.insecure_channel}
SERVERS: dict[str, Callable[..., Any]] = {"grpcio": grpc.aio.server, "native": wire.server}

CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # no test inherits a connection, or a backoff, of another
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 200),
)
STOP_S = 5
SERVER_OPTIONS = (("grpc.so_reuseport", 0),)


class Link:
    """A server with the test's service, and a channel to it."""

    def __init__(self, server: Any, channel: Any, service: Service, address: str) -> None:
        self.server = server
        self.channel = channel
        self.service = service
        self.address = address

    def unary(self, method: str, service: str = SERVICE) -> Any:
        return self.channel.unary_unary(f"/{service}/{method}")

    def server_stream(self, method: str) -> Any:
        return self.channel.unary_stream(f"/{SERVICE}/{method}")

    def client_stream(self, method: str) -> Any:
        return self.channel.stream_unary(f"/{SERVICE}/{method}")

    def both_streams(self, method: str) -> Any:
        return self.channel.stream_stream(f"/{SERVICE}/{method}")


class Pair(NamedTuple):
    """A channel of one transport against a server of another."""

    client: str
    peer: str

    def channel(self, address: str, options: Sequence[tuple[str, Any]] = (), **settings: Any) -> Any:
        return CHANNELS[self.client](address, options=[*CHANNEL_OPTIONS, *options], **settings)

    def server(self, options: Sequence[tuple[str, Any]] = (), **settings: Any) -> Any:
        return SERVERS[self.peer](options=[*SERVER_OPTIONS, *options], **settings)

    @asynccontextmanager
    async def serving(
        self,
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] | None = None,
        address: str = "127.0.0.1:0",
        server: dict[str, Any] | None = None,
        channel: dict[str, Any] | None = None,
    ) -> AsyncIterator[Link]:
        """The test's service, with `methods` of the test's own, behind a channel."""
        service = Service()
        running = self.server(**server or {})
        running.add_generic_rpc_handlers((service.handlers(methods or {}),))
        port = running.add_insecure_port(address)
        await running.start()
        reached = address if address.startswith("unix:") else f"127.0.0.1:{port}"
        try:
            async with self.channel(reached, **channel or {}) as opened:
                yield Link(running, opened, service, reached)
        finally:
            service.released.set()
            async with asyncio.timeout(STOP_S):
                await running.stop(None)


REFERENCE = Pair("grpcio", "grpcio")
PAIRS = [Pair(channel, server) for channel in CHANNELS for server in SERVERS]
