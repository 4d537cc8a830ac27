"""Streams that are answered while the client still sends.

The rest of such a request is of no use, and RFC 9113 (section 8.1) lets a server say so by RST_STREAM with NO_ERROR.
But a client that knows nothing of gRPC may take that for a failure, and lose the answer; curl does. So it may go on for
a while, unread: it costs us less than a request that is served.
"""

from __future__ import annotations

from msgspec import Struct

from wire.connection import Connection
from wire.events import DataReceived
from wire.frames import ErrorCode
from wire.settings import ServerSettings
from wire.streams import Stream

MOST = 100  # streams of a connection; for one more, the first of them is reset


class Patience(Struct):
    until: float  # by the loop's clock
    size: int  # bytes that may still come


class Lingering:
    """They count as open: a client that ends none of its requests runs into the limit of streams."""

    def __init__(self, core: Connection, settings: ServerSettings) -> None:
        self.core = core
        self.settings = settings
        self.streams: dict[Stream, Patience] = {}

    def add(self, stream: Stream, now: float) -> None:
        if len(self.streams) >= MOST:
            self.end(next(iter(self.streams)))
        self.streams[stream] = Patience(now + self.settings.linger_s, self.settings.receive_limit)

    def discard(self, event: DataReceived) -> None:
        """Data that came too late to be read."""
        stream = event.stream
        if event.size:
            self.core.consumed(stream, event.size)
        patience = self.streams.get(stream)
        if patience is not None:
            patience.size -= event.size
            if patience.size < 0 or stream.closed:
                self.end(stream)
                self.core.refill()  # curl 7.88, which has sent all, looks for what it has only once it hears something

    def end(self, stream: Stream) -> None:
        if self.streams.pop(stream, None) is not None:
            self.core.reset(stream, ErrorCode.NO_ERROR)

    def look(self, now: float) -> bool:
        """End those whose time is over. Whether there were any."""
        late = [stream for stream, patience in self.streams.items() if patience.until < now]
        for stream in late:
            self.end(stream)
        return bool(late)
