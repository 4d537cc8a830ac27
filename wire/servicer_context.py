"""What a servicer sees of its call: the face of grpc.aio's ServicerContext."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, NoReturn

import grpc
from grpc import StatusCode

from wire.identities import identity_key
from wire.limits import QUEUED_BYTES
from wire.messages import MessageError
from wire.metadata import Pairs, pairs_of, to_fields
from wire.server_call import MESSAGE_COST, Call

CODE_OF_NUMBER = {code.value[0]: code for code in StatusCode}
log = logging.getLogger("wire")


class ServerCall(Call):
    """Reading, writing, metadata and the end, under grpcio's names."""

    def __repr__(self) -> str:
        """Without the metadata: it may hold keys, and contexts are logged."""
        return f"<ServerCall {self.head.path} of {self.connection.peer}{', ended' if self.ended else ''}>"

    async def read(self) -> Any:
        """The next request; grpc.aio.EOF after the last."""
        requests = self.requests
        if requests is None:
            return grpc.aio.EOF  # the one request that there is was given to the method
        while not requests:
            if self.requests_ended or self.ended:
                return grpc.aio.EOF
            if self.reader is not None and not self.reader.done():
                await asyncio.wait((self.reader,))  # somebody else reads: theirs is the next, whatever becomes of them
                continue
            self.reader = self.connection.loop.create_future()
            await self.reader
        message = requests.popleft()
        self.queued -= len(message) + MESSAGE_COST
        self.hold()
        if self.withheld and self.queued < QUEUED_BYTES:
            size, self.withheld = self.withheld, 0
            self.give_back(size)
        try:
            message = self.unpacked(message)
        except MessageError as error:
            self.end(error.status_code, error.words)
            return grpc.aio.EOF
        return self.method.parse(message)

    def messages(self) -> AsyncIterator[Any]:
        """The requests as an iterator."""
        return Requests(self)

    async def write(self, message: Any) -> None:
        """Send one answer of a stream; returns when there is room for another."""
        if self.ended:
            raise asyncio.InvalidStateError("RPC already finished.")
        body = self.framed(self.method.encode(message))
        if body is None:
            raise grpc.aio.AbortError(self.words)
        self.send_head()
        connection, stream = self.connection, self.stream
        connection.core.send_data(stream, body)
        connection.depart()
        while not self.ended and (stream.queued > QUEUED_BYTES or connection.paused):
            if self.writer is not None and not self.writer.done():
                await asyncio.wait((self.writer,))  # somebody else waits, too: what becomes of them is not our affair
                continue
            self.writer = connection.loop.create_future()
            await self.writer
        if connection.output > QUEUED_BYTES or self.gzip:
            await asyncio.sleep(0)  # what was written leaves with the turn, and compressing has taken its time

    async def send_initial_metadata(self, initial_metadata: Pairs) -> None:
        if self.head_sent:
            raise grpc.aio.UsageError("Send initial metadata failed: already sent")
        initial = pairs_of(initial_metadata)
        to_fields(initial)  # raises for what may not be sent, while nothing is
        self.is_usual = False
        self.initial = initial
        self.send_head()
        self.connection.schedule()

    async def abort(self, code: StatusCode, details: str = "", trailing_metadata: Pairs = ()) -> NoReturn:
        await self.first_request()
        self.abort_now(code, details, trailing_metadata)

    def abort_now(self, code: StatusCode | int, details: str = "", trailing_metadata: Pairs = ()) -> NoReturn:
        if self.ended:
            raise grpc.aio.UsageError("Abort already called!")
        trailing = pairs_of(trailing_metadata)
        status = status_code(code)
        if status is StatusCode.OK:
            log.error("abort() called with StatusCode.OK; returning UNKNOWN")
            status, details = StatusCode.UNKNOWN, ""
        self.end(status, details or self.words, trailing or None)
        raise grpc.aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        await self.first_request()
        self.abort_now(status.code, status.details, status.trailing_metadata)

    async def first_request(self) -> None:
        """Let the first request of a stream come, for a moment: grpcio's client takes it for a failure of its own if it
        writes to a call that has just been refused."""
        if self.requests is None or self.assembler is not None or self.requests_ended or self.ended:
            return
        if self.reader is None or self.reader.done():
            self.reader = self.connection.loop.create_future()
        await asyncio.wait((self.reader,), timeout=self.connection.settings.first_request_s)

    def set_trailing_metadata(self, trailing_metadata: Pairs) -> None:
        self.is_usual = False
        self.trailing = pairs_of(trailing_metadata)

    def trailing_metadata(self) -> Pairs:
        return self.trailing

    def invocation_metadata(self) -> Pairs:
        return self.head.metadata

    def set_code(self, code: StatusCode | int) -> None:
        self.is_usual = False
        self.status = status_code(code)

    def code(self) -> StatusCode | None:
        return self.status

    def set_details(self, details: str) -> None:
        self.words = details

    def details(self) -> str:
        return self.words

    def set_compression(self, compression: grpc.Compression) -> None:
        if self.head_sent:
            raise RuntimeError("Compression setting must be specified before sending initial metadata")
        self.compress(compression)

    def disable_next_message_compression(self) -> None:
        self.next_plain = True

    def peer(self) -> str:
        return self.connection.peer

    def auth_context(self) -> Mapping[str, list[bytes]]:
        return self.connection.auth_context

    def peer_identity_key(self) -> str | None:
        return identity_key(self.connection.auth_context)

    def peer_identities(self) -> Iterable[bytes] | None:
        key = self.peer_identity_key()
        return None if key is None else self.connection.auth_context[key]

    def time_remaining(self) -> float | None:
        return None if self.deadline is None else max(self.deadline - self.connection.loop.time(), 0.0)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self.done():
            self.connection.loop.call_soon(callback, self)
            return
        if self.callbacks is None:
            self.callbacks = []
        self.callbacks.append(callback)

    def cancelled(self) -> bool:
        return self.is_cancelled and self.done()

    def done(self) -> bool:
        """Whether the call has ended and the servicer's method with it."""
        return self.ended and (self.task is None or self.task.done())


class Requests:
    """The requests of a call, one after the other."""

    def __init__(self, call: ServerCall) -> None:
        self.call = call

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> Any:
        message = await self.call.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message


def status_code(code: StatusCode | int) -> StatusCode:
    """A code, or its number; UNKNOWN for what is neither."""
    return code if isinstance(code, StatusCode) else CODE_OF_NUMBER.get(code, StatusCode.UNKNOWN)


grpc.aio.ServicerContext.register(ServerCall)
