"""What can be set of a channel: gRPC's options by their names. Those that are not here are ignored, as gRPC does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from msgspec import Struct
from msgspec.structs import replace

from wire.limits import Limits

UNLIMITED = 1 << 62
# A server that one has chosen is trusted more than a client that comes by; and grpcio's under load sends window updates
# of a few bytes by the thousand.
PATIENCE = 100_000


class Settings(Struct, frozen=True):
    """Sizes in bytes, times in seconds."""

    max_receive: int = 4 << 20
    max_send: int = UNLIMITED
    keepalive_time: float = 0  # none
    keepalive_timeout: float = 20
    keepalive_without_calls: bool = False
    first_backoff: float = 1
    last_backoff: float = 120
    connect_timeout: float = 20
    user_agent: str = "grpc-python-wire"
    authority: str = ""
    tls_name: str = ""
    gzip: bool = False
    limits: Limits = Limits(nuisances=PATIENCE, nuisance_rate=PATIENCE)


def settings_of(options: Iterable[tuple[str, Any]], compression: grpc.Compression | None) -> Settings:
    given = dict(options)

    def size(name: str, default: int) -> int:
        value = given.get(name, default)
        return UNLIMITED if value < 0 else value

    def seconds(name: str, default: float) -> float:
        return float(given[name]) / 1_000 if name in given else default

    default = Settings()
    agents = (given.get("grpc.primary_user_agent"), default.user_agent, given.get("grpc.secondary_user_agent"))
    return Settings(
        max_receive=size("grpc.max_receive_message_length", default.max_receive),
        max_send=size("grpc.max_send_message_length", -1),
        keepalive_time=seconds("grpc.keepalive_time_ms", default.keepalive_time),
        keepalive_timeout=seconds("grpc.keepalive_timeout_ms", default.keepalive_timeout),
        keepalive_without_calls=bool(given.get("grpc.keepalive_permit_without_calls", 0)),
        first_backoff=seconds("grpc.initial_reconnect_backoff_ms", default.first_backoff),
        last_backoff=seconds("grpc.max_reconnect_backoff_ms", default.last_backoff),
        connect_timeout=seconds("grpc.min_reconnect_backoff_ms", default.connect_timeout),
        user_agent=" ".join(agent for agent in agents if agent),
        authority=given.get("grpc.default_authority", ""),
        tls_name=given.get("grpc.ssl_target_name_override", ""),
        gzip=is_gzip(compression),
        limits=replace(default.limits, header_list=metadata_limit(given, default.limits.header_list)),
    )


def metadata_limit(given: dict[str, Any], default: int) -> int:
    """The hard limit; where only the soft one is given, a quarter above it, as gRPC has it."""
    soft = given.get("grpc.max_metadata_size", 0)
    return int(given.get("grpc.absolute_max_metadata_size", max(default, soft * 5 // 4)))


def is_gzip(compression: grpc.Compression | None) -> bool:
    if compression is grpc.Compression.Deflate:
        raise ValueError("Deflate is not offered here for sending; Gzip is")
    return compression is grpc.Compression.Gzip
