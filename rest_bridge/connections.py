"""Limits of a connection that uvicorn has no setting for.

uvicorn waits for ever: for a request that never ends, for headers that never stop, for a reader that never reads. Its
protocol classes may be given to it, so here they are with a watch on each side of the connection.

    HTTP       the head of a request has a limit of size, the whole of it one of time, and so has an unread answer
    WebSocket  the handshake has a limit of time; an unread message costs the connection; a close frame never waits
               behind a reader that is gone

A request may ask to be upgraded to another protocol, and the parser then stops behind its head. A WebSocket's handshake
is upgraded. Any other wish is ignored, as HTTP allows: its request is parsed again without it, and its body after that.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.server import ServerProtocol

from outcry.errors import ExchangeError, InvalidRequest
from rest_bridge.answers import fresh_request_id, refusal

HEAD_LIMIT = 32 * 1024  # bytes of request line and headers
REQUEST_S = 8.0  # from a request's first byte, or the connection's start, to its last byte
KEEP_ALIVE_S = 8
UNREAD_S = 8.0  # that an answer may wait for its reader
HANDSHAKE_S = 30.0  # that a WebSocket's handshake may take in all; the application has shorter limits of its own
SOCKET_UNREAD_S = 15.0  # that messages may wait for theirs; the socket itself gives up sooner, and says so
LINGER_S = 3.0  # that a closed WebSocket has to take its close frame
CONNECTIONS_LIMIT = 4_000
HEAD_TOO_LARGE = 431


class HttpConnection(HttpToolsProtocol):
    """HTTP/1.1 by httptools, with limits."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.head_size = 0
        self.in_head = True
        self.is_refused = False
        self.request_watch: asyncio.TimerHandle | None = None
        self.reader_watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_LIMIT:
            transport.abort()
        else:
            self.expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_watching()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.is_refused:
            return
        if self.request_watch is None and (self.cycle is None or self.cycle.response_complete):
            self.expect_request()
        if self.in_head:
            self.head_size += len(data)
        self._unset_keepalive_if_required()
        self.parse(memoryview(data))
        if self.in_head and self.head_size > HEAD_LIMIT:
            self.refuse_head()

    def parse(self, data: memoryview) -> None:
        while data and not self.is_refused:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as stop:
                data = data[stop.args[0] :]
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
                return
            if self.is_handshake():
                self.handle_websocket_upgrade()
                return
            if not self.is_refused:
                self.parser.feed_data(self.head(without=b"upgrade"))

    def is_handshake(self) -> bool:
        """Whether the WebSocket library will take the head; never while an answer before it is under way."""
        if self.is_refused or not (self.cycle is None or self.cycle.response_complete):
            return False
        judge = ServerProtocol()
        judge.receive_data(self.head())
        return any(
            isinstance(event, Request) and judge.accept(event).status_code == 101 for event in judge.events_received()
        )

    def head(self, without: bytes = b"") -> bytes:
        """The request's head as it came, but for one header."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        headers = (b"%s: %s\r\n" % header for header in self.headers if header[0] != without)
        return b"%s %s HTTP/%s\r\n%s\r\n" % (method, self.url, version, b"".join(headers))

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        self.in_head = False
        if size > HEAD_LIMIT:
            self.refuse_head()
        elif self.parser.get_method() == b"CONNECT":
            self.send_400_response("CONNECT is for proxies")
        elif self.parser.should_upgrade():
            self.scope["method"] = self.parser.get_method().decode("ascii")
        elif not (self.is_refused or self.transport.is_closing()):
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self.is_refused or self.parser.should_upgrade():
            return
        self.in_head, self.head_size = True, 0
        if self.request_watch is not None:
            self.request_watch.cancel()
            self.request_watch = None
        super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        if not self.is_refused:
            super().on_body(body)

    def handle_websocket_upgrade(self) -> None:
        self.stop_watching()
        super().handle_websocket_upgrade()

    def expect_request(self) -> None:
        self.in_head, self.head_size = True, 0
        self.request_watch = self.loop.call_later(REQUEST_S, self.transport.abort)

    def stop_watching(self) -> None:
        for watch in (self.request_watch, self.reader_watch):
            if watch is not None:
                watch.cancel()
        self.request_watch = self.reader_watch = None

    def refuse_head(self) -> None:
        words = f"Request line and headers are larger than {HEAD_LIMIT} bytes"
        self.refuse(InvalidRequest("PAYLOAD_TOO_LARGE", words, {"limit_bytes": HEAD_LIMIT}), HEAD_TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        self.refuse(InvalidRequest("INVALID_REQUEST", msg, {"field": "request"}), 400)

    def refuse(self, error: ExchangeError, status: int) -> None:
        """Answer what is not even a request, and hang up."""
        if self.is_refused or self.transport.is_closing():
            return
        response = refusal(fresh_request_id(), error, headers={"Connection": "close"}, status=status)
        head = b"".join(b"%s: %s\r\n" % header for header in response.raw_headers)
        self.transport.write(b"HTTP/1.1 %d Refused\r\n%s\r\n%s" % (status, head, bytes(response.body)))
        self.hang_up()

    def hang_up(self) -> None:
        """Say no more, and hear the peer out for a while: closing on unread bytes would take the answer back."""
        self.is_refused = True
        self.stop_watching()
        self._unset_keepalive_if_required()
        self.transport.write_eof()
        self.request_watch = self.loop.call_later(LINGER_S, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.reader_watch is None:
            self.reader_watch = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.reader_watch is not None:
            self.reader_watch.cancel()
            self.reader_watch = None


class WebSocketConnection(WebSocketsSansIOProtocol):
    """WebSocket by websockets' sans-I/O core, with limits."""

    broken = False
    handshake_watch: asyncio.TimerHandle | None = None
    reader_watch: asyncio.TimerHandle | None = None
    farewell_watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.handshake_watch = self.loop.call_later(HANDSHAKE_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        for watch in (self.handshake_watch, self.reader_watch, self.farewell_watch):
            if watch is not None:
                watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.broken:
            super().data_received(data)

    def pause_writing(self) -> None:
        """Read no more from a peer that does not read, or its pings would be answered into memory without end."""
        super().pause_writing()
        self.transport.pause_reading()
        if self.reader_watch is None:
            self.reader_watch = self.loop.call_later(SOCKET_UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()
        if self.reader_watch is not None:
            self.reader_watch.cancel()
            self.reader_watch = None

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.close" and self.handshake_complete:
            self.writable.set()  # the close frame goes behind what waits; whoever reads on will find it
            self.farewell_watch = self.loop.call_later(LINGER_S, self.transport.abort)
        await super().send(message)
        if self.handshake_watch is not None and (self.handshake_complete or self.close_sent):
            self.handshake_watch.cancel()
            self.handshake_watch = None
            self.handshake_complete = True  # a refusal completes it too, which uvicorn forgets

    def handle_parser_exception(self) -> None:
        """Say why, and let the peer finish sending: hanging up on unread bytes would lose the close frame."""
        self.broken = True
        close = self.conn.close_sent
        code, reason = (1006, "") if close is None else (close.code, close.reason)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.abort)
