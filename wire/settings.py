"""What can be set of a server, by the names that grpcio gives its options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from wire.limits import UNLIMITED, Limits


class ServerSettings(Struct, frozen=True):
    """Sizes in bytes, times in seconds."""

    receive_limit: int = 4 << 20
    send_limit: int = UNLIMITED
    concurrent_calls: int = UNLIMITED
    connections: int = 10_000
    keepalive_s: float = 7_200.0
    keepalive_timeout_s: float = 20.0
    handshake_s: float = 10.0  # to say hello, or to finish a block of header fields
    stalled_s: float = 20.0  # for a reader to take what the kernel has no more room for
    linger_s: float = 1.0  # for a peer to read why it is sent away
    look_s: float = 1.0  # between looks at the connections
    unsent: int = 64 << 20  # of one connection's answers; above it calls end with RESOURCE_EXHAUSTED
    unfinished: int = 64 << 20  # of one connection's requests that are not whole; likewise
    limits: Limits = Limits()


def server_settings(options: Iterable[tuple[str, Any]], concurrent_calls: int | None) -> ServerSettings:
    """The settings in grpcio's `options`; names that mean nothing here are passed over, as grpcio does."""
    given = dict(options)
    defaults = ServerSettings()
    limits = Limits(
        streams=given.get("grpc.max_concurrent_streams", defaults.limits.streams),
        header_list=given.get("grpc.absolute_max_metadata_size", defaults.limits.header_list),
    )
    receive_limit = bound(given.get("grpc.max_receive_message_length", defaults.receive_limit))
    return ServerSettings(
        receive_limit=receive_limit,
        unfinished=max(defaults.unfinished, receive_limit),
        send_limit=bound(given.get("grpc.max_send_message_length", defaults.send_limit)),
        concurrent_calls=defaults.concurrent_calls if concurrent_calls is None else concurrent_calls,
        keepalive_s=given.get("grpc.keepalive_time_ms", defaults.keepalive_s * 1e3) / 1e3,
        keepalive_timeout_s=given.get("grpc.keepalive_timeout_ms", defaults.keepalive_timeout_s * 1e3) / 1e3,
        limits=limits,
    )


def bound(size: int) -> int:
    """-1 stands for no limit."""
    return UNLIMITED if size < 0 else size
