"""What can be set of a server, by the names that grpcio gives its options."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from math import inf
from typing import Any

from msgspec import Struct, field

from wire.limits import UNLIMITED, Limits

NEVER_MS = (1 << 31) - 1  # as gRPC writes it
MOST_CONNECTIONS = 10_000
RESERVED_FILES = 128  # for journals, logs and whatever else the process opens
PING_STRIKES = 2  # gRPC's, as are the intervals
PING_INTERVAL_S = 300.0
IDLE_PING_INTERVAL_S = 7_200.0


def affordable_connections() -> int:
    """As many as the limit of open files (RLIMIT_NOFILE) leaves room for."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(MOST_CONNECTIONS, max(files - RESERVED_FILES, files // 2))


class ServerSettings(Struct, frozen=True):
    """Sizes in bytes, times in seconds."""

    receive_limit: int = 4 << 20
    send_limit: int = UNLIMITED
    concurrent_calls: int = UNLIMITED
    spare_calls: int = 0  # of each connection, beyond those: that many of some leave room for a few of all others
    connections: int = field(default_factory=affordable_connections)
    keepalive_s: float = 7_200.0
    keepalive_timeout_s: float = 20.0
    idle_s: float = inf  # without a call, until a connection is asked to leave
    age_s: float = inf  # of a connection, until it is; a tenth more or less
    age_grace_s: float = inf  # then, for its calls to end
    handshake_s: float = 10.0  # to say hello, or to finish a block of header fields
    stalled_s: float = 20.0  # for a reader to take what the kernel has no more room for
    first_request_s: float = 0.02  # for the first request of a stream to come, before its call is refused
    linger_s: float = 1.0  # for a peer to read why it is sent away
    look_s: float = 1.0  # between looks at the connections
    unsent: int = 64 << 20  # of one connection's answers; above it calls end with RESOURCE_EXHAUSTED
    unfinished: int = 64 << 20  # of one connection's requests that are not whole, or that nobody has read; likewise
    held: int = 512 << 20  # of both, of all connections; above it those who hold much get no more
    share_port: bool = False  # with other servers; grpcio does unless told otherwise
    limits: Limits = Limits()


def server_settings(options: Iterable[tuple[str, Any]], concurrent_calls: int | None) -> ServerSettings:
    """The settings in grpcio's `options`; names that mean nothing here are passed over, as grpcio does."""
    given = dict(options)

    def seconds(name: str, default: float) -> float:
        if name not in given:
            return default
        return given[name] / 1e3 if given[name] < NEVER_MS else inf

    ping_interval_s = seconds("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_S)
    permits_idle_pings = given.get("grpc.keepalive_permit_without_calls", 0)
    defaults = ServerSettings()
    limits = Limits(
        streams=given.get("grpc.max_concurrent_streams", defaults.limits.streams),
        header_list=given.get("grpc.absolute_max_metadata_size", defaults.limits.header_list),
        ping_strikes=given.get("grpc.http2.max_ping_strikes", PING_STRIKES),
        ping_interval_s=ping_interval_s,
        idle_ping_interval_s=ping_interval_s if permits_idle_pings else IDLE_PING_INTERVAL_S,
    )
    receive_limit = bound(given.get("grpc.max_receive_message_length", defaults.receive_limit))
    return ServerSettings(
        receive_limit=receive_limit,
        unfinished=max(defaults.unfinished, receive_limit),
        send_limit=bound(given.get("grpc.max_send_message_length", defaults.send_limit)),
        concurrent_calls=defaults.concurrent_calls if concurrent_calls is None else concurrent_calls,
        spare_calls=given.get("wire.spare_calls", defaults.spare_calls),
        keepalive_s=seconds("grpc.keepalive_time_ms", defaults.keepalive_s),
        keepalive_timeout_s=seconds("grpc.keepalive_timeout_ms", defaults.keepalive_timeout_s),
        idle_s=seconds("grpc.max_connection_idle_ms", inf),
        age_s=seconds("grpc.max_connection_age_ms", inf),
        age_grace_s=seconds("grpc.max_connection_age_grace_ms", inf),
        share_port=bool(given.get("grpc.so_reuseport", 0)),
        limits=limits,
    )


def bound(size: int) -> int:
    """-1 stands for no limit."""
    return UNLIMITED if size < 0 else size
