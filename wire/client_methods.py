"""A method of a server, as a stub calls it. What its requests begin with is encoded once for each metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import grpc.aio
from grpc import CallCredentials, Compression
from grpc.aio import UsageError

from wire.client_calls import (
    Requests,
    StreamStreamCall,
    StreamUnaryCall,
    UnaryStreamCall,
    UnaryUnaryCall,
)
from wire.client_settings import is_gzip
from wire.hpack import encode
from wire.metadata import to_fields

if TYPE_CHECKING:
    from wire.channel import Channel

Serializer = Callable[[Any], bytes] | None
Deserializer = Callable[[bytes], Any] | None
Metadata = Iterable[tuple[str, str | bytes]]

CACHED_BLOCKS = 256
OURS = frozenset({"content-type", "te", "user-agent"})  # a caller's are dropped, as grpcio does


class Method:
    def __init__(self, channel: Channel, path: str, serialize: Serializer, deserialize: Deserializer) -> None:
        self.channel = channel
        self.link = channel.link
        self.settings = channel.link.settings
        self.path = path
        self.serialize = serialize
        self.deserialize = deserialize
        self.blocks: dict[tuple[Any, bool], bytes] = {}
        self.plain = self.encoded((), self.settings.gzip)

    def opening(
        self, metadata: Metadata | None, credentials: CallCredentials | None, compression: Compression | None
    ) -> tuple[bytes, bool]:
        """The block that a request begins with, and whether its messages are compressed."""
        if metadata is None and credentials is None and compression is None:
            return self.plain, self.settings.gzip
        if credentials is not None:
            raise UsageError("Call credentials are not supported: send what they say as metadata")
        gzip = self.settings.gzip if compression is None else is_gzip(compression)
        pairs = tuple(metadata or ())
        key = (pairs, gzip)
        block = self.blocks.get(key)
        if block is None:
            block = self.encoded(tuple(grpc.aio.Metadata(*pairs)), gzip)  # which brings those of one key together
            if len(self.blocks) == CACHED_BLOCKS:
                self.blocks.clear()
            self.blocks[key] = block
        return block, gzip

    def encoded(self, metadata: tuple[tuple[str, str | bytes], ...], gzip: bool) -> bytes:
        return encode(
            [
                (b":method", b"POST"),
                (b":scheme", b"http" if self.link.context is None else b"https"),
                (b":path", self.path.encode()),
                (b":authority", self.link.authority),
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc"),
                (b"user-agent", self.settings.user_agent.encode()),
                (b"grpc-accept-encoding", b"identity, deflate, gzip"),
                *([(b"grpc-encoding", b"gzip")] if gzip else []),
                *to_fields((key, value) for key, value in metadata if key not in OURS),
            ]
        )


class UnaryUnary(Method, grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: Compression | None = None,
    ) -> UnaryUnaryCall:
        block, gzip = self.opening(metadata, credentials, compression)
        call = UnaryUnaryCall(self, block, timeout, wait_for_ready, gzip)
        call.ask(request)
        return call


class UnaryStream(Method, grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: Compression | None = None,
    ) -> UnaryStreamCall:
        block, gzip = self.opening(metadata, credentials, compression)
        call = UnaryStreamCall(self, block, timeout, wait_for_ready, gzip)
        call.ask(request)
        return call


class StreamUnary(Method, grpc.aio.StreamUnaryMultiCallable[Any, Any]):
    def __call__(
        self,
        request_iterator: Requests | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: Compression | None = None,
    ) -> StreamUnaryCall:
        block, gzip = self.opening(metadata, credentials, compression)
        call = StreamUnaryCall(self, block, timeout, wait_for_ready, gzip)
        call.feed(request_iterator)
        return call


class StreamStream(Method, grpc.aio.StreamStreamMultiCallable[Any, Any]):
    def __call__(
        self,
        request_iterator: Requests | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: Compression | None = None,
    ) -> StreamStreamCall:
        block, gzip = self.opening(metadata, credentials, compression)
        call = StreamStreamCall(self, block, timeout, wait_for_ready, gzip)
        call.feed(request_iterator)
        return call
