"""A client's end of one connection: bytes between its socket and the core, events to the calls that own the streams.

The first that a turn of the loop has to say leaves at once, the rest in one write at its end.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from wire.client_settings import ChannelSettings
from wire.client_tether import Tether
from wire.connection import Connection
from wire.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    GoingAway,
    HeadersReceived,
    PingAnswered,
    SettingsReceived,
    StreamDrained,
    StreamReset,
    TrailersReceived,
)
from wire.frames import ErrorCode
from wire.limits import QUEUED_BYTES
from wire.streams import Stream

if TYPE_CHECKING:
    from wire.client_call import ClientCall
    from wire.client_link import Link

FAREWELL_S = 1.0
SIGN_OF_LIFE = b"alive?\0\0"


class ClientConnection(asyncio.Protocol):
    """`ready` is done when the server has said hello, and fails where the connection ends before."""

    def __init__(self, link: Link, loop: asyncio.AbstractEventLoop, settings: ChannelSettings) -> None:
        self.link = link
        self.loop = loop
        self.settings = settings
        self.core = Connection(is_client=True, limits=settings.limits)
        self.ready: asyncio.Future[None] = loop.create_future()
        self.transport: asyncio.Transport | None = None
        self.flushing = False
        self.flushed_id = -1  # the last stream of which anything has been written
        self.paused = False
        self.left = False  # no new calls come
        self.failure = ""
        self.heard = loop.time()
        self.watch: asyncio.TimerHandle | None = None

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.core.start()
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.heard = now = self.loop.time()
        core = self.core
        for event in core.receive(data, now):
            if isinstance(event, DataReceived):
                self.take_data(event)
            elif isinstance(event, HeadersReceived):
                if (call := event.stream.owner) is not None:
                    call.on_headers(event.block, event.end_stream)
            elif isinstance(event, TrailersReceived):
                if (call := event.stream.owner) is not None:
                    call.on_trailers(event.block)
            else:
                self.take(event)
        self.after_change()

    def take_data(self, event: DataReceived) -> None:
        call: ClientCall | Tether | None = event.stream.owner
        if call is not None:
            call.on_data(event.data, event.size, event.end_stream)
        elif event.size:
            self.core.consumed(event.stream, event.size)

    def take(self, event: Event) -> None:
        """What is not the usual."""
        match event:
            case StreamReset(stream=stream, code=code, by_peer=by_peer):
                if stream.owner is not None:
                    stream.owner.on_reset(code, by_peer)
            case StreamDrained(stream=stream):
                if stream.owner is not None:
                    stream.owner.wake()
            case SettingsReceived():
                if not self.ready.done():
                    self.ready.set_result(None)
            case GoingAway(code=code, debug=debug):
                self.failure = f"GOAWAY received; Error code: {code}; Debug Text: {debug.decode(errors='replace')}"
                self.link.leave(self)
            case PingAnswered():
                if self.watch is not None:
                    self.watch.cancel()
                self.keep_alive()
            case ConnectionFailed(words=words):
                self.fail(f"The server broke the protocol: {words}")

    def after_change(self) -> None:
        """Streams may have ended: whoever waits for one gets it, and a connection that is being left may close."""
        core = self.core
        if core.out:
            self.depart()
        if self.left:
            if not core.streams:
                self.close()
        elif self.link.waiting:
            self.link.pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.watch is not None:
            self.watch.cancel()
        self.lose(f"Socket closed: {exc}" if exc else "Socket closed")

    def lose(self, words: str) -> None:
        """Nothing more comes or goes: the calls that are not over end now, or begin again elsewhere."""
        self.failure = self.failure or words
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(self.failure))
        self.link.leave(self)
        self.link.lines.discard(self)
        self.core.failed = True
        streams = list(self.core.streams.values())
        self.core.streams.clear()
        for stream in streams:
            stream.closed = True
            call: ClientCall | Tether | None = stream.owner
            if call is not None:
                call.on_lost(self.failure, unsent=stream.id > self.flushed_id)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        for stream in self.core.streams.values():
            if stream.owner is not None:
                stream.owner.wake()

    def depart(self) -> None:
        """Let the first that is said in a turn leave at once, as it may be all, and the rest at the end of the turn."""
        if not self.flushing:
            self.flush()
            self.flushing = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        self.flushing = False
        data = self.core.take()
        if data and self.transport is not None:
            self.flushed_id = self.core.last_opened
            self.transport.write(data)

    def close(self) -> None:
        """Say farewell, and let what is written leave, if it does so soon."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            if not self.core.failed:
                self.core.go_away(0, ErrorCode.NO_ERROR)
            self.flush()
            transport.close()
            self.loop.call_later(FAREWELL_S, transport.abort)

    def fail(self, words: str) -> None:
        self.flush()
        self.lose(words)
        self.close()

    # Calls

    def begin(self, call: ClientCall) -> None:
        """NoStreams."""
        core = self.core
        stream = core.open_stream()
        stream.owner = call if call.kept_alive else Tether(call, partial(self.give_back, stream))
        call.stream, call.line = stream, self
        call.on_open(core, stream)
        self.depart()

    def send(self, stream: Stream, data: bytes, end_stream: bool = False) -> None:
        self.core.send_data(stream, data, end_stream)
        self.depart()

    def has_room(self, stream: Stream) -> bool:
        """Whether a writer may go on."""
        return not self.paused and stream.queued <= QUEUED_BYTES

    def give_back(self, stream: Stream, size: int) -> None:
        """So much has been read, or will not be."""
        self.core.consumed(stream, size)
        if self.core.out:
            self.depart()

    def drop(self, stream: Stream, code: ErrorCode) -> None:
        """The call that had the stream is over."""
        stream.owner = None
        if not stream.closed:
            self.core.reset(stream, code)
            self.depart()
            if self.left or self.link.waiting:
                self.loop.call_soon(self.after_change)

    # Signs of life

    def keep_alive(self) -> None:
        if self.settings.keepalive_s:
            self.watch = self.loop.call_later(self.settings.keepalive_s, self.look)

    def look(self) -> None:
        """A server that has said nothing for long is asked for a sign of life."""
        quiet = self.loop.time() - self.heard
        wanted = bool(self.core.streams) or self.settings.keepalive_without_calls
        if quiet < self.settings.keepalive_s or not wanted:
            rest = self.settings.keepalive_s - quiet
            self.watch = self.loop.call_later(rest if rest > 0 else self.settings.keepalive_s, self.look)
            return
        self.core.ping(SIGN_OF_LIFE)
        self.flush()
        self.watch = self.loop.call_later(self.settings.keepalive_timeout_s, self.judge, self.loop.time())

    def judge(self, asked: float) -> None:
        if self.heard >= asked:
            self.look()
        else:
            self.fail("Keepalive watchdog timeout")


def negotiated(transport: Any) -> str | None:
    """The protocol that TLS has settled on; None without TLS."""
    tls = transport.get_extra_info("ssl_object")
    return None if tls is None else str(tls.selected_alpn_protocol())
