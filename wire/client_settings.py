"""What can be set of a channel: gRPC's options by their names. Those that are not here are ignored, as gRPC does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from msgspec import Struct
from msgspec.structs import replace

from wire.limits import UNLIMITED, Limits
from wire.settings import bound

# A server that one has chosen is trusted more than a client that comes by; and grpcio's under load sends window updates
# of a few bytes by the thousand.
PATIENCE = 100_000


class ChannelSettings(Struct, frozen=True):
    """Sizes in bytes."""

    receive_limit: int = 4 << 20
    send_limit: int = UNLIMITED
    keepalive_s: float = 0.0  # none
    keepalive_timeout_s: float = 20.0
    keepalive_without_calls: bool = False
    first_backoff_s: float = 1.0
    last_backoff_s: float = 120.0
    connect_timeout_s: float = 20.0
    user_agent: str = "grpc-python-wire"
    authority: str = ""
    tls_name: str = ""
    gzip: bool = False
    limits: Limits = Limits(nuisances=PATIENCE, nuisance_rate=PATIENCE)


def settings_of(options: Iterable[tuple[str, Any]], compression: grpc.Compression | None) -> ChannelSettings:
    given = dict(options)

    def seconds(name: str, default: float) -> float:
        return float(given[name]) / 1_000 if name in given else default

    default = ChannelSettings()
    agents = (given.get("grpc.primary_user_agent"), default.user_agent, given.get("grpc.secondary_user_agent"))
    return ChannelSettings(
        receive_limit=bound(given.get("grpc.max_receive_message_length", default.receive_limit)),
        send_limit=bound(given.get("grpc.max_send_message_length", default.send_limit)),
        keepalive_s=seconds("grpc.keepalive_time_ms", default.keepalive_s),
        keepalive_timeout_s=seconds("grpc.keepalive_timeout_ms", default.keepalive_timeout_s),
        keepalive_without_calls=bool(given.get("grpc.keepalive_permit_without_calls", 0)),
        first_backoff_s=seconds("grpc.initial_reconnect_backoff_ms", default.first_backoff_s),
        last_backoff_s=seconds("grpc.max_reconnect_backoff_ms", default.last_backoff_s),
        connect_timeout_s=seconds("grpc.min_reconnect_backoff_ms", default.connect_timeout_s),
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
