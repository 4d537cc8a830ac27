"""Calls that interceptors have a hand in, as their caller holds them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc.aio
from grpc import StatusCode
from grpc.aio import EOF, AioRpcError, Metadata, UsageError

from wire.client_call import LOCALLY_CANCELLED
from wire.client_calls import FINISHED, HALF_CLOSED, MIXED, Requests
from wire.client_writing import WrittenRequests

if TYPE_CHECKING:
    from wire.client_link import Link


class Over(grpc.aio.UnaryUnaryCall[Any, Any]):
    """A call that has ended without a server: an interceptor has answered it, or has not let it begin."""

    def __init__(
        self,
        code: StatusCode = StatusCode.OK,
        details: str = "",
        initial: Metadata | None = None,
        trailing: Metadata | None = None,
        response: Any = None,
    ) -> None:
        self.status = code, details
        self.metadata = initial, trailing
        self.response = response

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return self.status[0] is StatusCode.CANCELLED

    def done(self) -> bool:
        return True

    def time_remaining(self) -> float | None:
        return None

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        callback(self)

    async def initial_metadata(self) -> Any:
        return self.metadata[0]

    async def trailing_metadata(self) -> Any:
        return self.metadata[1]

    async def code(self) -> StatusCode:
        return self.status[0]

    async def details(self) -> str:
        return self.status[1]

    async def debug_error_string(self) -> str:
        return self.status[1]

    async def wait_for_connection(self) -> None:
        pass

    def __await__(self) -> Generator[None, None, Any]:
        yield from ()
        return self.response


class Replaced:
    """A call whose responses come from an interceptor; its status is still its own."""

    def __init__(self, call: Any, responses: AsyncIterable[Any]) -> None:
        self.call = call
        self.responses = aiter(responses)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.call, name)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self.responses

    async def read(self) -> Any:
        return await anext(self.responses, EOF)


class InterceptedCall(grpc.aio.Call):
    """`task` asks the interceptors; `latest` is the call that they have got last."""

    task: asyncio.Task[Any]
    latest: Any = None

    def __init__(self, link: Link, request: Any) -> None:
        self.link = link
        self.request = request

    def run(self, asking: Coroutine[Any, Any, Any]) -> None:
        self.task = self.link.loop.create_task(asking)
        self.task.add_done_callback(self.on_asked)
        self.link.intercepted.add(self)

    def on_asked(self, task: asyncio.Task[Any]) -> None:
        """The interceptors have done their part. Who cancels them wants no call that they have begun, either."""
        if task.cancelled():
            if self.latest is not None:
                self.latest.cancel()
        else:
            task.exception()  # is the caller's to see, who may not care

    def standing(self) -> Any:
        """The call that this one stands for; None while the interceptors are at work."""
        if not self.task.done():
            return None
        if self.task.cancelled():
            return Over(StatusCode.CANCELLED, LOCALLY_CANCELLED)
        error = self.task.exception()
        if isinstance(error, AioRpcError):
            return Over(error.code(), error.details() or "", error.initial_metadata(), error.trailing_metadata())
        return self.task.result() if error is None else Over(StatusCode.UNKNOWN, repr(error))

    async def asked(self) -> Any:
        """What this call stands for, in the end. An interceptor's error that is no status is raised."""
        await asyncio.wait((self.task,))
        if not self.task.cancelled() and not isinstance(self.task.exception(), AioRpcError):
            self.task.result()
        return self.standing()

    def cancel(self) -> bool:
        call = self.standing()
        return bool(self.task.cancel() if call is None else call.cancel())

    def cancelled(self) -> bool:
        call = self.standing()
        return call is not None and bool(call.cancelled())

    def done(self) -> bool:
        call = self.standing()
        return call is not None and bool(call.done())

    def time_remaining(self) -> float | None:
        """None, too, where the interceptors have not begun a call yet: its time has not, either."""
        call = self.standing()
        return None if call is None else call.time_remaining()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        call = self.standing()
        if call is None:
            self.task.add_done_callback(lambda _: self.add_done_callback(callback))
        else:
            call.add_done_callback(lambda _: callback(self))

    async def initial_metadata(self) -> Any:
        return await (await self.asked()).initial_metadata()

    async def trailing_metadata(self) -> Any:
        return await (await self.asked()).trailing_metadata()

    async def code(self) -> Any:
        return await (await self.asked()).code()

    async def details(self) -> Any:
        return await (await self.asked()).details()

    async def debug_error_string(self) -> Any:
        return await (await self.asked()).debug_error_string()

    async def wait_for_connection(self) -> None:
        await (await self.task).wait_for_connection()

    async def end(self) -> None:
        with suppress(Exception):
            await self.code()


class InterceptedOneResponse(InterceptedCall):
    def __await__(self) -> Generator[Any, None, Any]:
        call = yield from self.task.__await__()
        return (yield from call.__await__())


class InterceptedManyResponses(InterceptedCall):
    responses: AsyncIterator[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self.responses is None:
            self.responses = aiter(await self.task)
        return await anext(self.responses)

    async def read(self) -> Any:
        try:
            return await anext(self)
        except StopAsyncIteration:
            return EOF

    def __del__(self) -> None:
        """A stream that nobody can read any more is cancelled."""
        call = self.standing()
        if call is not None and not call.done() and not self.link.loop.is_closed():
            self.link.loop.call_soon_threadsafe(call.cancel)


class InterceptedManyRequests(InterceptedCall):
    """Interceptors are given an iterator of the requests in any case."""

    def __init__(self, link: Link, requests: Requests | None) -> None:
        self.written = WrittenRequests() if requests is None else None
        super().__init__(link, self.written if requests is None else requests)

    def on_asked(self, task: asyncio.Task[Any]) -> None:
        super().on_asked(task)
        if (written := self.written) is not None:
            self.standing().add_done_callback(lambda _: written.abandon())

    async def write(self, request: Any) -> None:
        if self.written is None:
            raise UsageError(MIXED)
        if self.done() or self.task.cancelling():
            raise asyncio.InvalidStateError(FINISHED)
        if getattr(self.standing(), "half_closed", False):
            raise asyncio.InvalidStateError(HALF_CLOSED)
        await self.written.put(request)

    async def done_writing(self) -> None:
        if self.written is None:
            raise UsageError(MIXED)
        self.written.end()


class InterceptedUnaryUnaryCall(InterceptedOneResponse, grpc.aio.UnaryUnaryCall[Any, Any]):
    pass


class InterceptedUnaryStreamCall(InterceptedManyResponses, grpc.aio.UnaryStreamCall[Any, Any]):
    pass


class InterceptedStreamUnaryCall(InterceptedManyRequests, InterceptedOneResponse, grpc.aio.StreamUnaryCall[Any, Any]):
    pass


class InterceptedStreamStreamCall(
    InterceptedManyRequests, InterceptedManyResponses, grpc.aio.StreamStreamCall[Any, Any]
):
    pass
