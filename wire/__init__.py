"""HTTP/2 and gRPC of our own, in the place of grpc.aio: a server, a channel, and their credentials.

Below them lies a core that opens no socket: `wire.connection` for HTTP/2, `wire.hpack` for its header fields.
"""

from __future__ import annotations

from wire.channel import insecure_channel, secure_channel
from wire.credentials import ssl_channel_credentials, ssl_server_credentials
from wire.server import Server, server

__all__ = [
    "Server",
    "insecure_channel",
    "secure_channel",
    "server",
    "ssl_channel_credentials",
    "ssl_server_credentials",
]
