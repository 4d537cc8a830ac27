"""The four kinds of call, as grpc.aio has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable
from typing import Any

import grpc.aio
from grpc import StatusCode
from grpc.aio import EOF, UsageError

from wire.client_call import COLLECTED, ClientCall
from wire.client_responses import Ending
from wire.connection import Connection
from wire.frames import ErrorCode
from wire.streams import Stream

MIXED = "The iterator and read/write APIs may not be mixed on a single RPC."
FINISHED = "RPC already finished."
HALF_CLOSED = 'RPC is half closed after calling "done_writing".'
MESSAGES_FOR_ONE = Ending(StatusCode.UNIMPLEMENTED, "Not one response to a call that has one")
REPLAYED_BYTES = 256 << 10  # of a stream's requests, kept until the server has begun to answer

log = logging.getLogger(__name__)

Requests = AsyncIterable[Any] | Iterable[Any]


class OneRequest(ClientCall):
    """Its request is encoded at once and kept as bytes."""

    body: bytes

    def ask(self, request: Any) -> None:
        body = self.encoded(request)
        if body is not None:
            self.body = body
            self.start()

    def on_open(self, core: Connection, stream: Stream) -> None:
        core.request(stream, self.header(), self.body)
        if self.waiters is not None:
            self.wake()

    def replayable(self) -> bool:
        return True


class OneResponse(ClientCall):
    answer: Any = None
    is_decoded = False

    def on_head(self) -> None:
        """Only who waits for the metadata needs to know; who waits for the answer would look in vain."""
        if self.awaits_head:
            self.wake()

    awaits_head = False

    async def initial_metadata(self) -> grpc.aio.Metadata:
        self.awaits_head = True
        return await super().initial_metadata()

    def on_message(self, message: bytes, size: int) -> None:
        if size and self.line is not None and self.stream is not None:
            self.line.give_back(self.stream, size)
        if self.answer is None:
            self.answer = message
        else:
            self.abort(MESSAGES_FOR_ONE.code, MESSAGES_FOR_ONE.details)

    def settle(self, ending: Ending, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        if ending.code is StatusCode.OK and self.answer is None:
            ending = MESSAGES_FOR_ONE
        super().settle(ending, code)

    def __await__(self) -> Generator[Any, None, Any]:
        while self.ending is None:
            try:
                yield from self.change()
            except asyncio.CancelledError:
                self.cancel()
                raise
        if self.ending.code is not StatusCode.OK:
            self.fail(self.ending)
        if not self.is_decoded:
            self.answer = self.decoded(self.answer)
            self.is_decoded = True
        return self.answer


class ManyResponses(ClientCall):
    kept_alive = False  # a stream that nobody can read any more is cancelled

    style = ""
    is_told = False  # who iterates has been told how it ended, and is told once

    def take_style(self, style: str) -> None:
        if not self.style:
            self.style = style
        elif self.style != style:
            raise UsageError(MIXED)

    def __aiter__(self) -> AsyncIterator[Any]:
        self.take_style("iterator")
        return self

    async def __anext__(self) -> Any:
        message = await self.next_message()
        if message is EOF:
            if not self.is_told:
                self.is_told = True
                self.check()
            raise StopAsyncIteration
        return message

    async def read(self) -> Any:
        if self.over:
            self.check()
            return EOF
        self.take_style("read")
        message = await self.next_message()
        if message is EOF:
            self.check()
        return message

    async def next_message(self) -> Any:
        inbox = self.inbox
        while not inbox:
            if self.ending is not None:
                return EOF
            try:
                await self.change()
            except asyncio.CancelledError:
                self.is_told = True
                self.cancel()
                raise
        message, size = inbox.popleft()
        if size and self.line is not None and self.stream is not None:
            self.line.give_back(self.stream, size)
        if self.ending is not None and not inbox:
            self.finish()
        return self.decoded(message)

    def __del__(self) -> None:
        loop = self.link.loop
        if not self.over and not loop.is_closed():
            # Whatever thread collects: the loop's own is to end it.
            loop.call_soon_threadsafe(self.abort, StatusCode.CANCELLED, COLLECTED)


class ManyRequests(ClientCall):
    sent: list[bytes] | None
    sent_bytes = 0
    half_closed = False
    poller: asyncio.Task[None] | None = None

    def ask(self, requests: Requests | None) -> None:
        """Begin; `requests` is what to send, or None where the caller is going to write."""
        self.sent = []
        self.start()
        if requests is not None:
            self.poller = self.link.loop.create_task(self.poll(requests))

    def on_open(self, core: Connection, stream: Stream) -> None:
        core.send_headers(stream, self.header())
        for message in self.sent or ():
            core.send_data(stream, message)
        if self.half_closed:
            core.send_data(stream, b"", end_stream=True)
        self.wake()

    def replayable(self) -> bool:
        return self.sent is not None

    def remember(self, message: bytes) -> None:
        """Keep what may have to be sent again."""
        if self.sent is not None:
            self.sent_bytes += len(message)
            if self.head is not None or self.sent_bytes > REPLAYED_BYTES:
                self.sent = None
            else:
                self.sent.append(message)

    async def poll(self, requests: Requests) -> None:
        try:
            if isinstance(requests, AsyncIterable):
                async for request in requests:
                    await self.put(request)
            else:
                for request in requests:
                    await self.put(request)
            self.end_requests()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            log.debug("a request came after its call had ended: %s", error)
        except Exception:
            log.debug("the iterator of requests has failed", exc_info=True)
            self.cancel()

    async def put(self, request: Any) -> None:
        if self.over:
            raise asyncio.InvalidStateError(FINISHED)
        if self.half_closed:
            raise asyncio.InvalidStateError(HALF_CLOSED)
        message = self.encoded(request)
        try:
            while self.stream is None and self.ending is None:
                await self.change()
            if self.ending is None and message is not None:
                await self.push(message)
        except asyncio.CancelledError:
            if self.ending is None:
                self.cancel()
            raise
        self.check()

    async def push(self, message: bytes) -> None:
        """Send, and wait while too much waits to leave."""
        if (line := self.line) is None or (stream := self.stream) is None:
            return
        self.remember(message)
        line.send(stream, message)
        while self.ending is None and self.line is line and not line.has_room(stream):
            await self.change()

    def end_requests(self) -> None:
        if not self.over and not self.half_closed:
            self.half_closed = True
            if self.stream is not None and self.line is not None and self.ending is None:
                self.line.send(self.stream, b"", end_stream=True)

    def require_writer(self) -> None:
        if self.poller is not None:
            raise UsageError(MIXED)

    async def write(self, request: Any) -> None:
        self.require_writer()
        await self.put(request)

    async def done_writing(self) -> None:
        self.require_writer()
        self.end_requests()

    def release(self, code: ErrorCode) -> None:
        super().release(code)
        if self.poller is not None and self.poller is not asyncio.current_task(self.link.loop):
            self.poller.cancel()


class UnaryUnaryCall(OneRequest, OneResponse, grpc.aio.UnaryUnaryCall[Any, Any]):
    async def wait_for_connection(self) -> None:
        await self.end()
        self.check()


class UnaryStreamCall(OneRequest, ManyResponses, grpc.aio.UnaryStreamCall[Any, Any]):
    pass


class StreamUnaryCall(ManyRequests, OneResponse, grpc.aio.StreamUnaryCall[Any, Any]):
    pass


class StreamStreamCall(ManyRequests, ManyResponses, grpc.aio.StreamStreamCall[Any, Any]):
    pass
