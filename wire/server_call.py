"""One call on a server: its messages, its state, and the face it shows to servicers, that of grpc.aio.

A unary request is handed over as soon as its message is whole. A streaming one is a queue that the servicer reads:
what it has not read is not given back to the client's window, so that a slow servicer holds no more than that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from grpc import StatusCode

from wire.answers import HEAD, TRAILERS, Metadata, head_block, only_trailers_block, trailers_block
from wire.events import DataReceived
from wire.frames import ErrorCode
from wire.messages import PREFIX, PREFIX_SIZE, Assembler, MessageError, message_bytes
from wire.requests import Head
from wire.streams import Stream

if TYPE_CHECKING:
    from wire.server_connection import ServerConnection

QUEUED_BYTES = 64 << 10  # of requests that wait to be read, or of answers that wait for the client's window
PARSE_FAILED = "Exception deserializing request!"
WRITE_FAILED = "Failed to serialize response!"
ONE_MESSAGE = "One request message was expected"
UNSET = 0

log = logging.getLogger("wire")


class ServerCall:
    """Attributes that few calls change have their first value in the class, so that making a call is cheap."""

    status: StatusCode | int = UNSET
    words: str = ""
    trailing: Metadata = ()
    initial: Metadata | None = None
    head_sent = False
    ended = False
    is_cancelled = False
    assembler: Assembler | None = None
    has_begun = False
    task: asyncio.Task[Any] | None = None
    timer: asyncio.TimerHandle | None = None
    requests: deque[bytes] | None = None  # of a streaming call
    queued = 0  # bytes of them
    withheld = 0  # bytes of window that are not given back
    requests_ended = False
    reader: asyncio.Future[None] | None = None
    writer: asyncio.Future[None] | None = None
    gzip = False
    next_plain = False
    callbacks: list[Callable[[Any], None]] | None = None

    def __init__(self, connection: ServerConnection, stream: Stream, head: Head, deadline: float | None) -> None:
        self.connection = connection
        self.stream = stream
        self.head = head
        self.method = head.method
        self.deadline = deadline

    # Requests

    def receive(self, event: DataReceived) -> None:
        """Data of the request."""
        data = event.data
        if self.assembler is None and event.end_stream and self.requests is None and not self.has_begun:
            # Most calls: one message, whole, in one frame, and nothing else.
            size = len(data) - PREFIX_SIZE
            if 0 <= size <= self.connection.settings.receive_limit and PREFIX.unpack_from(data) == (0, size):
                self.begin(data[PREFIX_SIZE:])
                return
        self.assemble(event)

    def assemble(self, event: DataReceived) -> None:
        try:
            if self.assembler is None:
                self.assembler = Assembler(self.connection.settings.receive_limit, self.head.encoding)
            messages = self.assembler.feed(event.data)
        except MessageError as error:
            self.give_back(event.size)
            for message in error.messages:
                self.take(message)
            self.end(error.status_code, error.words)
            return
        for message in messages:
            self.take(message)
        if self.queued < QUEUED_BYTES or self.assembler.partial:
            self.give_back(event.size)
        else:
            self.withheld += event.size
        if event.end_stream:
            self.end_requests()

    def open_requests(self) -> None:
        """The requests are a stream: what comes waits to be read."""
        self.requests = deque()

    def give_back(self, size: int) -> None:
        if size:
            self.connection.core.consumed(self.stream, size)
            self.connection.schedule()

    def take(self, message: bytes) -> None:
        """A whole message."""
        if self.requests is not None:
            self.requests.append(message)
            self.queued += len(message)
            self.wake_reader()
        elif self.has_begun:
            self.end(StatusCode.INTERNAL, ONE_MESSAGE)
        else:
            self.begin(message)

    def end_requests(self) -> None:
        """The client has sent all there is."""
        self.requests_ended = True
        if self.assembler is not None and self.assembler.partial:
            self.end(StatusCode.INTERNAL, "The request ends within a message")
        elif self.requests is not None:
            self.wake_reader()
        elif not self.has_begun:
            self.end(StatusCode.INTERNAL, ONE_MESSAGE)

    def begin(self, message: bytes) -> None:
        """Hand a unary request to its servicer."""
        self.has_begun = True
        if self.ended:
            return
        method = self.method
        try:
            request = method.parse(message)
        except Exception:  # what the application's parser raises is its own affair
            log.exception("the request of %s does not parse", self.head.path)
            self.end(StatusCode.INTERNAL, PARSE_FAILED)
            return
        if method.plain is None:
            self.task = self.connection.spawn(method.run(self, request))
            return
        try:
            method.plain(request, self)
        except Exception as error:  # the edge
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """The servicer has raised what nobody expected."""
        log.error("%s failed", self.head.path, exc_info=error)
        if self.status is UNSET or self.status is StatusCode.OK:
            self.end(StatusCode.UNKNOWN, f"Unexpected {type(error)}: {error}")
        else:
            self.end(self.code_or_ok(), self.words)

    # Answers

    def reply(self, message: Any) -> None:
        """Answer a unary call. Nothing happens where it has ended."""
        if self.ended:
            return
        body = self.encoded(message)
        if body is None:
            return
        if self.initial is None and not self.trailing and not self.gzip and self.status is UNSET:
            self.connection.core.respond(self.stream, HEAD, body, TRAILERS)
        else:
            self.send_head()
            self.connection.core.send_data(self.stream, body)
            self.send_end(self.code_or_ok(), self.words)
        self.finished()

    def encoded(self, message: Any) -> bytes | None:
        """The message with its prefix; None where it is none, and the call has been ended for that."""
        try:
            payload: bytes = self.method.encode(message)
        except Exception:
            log.exception("the answer of %s cannot be encoded", self.head.path)
            self.end(StatusCode.INTERNAL, WRITE_FAILED)
            return None
        size = len(payload)
        limit = self.connection.settings.send_limit
        if size > limit:
            words = f"SERVER: Sent message larger than max ({size} vs. {limit})"
            self.end(StatusCode.RESOURCE_EXHAUSTED, words)
            return None
        if self.gzip and not self.next_plain:
            return message_bytes(payload, gzip=True)
        self.next_plain = False
        return PREFIX.pack(0, size) + payload

    def code_or_ok(self) -> StatusCode:
        return StatusCode.OK if self.status is UNSET else StatusCode(self.status)

    def send_head(self) -> None:
        if not self.head_sent:
            self.head_sent = True
            block = head_block(self.initial or (), "gzip" if self.gzip else None) if self.initial or self.gzip else HEAD
            self.connection.core.send_headers(self.stream, block)

    def send_end(self, code: StatusCode, words: str) -> None:
        core = self.connection.core
        if self.head_sent or self.initial:
            self.send_head()
            core.send_headers(self.stream, trailers_block(code, words, self.trailing), end_stream=True)
        else:
            core.send_headers(self.stream, only_trailers_block(code, words, self.trailing), end_stream=True)

    def end(self, code: StatusCode, words: str = "", trailing: Metadata | None = None) -> None:
        """End the call with a status. Nothing happens where it has ended."""
        if self.ended:
            return
        if trailing is not None:
            self.trailing = trailing
        self.status, self.words = code, words
        if code is StatusCode.OK:
            self.send_head()
        self.send_end(code, words)
        self.finished()

    def finished(self) -> None:
        """All of the answer is on its way: let go of the call, and of what the client may still be sending."""
        self.let_go()
        stream = self.stream
        if not stream.closed and not stream.remote_closed:
            if stream.queued:
                self.connection.unread.add(stream)  # reset once its answer has left
            else:
                self.connection.core.reset(stream, ErrorCode.NO_ERROR)
        self.connection.schedule()

    def let_go(self) -> None:
        self.ended = True
        if self.timer is not None:
            self.timer.cancel()
        self.wake_reader()
        self.wake_writer()
        self.connection.call_ended()
        if self.callbacks:
            for callback in self.callbacks:
                callback(self)

    def cancel(self) -> None:
        """The client has gone, or the stream has: nothing more can be said."""
        if not self.ended:
            self.is_cancelled = True
            self.let_go()
            if self.task is not None:
                self.task.cancel()

    def expire(self) -> None:
        """The client's patience has ended."""
        if not self.ended:
            self.end(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            self.is_cancelled = True
            if self.task is not None:
                self.task.cancel()

    def abandon(self) -> None:
        """The server ends before the call."""
        if not self.ended:
            self.end(StatusCode.UNAVAILABLE, "The server is stopping")
            self.is_cancelled = True
            if self.task is not None:
                self.task.cancel()

    def wake_reader(self) -> None:
        if self.reader is not None and not self.reader.done():
            self.reader.set_result(None)

    def wake_writer(self) -> None:
        if self.writer is not None and not self.writer.done():
            self.writer.set_result(None)

    # The face of grpc.aio.ServicerContext

    async def read(self) -> Any:
        """The next request; grpc.aio.EOF after the last."""
        requests = self.requests
        if requests is None:
            raise grpc.aio.UsageError("This is no stream of requests")
        while not requests:
            if self.requests_ended or self.ended:
                return grpc.aio.EOF
            self.reader = self.connection.loop.create_future()
            await self.reader
        message = requests.popleft()
        self.queued -= len(message)
        if self.withheld and self.queued < QUEUED_BYTES:
            size, self.withheld = self.withheld, 0
            self.give_back(size)
        return self.method.parse(message)

    async def messages(self) -> AsyncIterator[Any]:
        """The requests as an iterator."""
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

    async def write(self, message: Any) -> None:
        """Send one answer of a stream; returns when there is room for another."""
        if self.ended:
            raise asyncio.InvalidStateError("RPC already finished.")
        body = self.encoded(message)
        if body is None:
            raise grpc.aio.AbortError(WRITE_FAILED)
        self.send_head()
        connection, stream = self.connection, self.stream
        connection.core.send_data(stream, body)
        connection.schedule()
        while stream.queued > QUEUED_BYTES or (connection.paused and not self.ended):
            self.writer = connection.loop.create_future()
            await self.writer
        if connection.output > QUEUED_BYTES:
            await asyncio.sleep(0)  # what was written leaves with the turn

    async def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        if self.head_sent:
            raise grpc.aio.UsageError("Send initial metadata failed: already sent")
        self.initial = tuple(initial_metadata)
        self.send_head()
        self.connection.schedule()

    async def abort(self, code: StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        self.abort_now(code, details, trailing_metadata)

    def abort_now(self, code: StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        if self.ended:
            raise grpc.aio.UsageError("Abort already called!")
        if code is StatusCode.OK:
            log.error("abort() called with StatusCode.OK; returning UNKNOWN")
            code, details = StatusCode.UNKNOWN, ""
        self.end(code, details, tuple(trailing_metadata) or None)
        raise grpc.aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        self.abort_now(status.code, status.details, status.trailing_metadata)

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        self.trailing = tuple(trailing_metadata)

    def trailing_metadata(self) -> Metadata:
        return self.trailing

    def invocation_metadata(self) -> Metadata:
        return self.head.metadata

    def set_code(self, code: StatusCode) -> None:
        self.status = code

    def code(self) -> StatusCode | int:
        return self.status

    def set_details(self, details: str) -> None:
        self.words = details

    def details(self) -> str:
        return self.words

    def set_compression(self, compression: grpc.Compression) -> None:
        if self.head_sent:
            raise RuntimeError("Compression setting must be specified before sending initial metadata")
        self.gzip = compression is not grpc.Compression.NoCompression and "gzip" in self.head.accepts

    def disable_next_message_compression(self) -> None:
        self.next_plain = True

    def peer(self) -> str:
        return self.connection.peer

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return self.connection.auth_context

    def peer_identity_key(self) -> str | None:
        return "x509_common_name" if "x509_common_name" in self.connection.auth_context else None

    def peer_identities(self) -> Iterable[bytes] | None:
        return self.connection.auth_context.get("x509_common_name")

    def time_remaining(self) -> float | None:
        return None if self.deadline is None else max(self.deadline - self.connection.loop.time(), 0.0)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self.callbacks is None:
            self.callbacks = []
        self.callbacks.append(callback)

    def cancelled(self) -> bool:
        return self.is_cancelled

    def done(self) -> bool:
        return self.ended


grpc.aio.ServicerContext.register(ServerCall)
