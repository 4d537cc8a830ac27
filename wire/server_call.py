"""One call on a server: its messages, its state and its end.

A unary request is handed over as soon as its message is whole. A streaming one is a queue that the servicer reads:
what it has not read is not given back to the client's window, and stays compressed if it came so. A slow servicer holds
no more than that and one message, and what all hold together is counted (`burden.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
from grpc import StatusCode
from msgspec import Struct

from wire.answers import HEAD, USUAL, head_block, only_trailers_block, trailers_block
from wire.events import DataReceived
from wire.frames import ErrorCode
from wire.limits import QUEUED_BYTES
from wire.messages import PREFIX, PREFIX_SIZE, Assembler, MessageError, message_bytes
from wire.metadata import Pairs
from wire.requests import Head
from wire.streams import Stream

if TYPE_CHECKING:
    from wire.server_connection import ServerConnection

MESSAGE_COST = 64  # bytes that it takes to hold a message, beside its own
REQUEST_COST = 2 << 10  # to hold a call and its stream until the request is whole
PAIR_COST = 256  # to hold a pair of its metadata, beside the bytes of both
LARGE_BYTES = 4 << 10  # an answer of which many would be too much
ONE_MESSAGE = "One request message was expected"
TOO_MANY = "Concurrent RPC limit exceeded!"

log = logging.getLogger("wire")


class Call(Struct, eq=False):
    """What few calls change has its first value from the start, so that making a call is cheap."""

    connection: ServerConnection
    stream: Stream
    head: Head
    memo: dict[str, Any]
    method: Any
    deadline: float | None = None
    status: StatusCode | None = None
    words: str = ""
    is_usual: bool = True  # nothing has been said, or set that an answer would have to tell
    trailing: Pairs = ()
    initial: Pairs | None = None
    head_sent: bool = False
    ended: bool = False
    is_cancelled: bool = False
    assembler: Assembler | None = None
    has_begun: bool = False
    task: asyncio.Task[Any] | None = None
    requests: deque[bytes] | None = None  # of a streaming call
    queued: int = 0  # bytes of them
    withheld: int = 0  # bytes of window that are not given back
    held: int = 0  # bytes that the connection counts: `queued`, `cost` and a message that is not whole
    cost: int = 0  # bytes of a request that does not count as a call, because it is not whole
    requests_ended: bool = False
    reader: asyncio.Future[None] | None = None
    writer: asyncio.Future[None] | None = None
    gzip: bool = False
    next_plain: bool = False
    callbacks: list[Callable[[Any], None]] | None = None

    # Requests

    def receive_whole(self, data: bytes) -> None:
        """All of the request: mostly one message, and nothing else."""
        size = len(data) - PREFIX_SIZE
        is_plain = 0 <= size <= self.connection.settings.receive_limit and PREFIX.unpack_from(data) == (0, size)
        if is_plain and not self.method.starts_at_once:
            self.begin(data[PREFIX_SIZE:])
        else:
            self.receive(DataReceived(self.stream, data, 0, True))

    def receive(self, event: DataReceived) -> None:
        """Data of the request."""
        if self.ended:
            self.connection.lingering.discard(event)
            return
        try:
            if self.assembler is None:
                self.assembler = Assembler(self.connection.settings.receive_limit, self.head.encoding)
            for message in self.assembler.cut(event.data):
                self.take(message)
        except MessageError as error:
            self.give_back(event.size)
            self.break_off(error.status_code, error.words)
            return
        self.hold()
        if self.queued < QUEUED_BYTES:
            self.give_back(event.size)
        else:
            self.withheld += event.size
        if self.held and self.connection.is_overfull():
            self.refuse_more()
        elif event.end_stream:
            self.end_requests()

    def hold_unfinished(self) -> None:
        """Only the head of a unary request has come. Who sends nothing else takes none of the calls that there may be
        at once, but memory, and of that no more than for requests of which a part has come."""
        if not self.ended:
            self.cost = REQUEST_COST + sum(PAIR_COST + len(key) + len(value) for key, value in self.head.metadata)
            self.connection.call_ended()
            self.hold()
            if self.connection.is_overfull():
                self.refuse_more()

    def admit(self) -> bool:
        """The request is whole, and the call counts from here on. Whether there is room to serve it."""
        if self.cost and not self.ended:
            if self.connection.is_crowded():
                self.end(StatusCode.RESOURCE_EXHAUSTED, TOO_MANY)
            else:
                self.connection.server.calls += 1
                self.cost = 0
                self.hold()
        return not self.ended

    def refuse_more(self) -> None:
        self.break_off(StatusCode.RESOURCE_EXHAUSTED, "Too many requests are unfinished or unread")

    def hold(self) -> None:
        """Let the connection and the server count what waits here."""
        size = 0 if self.ended else self.queued + self.cost
        if self.assembler is not None and not self.ended:
            size += self.assembler.held
        if size != self.held:
            self.connection.server.burden.add(size - self.held)
            self.connection.unfinished += size - self.held
            self.held = size

    def compress(self, compression: grpc.Compression | None) -> None:
        """Send gzip where compression is wanted and the client understands that; deflate is as good as gzip."""
        wanted = compression not in (None, grpc.Compression.NoCompression)
        self.gzip = wanted and self.head.accepts_gzip
        self.is_usual = self.is_usual and not self.gzip

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
            self.queued += len(message) + MESSAGE_COST
            self.wake_reader()
        elif self.has_begun:
            self.break_off(StatusCode.INTERNAL, ONE_MESSAGE)
        elif self.admit():
            self.begin(self.unpacked(message))

    def unpacked(self, message: bytes) -> bytes:
        """Inflate what has come compressed; raises MessageError."""
        return message if self.assembler is None else self.assembler.unpacked(message)

    def end_requests(self) -> None:
        """The client has sent all there is."""
        self.requests_ended = True
        if self.assembler is not None and self.assembler.partial:
            self.break_off(StatusCode.INTERNAL, "The request ends within a message")
        elif self.requests is not None:
            self.wake_reader()
        elif not self.has_begun:
            self.end(StatusCode.INTERNAL, ONE_MESSAGE)

    def begin(self, message: bytes) -> None:
        """Hand a unary request to its servicer."""
        self.has_begun = True
        method = self.method
        try:
            request = method.parse(message)
            if method.plain is None:
                self.task = self.connection.spawn(method.run(self, request))
            else:
                method.plain(request, self)
        except Exception as error:  # the edge: what the application's parser raises is its own affair
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """The servicer, or its parser, has raised what nobody expected. A code that it has set before stays."""
        if self.ended:
            return
        log.error("%s failed", self.head.path, exc_info=error)
        code = self.code_or_ok()
        self.end(StatusCode.UNKNOWN if code is StatusCode.OK else code, f"Unexpected {type(error)}: {error}")

    # Answers

    def reply(self, message: Any) -> None:
        """Answer a unary call. Nothing happens where it has ended."""
        if self.ended:
            return
        payload: bytes = self.method.encode(message)
        connection, stream, size = self.connection, self.stream, len(payload)
        if not self.is_usual or size > connection.small:
            self.reply_otherwise(payload)
            return
        connection.core.respond(stream, USUAL, PREFIX.pack(0, size) + payload)
        if self.task is None and stream.closed and self.callbacks is None and not self.held:
            # Nothing is left to be let go of, and so that it goes at once, nothing leads back here.
            self.ended = True
            stream.owner = None
            connection.server.calls -= 1
            if not connection.flushing:
                connection.schedule()
        else:
            self.finished()

    def reply_otherwise(self, payload: bytes) -> None:
        """What is large, compressed or has a word of its own."""
        body = self.framed(payload)
        if body is not None:
            self.send_head()
            self.connection.core.send_data(self.stream, body)
            self.send_end(self.code_or_ok(), "")
            self.finished()

    def framed(self, payload: bytes) -> bytes | None:
        """The message with its prefix; None where it is too large, and the call has been ended for that."""
        size = len(payload)
        limit = self.connection.settings.send_limit
        if size > limit:
            words = f"SERVER: Sent message larger than max ({size} vs. {limit})"
            self.end(StatusCode.RESOURCE_EXHAUSTED, words)
            return None
        is_packed = self.gzip and not self.next_plain
        self.next_plain = False
        body = message_bytes(payload, gzip=True) if is_packed else PREFIX.pack(0, size) + payload
        if len(body) > LARGE_BYTES and not self.connection.reserve(len(body)):
            self.end(StatusCode.RESOURCE_EXHAUSTED, "Too many answers wait to be read")
            return None
        return body

    def code_or_ok(self) -> StatusCode:
        return self.status or StatusCode.OK

    def send_head(self) -> None:
        if not self.head_sent:
            self.head_sent, self.is_usual = True, False
            block = head_block(self.initial or (), "gzip" if self.gzip else None) if self.initial or self.gzip else HEAD
            self.connection.core.send_headers(self.stream, block)

    def send_end(self, code: StatusCode, words: str) -> None:
        try:
            block = self.end_block(code, words, self.trailing)
        except ValueError as problem:
            log.error("%s: %s", self.head.path, problem)
            block = self.end_block(StatusCode.INTERNAL, "Invalid metadata", ())
        self.connection.core.send_headers(self.stream, block, end_stream=True)

    def end_block(self, code: StatusCode, words: str, trailing: Pairs) -> bytes:
        if self.head_sent or self.initial:
            self.send_head()
            return trailers_block(code, words, trailing)
        return only_trailers_block(code, words, trailing)

    def end(self, code: StatusCode, words: str = "", trailing: Pairs | None = None) -> None:
        """End the call with a status. Nothing happens where it has ended."""
        if self.ended:
            return
        if trailing is not None:
            self.trailing = trailing
        self.status, self.words = code, words
        if code is StatusCode.OK:
            self.send_head()
            words = ""
        self.send_end(code, words)
        self.finished()

    def finished(self) -> None:
        """All of the answer is on its way: let go of the call, and of what the client may still be sending."""
        self.let_go()
        stream = self.stream
        if not stream.closed and not stream.remote_closed:
            if stream.queued:
                self.connection.unread.add(stream)  # dismissed once its answer has left
            else:
                self.connection.dismiss(stream)
        self.connection.schedule()

    def let_go(self) -> None:
        self.ended = True
        if self.requests:
            self.requests.clear()  # what nobody waits for is not done
        if self.withheld and not self.connection.core.failed:
            self.give_back(self.withheld)
        self.withheld = 0
        if self.held:
            self.hold()
        self.assembler = None
        self.wake_reader()
        self.wake_writer()
        if not self.cost:
            self.connection.call_ended()
        if not self.stream.queued:  # nothing is left to be done for it, and it goes at once if nothing leads back here
            self.stream.owner = None
        if self.task is not None:
            self.task.add_done_callback(self.tell)
        elif self.callbacks:
            self.tell()

    def tell(self, task: object = None) -> None:
        """The servicer's method has ended, too: those who wanted to know are told."""
        self.task = None  # which may hold on to this call by what it was cancelled with
        for callback in self.callbacks or ():
            try:
                callback(self)
            except Exception:  # the application's; the others want to know as well
                log.exception("a done callback of %s failed", self.head.path)

    def lose(self) -> None:
        """The client has gone, or the stream has: nothing more can be said."""
        if not self.ended:
            self.is_cancelled = True
            self.let_go()
            if self.task is not None:
                self.task.cancel()

    def expire(self) -> None:
        """The client's patience has ended, maybe while an answer waits for its window."""
        if self.stream.queued:
            self.connection.core.reset(self.stream, ErrorCode.CANCEL)
            self.stream.owner = None
            self.connection.unread.discard(self.stream)
            self.connection.schedule()
            self.lose()
        else:
            self.break_off(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def abandon(self, words: str) -> None:
        """The server, or its patience, ends before the call."""
        self.break_off(StatusCode.UNAVAILABLE, words)

    def break_off(self, code: StatusCode, words: str) -> None:
        """End the call with a status while its servicer is at work, which is cancelled."""
        if not self.ended:
            self.end(code, words)
            self.is_cancelled = True
            if self.task is not None:
                self.task.cancel()

    def wake_reader(self) -> None:
        if self.reader is not None and not self.reader.done():
            self.reader.set_result(None)

    def wake_writer(self) -> None:
        if self.writer is not None and not self.writer.done():
            self.writer.set_result(None)
