"""What a connection says of the bytes that it was given: one closed union, in the order in which they came."""

from __future__ import annotations

from msgspec import Struct

from wire.frames import ErrorCode
from wire.hpack import Block
from wire.streams import Stream


class HeadersReceived(Struct, gc=False):
    """A request on a new stream, or the response on one of ours.

    `data` is all of a request's, where it has come with its head, as in most calls: no DataReceived follows, and the
    window has been given back.
    """

    stream: Stream
    block: Block
    end_stream: bool
    data: bytes | None = None


class DataReceived(Struct, gc=False):
    """`size` bytes of window are to be given back by `Connection.consumed`; 0 where that has been done."""

    stream: Stream
    data: bytes
    size: int
    end_stream: bool


class TrailersReceived(Struct, gc=False):
    stream: Stream
    block: Block


class StreamReset(Struct, gc=False):
    """The stream is closed: by the peer, or by us for a fault of the peer's."""

    stream: Stream
    code: int
    by_peer: bool


class StreamDrained(Struct, gc=False):
    """What waited for the peer's window has left."""

    stream: Stream


class SettingsReceived(Struct, gc=False):
    """The peer's settings, first or changed, are in force."""


class PingAnswered(Struct, gc=False):
    payload: bytes


class GoingAway(Struct, gc=False):
    """The peer takes no streams above `last_stream_id`; those of ours are reset by it."""

    last_stream_id: int
    code: int
    debug: bytes


class ConnectionFailed(Struct, gc=False):
    """The peer broke the protocol or a limit. A GOAWAY is in the output; nothing more is read."""

    code: ErrorCode
    words: str


Event = (
    HeadersReceived
    | DataReceived
    | TrailersReceived
    | StreamReset
    | StreamDrained
    | SettingsReceived
    | PingAnswered
    | GoingAway
    | ConnectionFailed
)
