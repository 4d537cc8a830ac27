"""How the client speaks gRPC: explicit limits, and links that come back soon after the exchange does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

import wire
from outcry import v1

ChannelT = TypeVar("ChannelT", bound=grpc.Channel | grpc.aio.Channel)

Metadata = Sequence[tuple[str, str]]

RATE_LIMIT_FIELDS = ("ratelimit", "ratelimit-policy")
LARGEST_MESSAGE_BYTES = 64 * 2**20  # a sweep through a deep book has one fill for each order it met

OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", LARGEST_MESSAGE_BYTES),
    # A dead peer is noticed while a call or stream waits for it.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A restarted exchange is found again within a second or so; grpc's own defaults go up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # despite its name, the time that one attempt to connect is given
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Each client has a link of its own, whose state and waits no other client in the process shares.
    ("grpc.use_local_subchannel_pool", 1),
]


class Stubs:
    """The services of one channel, synchronous or asyncio's."""

    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None:
        self.orders = v1.OrderEntryStub(channel)
        self.executions = v1.ExecutionFeedStub(channel)
        self.market_data = v1.MarketDataStub(channel)
        self.accounts = v1.AccountsStub(channel)
        self.operations = v1.OperationsStub(channel)


class Link(Generic[ChannelT]):
    """A channel that opens at first use, so that asyncio's opens in the loop it is used in."""

    def __init__(self, open_channel: Callable[[], ChannelT]) -> None:
        self.open_channel = open_channel
        self.channel: ChannelT | None = None
        self.stubs_of_channel: Stubs | None = None

    @property
    def stubs(self) -> Stubs:
        if self.stubs_of_channel is None:
            self.channel = self.open_channel()
            self.stubs_of_channel = Stubs(self.channel)
        return self.stubs_of_channel


def open_channel(address: str, root_certificates: bytes | None) -> grpc.Channel:
    """A channel to `address`: by TLS where there are roots (PEM) to trust, else plain."""
    if root_certificates is None:
        return grpc.insecure_channel(address, options=OPTIONS)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(root_certificates), options=OPTIONS)


def open_async_channel(address: str, root_certificates: bytes | None) -> grpc.aio.Channel:
    """As `open_channel`, for asyncio, on our own wire; call it where the loop runs."""
    if root_certificates is None:
        return wire.insecure_channel(address, options=OPTIONS)
    return wire.secure_channel(address, wire.ssl_channel_credentials(root_certificates), options=OPTIONS)


def keyed(metadata: Metadata, api_key: str | None) -> tuple[tuple[str, str], ...]:
    """The metadata of a call: what is given, and the key."""
    return tuple(metadata) if api_key is None else (*metadata, ("x-api-key", api_key))


def rate_limits(metadata: Iterable[Any] | None) -> dict[str, str]:
    """What an answer says of the limits that its caller is held to: `RateLimit` and `RateLimit-Policy`, as in HTTP."""
    return {name: str(value) for name, value in metadata or () if name in RATE_LIMIT_FIELDS}
