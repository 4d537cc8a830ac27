"""What a stub calls: one method of a server. What its requests begin with is encoded once for each metadata."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import grpc.aio
from grpc import CallCredentials, Compression
from grpc.aio import ClientCallDetails, Metadata

from wire.client_calls import StreamStreamCall, StreamUnaryCall, UnaryStreamCall, UnaryUnaryCall
from wire.client_settings import is_gzip
from wire.hpack import encode
from wire.metadata import Pairs, to_fields

if TYPE_CHECKING:
    from wire.channel import Channel

Serializer = Callable[[Any], bytes] | None
Deserializer = Callable[[bytes], Any] | None
Intercept = Callable[[Any, ClientCallDetails, Compression | None], Any]  # begins a call by way of interceptors

CACHED_BLOCKS = 256
OURS = frozenset({"content-type", "te", "user-agent"})  # a caller's are dropped, as grpcio does


class MultiCallable:
    """gRPC's word for it. Calling it begins a call of its `kind`."""

    kind: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        channel: Channel,
        path: str,
        serialize: Serializer,
        deserialize: Deserializer,
        intercept: Intercept | None = None,
    ) -> None:
        self.channel = channel
        self.link = channel.link
        self.settings = channel.link.settings
        self.path = path
        self.serialize = serialize
        self.deserialize = deserialize
        self.intercept = intercept
        self.blocks: dict[tuple[Any, bool], bytes] = {}
        self.plain = self.encoded((), self.settings.gzip)

    def __call__(
        self,
        request: Any = None,
        timeout: float | None = None,
        metadata: Pairs | None = None,
        credentials: CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: Compression | None = None,
        *,
        request_iterator: Any = None,
    ) -> Any:
        """`request` is one, or where they are a stream an iterator of them, or None where the caller is going to write.

        TypeError for `credentials`: those of grpcio do not say what they are. What they would send is to be given as
        metadata, by the caller or by an interceptor. `request_iterator` is grpcio's name for a stream of requests.
        """
        if request_iterator is not None:
            request = request_iterator
        if self.intercept is not None:
            path: Any = self.path.encode()  # bytes, as in grpcio
            details = ClientCallDetails(path, timeout, Metadata(*(metadata or ())), credentials, wait_for_ready)
            return self.intercept(request, details, compression)
        block, gzip = self.opening(metadata, credentials, compression)
        call = self.kind(self, block, timeout, wait_for_ready, gzip)
        call.ask(request)
        return call

    def at(self, path: str) -> MultiCallable:
        """The same for another method."""
        return self if path == self.path else type(self)(self.channel, path, self.serialize, self.deserialize)

    def opening(
        self, metadata: Pairs | None, credentials: CallCredentials | None, compression: Compression | None
    ) -> tuple[bytes, bool]:
        """The block that a request begins with, and whether its messages are compressed."""
        if metadata is None and credentials is None and compression is None:
            return self.plain, self.settings.gzip
        if credentials is not None:
            raise TypeError("Call credentials are opaque: send what they say as metadata, or let an interceptor do so")
        gzip = self.settings.gzip if compression is None else is_gzip(compression)
        pairs = tuple((name, value) for name, value in metadata or ())
        key = (pairs, gzip)
        block = self.blocks.get(key)
        if block is None:
            block = self.encoded(tuple(Metadata(*pairs)), gzip)  # which brings those of one key together
            if len(self.blocks) == CACHED_BLOCKS:
                self.blocks.clear()
            self.blocks[key] = block
        return block, gzip

    def encoded(self, metadata: Pairs, gzip: bool) -> bytes:
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


class UnaryUnary(MultiCallable, grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    kind = UnaryUnaryCall


class UnaryStream(MultiCallable, grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    kind = UnaryStreamCall


class StreamUnary(MultiCallable, grpc.aio.StreamUnaryMultiCallable[Any, Any]):  # type: ignore[misc]  # two names for the first
    kind = StreamUnaryCall


class StreamStream(MultiCallable, grpc.aio.StreamStreamMultiCallable[Any, Any]):  # type: ignore[misc]  # two names for the first
    kind = StreamStreamCall
