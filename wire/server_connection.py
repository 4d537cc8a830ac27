"""One client's connection: a socket around the sans-I/O core, and the calls on it.

What the core has to say leaves in one write at the end of a turn of the loop; only a stream's answer that is the first
of a turn goes ahead of the others (`depart`). A client that does not take its answers is not read from either, so that
what waits for it stays within what its calls could ask for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from ssl import SSLObject
from typing import TYPE_CHECKING, Any, cast

from grpc import StatusCode

from wire.addresses import peer_name
from wire.answers import http_block, refusal_block
from wire.connection import Connection
from wire.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    HeadersReceived,
    PingAnswered,
    StreamDrained,
    StreamReset,
    TrailersReceived,
)
from wire.frames import LARGEST_STREAM_ID, ErrorCode
from wire.hello import Hello
from wire.hpack import Block
from wire.identities import identity
from wire.limits import UNLIMITED
from wire.lingering import Lingering
from wire.requests import Head
from wire.server_call import LARGE_BYTES, TOO_MANY
from wire.servicer_context import ServerCall
from wire.streams import Stream
from wire.tenure import Tenure

if TYPE_CHECKING:
    from wire.server import Server

WRITE_BUFFER = 1 << 20  # bytes that the kernel has not taken, above which nothing more is read
PIECE_BYTES = 512  # that a piece of output counts as, whatever its size
ALIVE = b"outcry\x00\x01"  # the payload of our pings
FAREWELL = b"outcry\x00\x02"  # of the one that says when the peer has read that we are leaving

log = logging.getLogger("wire")


class ServerConnection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self.server = server
        self.settings = server.settings
        self.loop = server.loop
        self.core = Connection(is_client=False, limits=server.settings.limits)
        self.core.burden = server.burden
        self.core.templates = server.templates
        self.flushing = False  # it is to be done before this turn of the loop is over
        self.paused = False
        self.paused_since = 0.0
        self.unread: set[Stream] = set()  # those whose answer waits for a window, while the client may still be sending
        self.lingering = Lingering(self.core, self.settings)
        self.hello = Hello(self.core)
        self.heard_at = self.pinged_at = self.begun_at = 0.0
        self.pinging = False
        self.watched = False  # it has calls with deadlines
        self.leaving_at: float | None = None  # it has been asked to begin no more calls
        self.left = False  # it can begin no more
        self.parting_at: float | None = None
        self.unflushed = 0  # bytes of large answers in this turn
        self.unfinished = 0  # bytes of requests that are not whole, or that nobody has read
        self.stuck = 0  # bytes that the kernel does not take, when last looked at
        self.tenure = Tenure(self, self.loop.time())
        self.small = min(LARGE_BYTES, server.settings.send_limit)  # bytes of an answer that is no trouble
        self.peer = ""
        self.auth_context: Mapping[str, list[bytes]] = {}

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.peer = peer_name(transport.get_extra_info("peername"))
        self.heard_at = self.begun_at = self.loop.time()
        tls: SSLObject | None = transport.get_extra_info("ssl_object")
        self.auth_context = identity(tls)
        is_strange = tls is not None and tls.selected_alpn_protocol() != "h2"
        is_late = self.server.stopped.is_set()
        self.server.arriving.discard(self)
        if is_strange or is_late:
            self.transport.abort()
            return
        self.server.connections.add(self)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self.core.start()
        if self.server.stopping:
            self.leave()
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.heard_at = now = self.loop.time()
        self.flushing = True  # at the end of this
        for event in self.core.receive(data, now):
            if isinstance(event, HeadersReceived):
                whole = event.data
                if whole is None and event.stream.closed and not event.end_stream:
                    continue  # reset in what was read with it: there is nobody to answer
                call = self.begin(event.stream, event.block, now)
                if call is None:
                    continue
                if whole is not None:
                    call.receive_whole(whole)
                elif event.end_stream:
                    call.end_requests()
                elif call.requests is None:
                    call.hold_unfinished()
            elif isinstance(event, DataReceived):
                if event.stream.owner is not None:
                    event.stream.owner.receive(event)
                else:
                    self.lingering.discard(event)
            else:
                self.take(event)
        self.flush()

    def take(self, event: Event) -> None:
        """What comes less often than requests."""
        if isinstance(event, StreamReset):
            self.unread.discard(event.stream)
            self.lingering.end(event.stream)
            if event.stream.owner is not None:
                event.stream.owner.lose()
                event.stream.owner = None
        elif isinstance(event, TrailersReceived):
            if event.stream.owner is not None:
                event.stream.owner.end_requests()
        elif isinstance(event, StreamDrained):
            self.drained(event.stream)
        elif isinstance(event, PingAnswered):
            self.pinging = False
            if event.payload == FAREWELL and self.leaving_at is not None:
                self.settle()
        elif isinstance(event, ConnectionFailed):
            log.warning("%s: %s, %s", self.peer, event.code.name, event.words)
            self.drop_calls()
            self.flush()
            self.part()

    def drained(self, stream: Stream) -> None:
        if stream.owner is not None and not stream.owner.ended:
            stream.owner.wake_writer()
            return
        stream.owner = None
        if stream in self.unread:
            self.unread.discard(stream)
            self.dismiss(stream)

    def pause_writing(self) -> None:
        self.paused = True
        self.paused_since = self.loop.time()
        self.weigh()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.paused = False
        self.weigh()
        self.transport.resume_reading()
        for call in self.calls():
            call.wake_writer()

    def eof_received(self) -> None:
        """Without the peer's frames nothing can go on; what has been said may still leave."""
        self.drop_calls()
        self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.paused = False
        self.weigh()
        self.parting_at = self.loop.time()
        self.core.failed = True
        self.server.connections.discard(self)
        self.drop_calls()
        self.server.connection_ended()

    def schedule(self) -> None:
        """Let what is ready leave at the end of this turn, or with the server's next flush."""
        if not self.flushing:
            self.flushing = True
            self.server.schedule(self)

    def depart(self) -> None:
        """Let the first that is said in a turn leave at once, as it may be all, and the rest at the end of the turn."""
        if not self.flushing:
            self.flush()
            self.schedule()

    def flush(self) -> None:
        self.flushing = False
        self.unflushed = 0
        core = self.core
        if core.out:
            data = core.take()
            if self.parting_at is None:
                self.transport.write(data)
        if self.left and not core.streams and self.parting_at is None:
            self.part()

    @property
    def output(self) -> int:
        """What waits for the end of the turn, in bytes as far as its pieces tell: quicker than to add them up."""
        return len(self.core.out) * PIECE_BYTES

    def reserve(self, size: int) -> bool:
        """Take room for a large answer, which waits with the others for a window, the kernel, the end of the turn;
        whether there is so much."""
        self.unflushed += size
        if self.paused:
            self.weigh()
        waiting = self.core.queued + self.unflushed + self.stuck
        limit = self.settings.unsent
        share = self.server.burden.share(limit, self.unflushed)
        return waiting <= share or (waiting == size and share == limit)

    def is_overfull(self) -> bool:
        """Whether too much is held of requests that are not whole, or that nobody has read."""
        return self.unfinished > self.server.burden.share(self.settings.unfinished)

    def weigh(self) -> None:
        """Count what the kernel does not take."""
        stuck = self.transport.get_write_buffer_size() if self.paused else 0
        self.server.burden.add(stuck - self.stuck)
        self.stuck = stuck

    # Calls

    def calls(self) -> list[ServerCall]:
        return [stream.owner for stream in list(self.core.streams.values()) if stream.owner is not None]

    def drop_calls(self) -> None:
        """There is nobody to answer."""
        for call in self.calls():
            call.lose()
            call.stream.owner = None
        self.core.forget_all()
        self.unread.clear()
        self.lingering.streams.clear()

    def begin(self, stream: Stream, block: Block, now: float) -> ServerCall | None:
        """A request: find its method, or say why there is none."""
        template, timeout_s = block.template, block.timeout_s
        head = None if template is None else template.memo
        if head is None:
            head = self.server.head(block)
        method = head.method
        if method is None:
            self.turn_away(stream, head)
            return None
        if timeout_s == 0:
            self.refuse(stream, StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            return None
        server = self.server
        if server.calls >= server.burden.admits and (words := self.objection()):
            self.refuse(stream, StatusCode.RESOURCE_EXHAUSTED, words)
            return None
        server.calls += 1
        deadline = None if timeout_s is None else now + timeout_s
        call = stream.owner = ServerCall(self, stream, head, head.memo, method, deadline)
        if server.compression is not None:
            call.compress(server.compression)
        if timeout_s is not None and not self.watched:
            self.watched = True
            server.watch(self)
        if method.starts_at_once:
            method.start(call)
        return call

    def objection(self) -> str:
        """Why there can be no more calls now; empty where there can."""
        if self.is_crowded():
            return TOO_MANY
        held = self.core.queued + self.unfinished + self.stuck
        return "Too much waits to be read or finished" if held > self.server.burden.share(UNLIMITED) else ""

    def is_crowded(self) -> bool:
        """Whether there are as many calls as there may be, and this connection has more than its spare ones."""
        settings = self.settings
        return self.server.calls >= settings.concurrent_calls and len(self.core.streams) > settings.spare_calls

    def turn_away(self, stream: Stream, head: Head) -> None:
        """What cannot be a call of any method."""
        if head.refusal is not None:
            self.refuse(stream, *head.refusal)
        elif head.http_status:
            self.core.send_headers(stream, http_block(head.http_status), end_stream=True)
            self.dismiss(stream)
        else:
            self.refuse(stream, StatusCode.UNIMPLEMENTED, "Method not found!")

    def refuse(self, stream: Stream, code: StatusCode, words: str) -> None:
        self.core.send_headers(stream, refusal_block(code, words), end_stream=True)
        self.dismiss(stream)

    def dismiss(self, stream: Stream) -> None:
        """The answer is given; the rest of the request is of no use."""
        if not stream.closed:
            self.lingering.add(stream, self.loop.time())

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self.server.tasks.add(task)
        task.add_done_callback(self.server.tasks.discard)
        return task

    def expire(self, now: float) -> None:
        """End the calls whose time is over."""
        self.watched = False
        for call in self.calls():
            if call.deadline is not None:
                self.watched = True
                if call.deadline <= now:
                    call.expire()

    def call_ended(self) -> None:
        self.server.calls -= 1

    # Life and death

    def look(self, now: float) -> None:
        """Once in a while: is anybody there?"""
        settings = self.settings
        if self.parting_at is None:
            self.tenure.look(now)
        if self.lingering.look(now):
            self.schedule()
        if self.parting_at is not None:
            if now - self.parting_at > settings.linger_s:
                self.transport.abort()
        elif self.paused:
            self.weigh()
            if now - self.paused_since > settings.stalled_s:
                self.transport.abort()
        elif now - self.hello.since(self.begun_at, now) > settings.handshake_s:
            self.transport.abort()
        elif self.leaving_at is not None and not self.left:
            if now - self.leaving_at > settings.linger_s:
                self.settle()
        elif self.pinging:
            if now - self.pinged_at > settings.keepalive_timeout_s:
                self.transport.abort()
        elif now - self.heard_at > settings.keepalive_s:
            self.pinging, self.pinged_at = True, now
            self.core.ping(ALIVE)
            self.schedule()

    def leave(self) -> None:
        """Ask for no more calls, and close once those that there are have ended.

        A client may have begun some before it reads that, and not every client begins them again elsewhere: the first
        GOAWAY refuses none, and the one that does comes when the client has read the first (RFC 9113, section 6.8).
        """
        if self.leaving_at is None:
            self.leaving_at = self.loop.time()
            self.core.go_away(LARGEST_STREAM_ID, ErrorCode.NO_ERROR)
            self.core.ping(FAREWELL)
            self.schedule()

    def settle(self) -> None:
        """Take no more calls."""
        if not self.left:
            self.left = True
            self.core.last_taken = self.core.last_accepted
            self.core.go_away(self.core.last_accepted, ErrorCode.NO_ERROR)
            self.schedule()

    def abandon(self, words: str) -> None:
        """Cancel what still runs, and close."""
        for call in self.calls():
            call.abandon(words)
        self.settle()
        self.close()

    def part(self) -> None:
        """All has been said. The peer gets a moment to read it: a socket that is closed while there is something
        unread in it takes back what has not been read at the other end."""
        if self.parting_at is None:
            self.parting_at = self.loop.time()
            if self.transport.is_closing() or not self.transport.can_write_eof():
                self.transport.close()
                return
            with suppress(OSError):  # the peer has gone, which we are to hear of soon
                self.transport.write_eof()

    def close(self) -> None:
        self.flush()
        self.parting_at = self.parting_at or self.loop.time()
        self.transport.close()
