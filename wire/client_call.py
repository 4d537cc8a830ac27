"""One call as its caller holds it: what is common to the four kinds.

A call waits in its link, then has a stream of a connection. Its `ending` is known when the status has come, or when
the caller, the deadline or the connection has put an end to it; it is over when nothing is left to be read either.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import ref

from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from wire.client_responses import IDENTITY, NO_STATUS, AnswerHead, Ending, ending_of, head_of
from wire.connection import Connection
from wire.frames import ErrorCode
from wire.hpack import Block
from wire.messages import PREFIX, PREFIX_SIZE, Assembler, MessageError, message_bytes
from wire.statuses import code_of_reset
from wire.streams import Stream
from wire.timeouts import encode_timeout

if TYPE_CHECKING:
    from wire.client_callables import MultiCallable
    from wire.client_connection import ClientConnection

LOCALLY_CANCELLED = "Locally cancelled by application!"
COLLECTED = "Cancelled upon garbage collection!"
LONGEST_TIMER_S = 1e7
REFUSED_PAUSE_S = 0.02  # a server may count a stream as open for a moment after its end has been read here


class ClientCall:
    kept_alive = True  # by its connection, awaited or not

    stream: Stream | None = None
    line: ClientConnection | None = None
    head: AnswerHead | None = None
    ending: Ending | None = None
    over = False
    cancelled_here = False
    waited = False  # it could not begin at once
    retried = False
    deadline: float | None = None
    timer: asyncio.TimerHandle | None = None
    assembler: Assembler | None = None
    waiters: list[asyncio.Future[None]] | None = None
    callbacks: list[Callable[[Any], None]] | None = None

    def __init__(
        self, callee: MultiCallable, block: bytes, timeout: float | None, wait_for_ready: bool | None, gzip: bool
    ) -> None:
        self.callee = callee
        self.link = callee.link
        self.block = block
        self.timeout = timeout
        self.wait_for_ready = wait_for_ready
        self.gzip = gzip
        self.inbox: deque[tuple[bytes, int]] = deque()  # messages, and what is to be given back when they are read

    def start(self) -> None:
        timeout = self.timeout
        if timeout is None:
            self.link.submit(self)
            return
        loop = self.link.loop
        self.deadline = loop.time() + timeout
        if not timeout > 0:  # NaN, too
            self.expire()
            return
        self.link.submit(self)
        if not self.over:
            self.timer = loop.call_later(min(timeout, LONGEST_TIMER_S), expire, ref(self))

    def alive(self) -> ClientCall | None:
        return self

    # What the application asks

    def cancelled(self) -> bool:
        return self.ending is not None and self.ending.code is StatusCode.CANCELLED

    def done(self) -> bool:
        return self.over

    def time_remaining(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - self.link.loop.time())

    def cancel(self) -> bool:
        if self.over:
            return False
        self.cancelled_here = True
        self.abort(StatusCode.CANCELLED, LOCALLY_CANCELLED)
        return True

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self.over:
            callback(self)
        elif self.callbacks is None:
            self.callbacks = [callback]
        else:
            self.callbacks.append(callback)

    async def initial_metadata(self) -> Metadata:
        while self.head is None and self.ending is None:
            await self.change()
        return self.first_metadata()

    async def trailing_metadata(self) -> Metadata:
        return Metadata(*(await self.end()).metadata)

    async def code(self) -> StatusCode:
        return (await self.end()).code

    async def details(self) -> str:
        return (await self.end()).details

    async def debug_error_string(self) -> str:
        return debug_words(await self.end())

    async def wait_for_connection(self) -> None:
        while self.stream is None and self.ending is None:
            await self.change()
        if self.over:
            self.check()

    async def end(self) -> Ending:
        while self.ending is None:
            await self.change()
        return self.ending

    def first_metadata(self) -> Metadata:
        return Metadata() if self.head is None else Metadata(*self.head.metadata)

    def check(self) -> None:
        """Raise what a call that did not end well raises."""
        if self.ending is not None and self.ending.code is not StatusCode.OK:
            self.fail(self.ending)

    def fail(self, ending: Ending) -> NoReturn:
        if self.cancelled_here:
            raise asyncio.CancelledError
        metadata = Metadata(*ending.metadata)
        raise AioRpcError(ending.code, self.first_metadata(), metadata, ending.details, debug_words(ending))

    def __repr__(self) -> str:
        if self.ending is None:
            return f"<{type(self).__name__} of {self.callee.path} that is under way>"
        code, details = self.ending.code, self.ending.details
        return f'<{type(self).__name__} of RPC that terminated with:\n\tstatus = {code}\n\tdetails = "{details}"\n>'

    # Waiting

    def change(self) -> asyncio.Future[None]:
        """Done at the next thing that happens to the call."""
        waiter = self.link.loop.create_future()
        if self.waiters is None:
            self.waiters = [waiter]
        else:
            self.waiters.append(waiter)
        return waiter

    def wake(self) -> None:
        if self.waiters is not None:
            waiters, self.waiters = self.waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    # What is sent

    def header(self) -> bytes:
        """The request's block, with the time that is left."""
        if self.timeout is None or self.deadline is None:
            return self.block
        return self.block + timeout_field(self.deadline - self.link.loop.time() if self.waited else self.timeout)

    def encoded(self, request: Any) -> bytes | None:
        """The message that carries `request`; None where it is too large, which ends the call."""
        callee = self.callee
        payload = request if callee.serialize is None else callee.serialize(request)
        limit = callee.settings.send_limit
        if len(payload) > limit:
            words = f"CLIENT: Sent message larger than max ({len(payload)} vs. {limit})"
            self.abort(StatusCode.RESOURCE_EXHAUSTED, words)
            return None
        if self.gzip:
            return message_bytes(payload, gzip=True)
        return PREFIX.pack(0, len(payload)) + payload

    def decoded(self, payload: bytes) -> Any:
        deserialize = self.callee.deserialize
        return payload if deserialize is None else deserialize(payload)

    def on_open(self, core: Connection, stream: Stream) -> None:
        """There is a stream: send what is to be sent."""
        raise NotImplementedError

    def replayable(self) -> bool:
        """Whether all that was sent can be sent again."""
        raise NotImplementedError

    # What arrives

    def on_headers(self, block: Block, ended: bool) -> None:
        head = block.memo
        if head.__class__ is not AnswerHead:
            head = head_of(block)
        if head.refusal is not None:
            self.settle(head.refusal, ErrorCode.CANCEL)
        elif ended:
            self.settle(head.ending or NO_STATUS)
        else:
            self.head = head
            if head.encoding != IDENTITY:
                self.assemble(head.encoding)
            if self.waiters is not None:
                self.on_head()

    def on_head(self) -> None:
        self.wake()

    def assemble(self, encoding: str) -> None:
        try:
            self.assembler = Assembler(self.callee.settings.receive_limit, encoding, is_client=True)
        except MessageError as error:
            self.abort(error.status_code, error.words)

    def on_data(self, data: bytes, size: int, ended: bool) -> None:
        length = len(data) - PREFIX_SIZE
        if (
            self.assembler is None
            and 0 <= length <= self.callee.settings.receive_limit
            and PREFIX.unpack_from(data) == (0, length)
        ):
            # Nearly always a frame is one whole message, as it is.
            self.on_message(data[PREFIX_SIZE:], size)
        else:
            self.take_pieces(data, size)
        if ended:
            self.settle(NO_STATUS)

    def take_pieces(self, data: bytes, size: int) -> None:
        if self.assembler is None:
            self.assembler = Assembler(self.callee.settings.receive_limit, is_client=True)
        fault: MessageError | None = None
        try:
            messages = self.assembler.feed(data)
        except MessageError as error:
            messages, fault = error.messages, error
        line, stream = self.line, self.stream
        if not messages and size and line is not None and stream is not None:
            line.give_back(stream, size)  # a message may be larger than the window, and is held within its own limit
        for message in messages[:-1]:
            self.on_message(message, 0)
        for message in messages[-1:]:
            self.on_message(message, size)
        if fault is not None:
            self.settle(Ending(fault.status_code, fault.words), ErrorCode.CANCEL)

    def on_message(self, message: bytes, size: int) -> None:
        self.inbox.append((message, size))
        if self.waiters is not None:
            self.wake()

    def on_trailers(self, block: Block) -> None:
        ending = block.memo
        if ending.__class__ is not Ending:
            ending = ending_of(block)
        self.settle(ending)

    def on_reset(self, code: int, by_peer: bool) -> None:
        if not by_peer:
            self.settle(Ending(StatusCode.INTERNAL, f"The server broke the protocol: {ErrorCode(code).name}"))
        elif code == ErrorCode.REFUSED_STREAM and not self.retried and self.again(REFUSED_PAUSE_S):
            self.retried = True
        else:
            self.settle(Ending(code_of_reset(code), f"Received RST_STREAM with error code {code}"))

    def on_lost(self, words: str, unsent: bool) -> None:
        if not (unsent and self.again()):
            self.settle(Ending(StatusCode.UNAVAILABLE, words))

    def again(self, pause_s: float = 0.0) -> bool:
        """Begin anew what the server has not looked at; False where that cannot be."""
        if self.head is not None or not self.replayable():
            return False
        if self.stream is not None:
            self.stream.owner = None
        self.stream = self.line = None
        self.waited = True
        self.link.pausing.add(self)
        self.link.loop.call_later(pause_s, self.submit_again)
        return True

    def submit_again(self) -> None:
        self.link.pausing.discard(self)
        if not self.over:
            self.link.submit(self)

    # Ends

    def expire(self) -> None:
        """The deadline has come."""
        self.abort(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def settle(self, ending: Ending, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        """The status is known. What has come before it can still be read."""
        if self.ending is None:
            self.ending = ending
            self.release(code)
            if not self.inbox:
                self.finish()
            elif self.waiters is not None:
                self.wake()

    def abort(self, code: StatusCode, details: str) -> None:
        """End the call from here. What has not been read is lost."""
        if self.over:
            return
        self.ending = Ending(code, details)
        unread = sum(size for _, size in self.inbox)
        self.inbox.clear()
        if unread and self.line is not None and self.stream is not None:
            self.line.give_back(self.stream, unread)
        self.link.waiting.pop(self, None)
        self.release(ErrorCode.CANCEL)
        self.finish()

    def release(self, code: ErrorCode) -> None:
        """Let go of the stream and the timer."""
        if self.stream is not None and self.line is not None and self.stream.owner is not None:
            self.line.drop(self.stream, code)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def finish(self) -> None:
        self.over = True
        callbacks, self.callbacks = self.callbacks, None
        for callback in callbacks or ():
            self.tell(callback)
        if self.waiters is not None:
            self.wake()

    def tell(self, callback: Callable[[Any], None]) -> None:
        """A callback that fails is its owner's affair, not the connection's."""
        try:
            callback(self)
        except Exception as error:
            self.link.loop.call_exception_handler({"message": f"{callback!r} has failed", "exception": error})


def expire(call: ref[ClientCall]) -> None:
    """A timer keeps no call alive."""
    if (alive := call()) is not None:
        alive.expire()


@lru_cache(256)
def timeout_field(seconds: float) -> bytes:
    """The field of a header block that tells the timeout: a literal that no table keeps (RFC 7541, 6.2.2)."""
    value = encode_timeout(seconds)
    return b"\x00\x0cgrpc-timeout%c%b" % (len(value), value)


def debug_words(ending: Ending) -> str:
    return "" if ending.code is StatusCode.OK else f"{ending.code.name}:{ending.details}"
