"""Synchronous servicers: their methods run where they may block, and see the call and its requests from a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from grpc import StatusCode

from wire.metadata import Pairs

if TYPE_CHECKING:
    from wire.servicer_context import ServerCall

END = object()  # of what an iterator gives
OK = (StatusCode.OK, 0)  # is no way to abort
PASSED_ON = {  # what a thread may ask of a call by itself
    "auth_context",
    "code",
    "details",
    "disable_next_message_compression",
    "invocation_metadata",
    "peer",
    "peer_identities",
    "peer_identity_key",
    "set_code",
    "set_compression",
    "set_details",
    "set_trailing_metadata",
    "time_remaining",
    "trailing_metadata",
}


class Aborted(Exception):
    """Raised by a synchronous servicer's abort(): the status is with the call."""


class ThreadContext:
    """The call as a synchronous servicer sees it, under the names of grpc.ServicerContext: nothing is awaited, and its
    abort() raises at once."""

    def __init__(self, call: ServerCall) -> None:
        self.call = call

    def __getattr__(self, name: str) -> Any:
        if name in PASSED_ON:
            return getattr(self.call, name)
        raise AttributeError(name)

    def is_active(self) -> bool:
        return not self.call.ended

    def cancel(self) -> None:
        self.call.connection.loop.call_soon_threadsafe(self.call.end, StatusCode.CANCELLED, "Cancelled by its servicer")

    def abort(self, code: StatusCode, details: str = "", trailing_metadata: Pairs = ()) -> NoReturn:
        self.call.set_code(StatusCode.UNKNOWN if code in OK else code)
        self.call.set_details("" if code in OK else details or self.call.words)
        if trailing_metadata:
            self.call.set_trailing_metadata(trailing_metadata)
        raise Aborted(details)

    def abort_with_status(self, status: grpc.Status) -> NoReturn:
        self.abort(status.code, status.details, status.trailing_metadata)

    def send_initial_metadata(self, initial_metadata: Pairs) -> None:
        loop = self.call.connection.loop
        asyncio.run_coroutine_threadsafe(self.call.send_initial_metadata(initial_metadata), loop).result()

    def add_callback(self, callback: Callable[[], Any]) -> None:
        """Called without arguments, as grpcio's synchronous contexts do."""
        self.call.connection.loop.call_soon_threadsafe(self.call.add_done_callback, lambda _: callback())


grpc.ServicerContext.register(ThreadContext)


class ThreadRequests:
    """The requests of a call, for a thread that waits for each. They end when the call does."""

    def __init__(self, call: ServerCall) -> None:
        self.call = call

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        message = asyncio.run_coroutine_threadsafe(self.call.read(), self.call.connection.loop).result()
        if message is grpc.aio.EOF:
            raise StopIteration
        return message


async def in_thread(behaviour: Callable[..., Any], call: ServerCall, request: Any) -> Any:
    """Run a synchronous servicer's method where it may block."""
    if isinstance(request, AsyncIterator):
        request = ThreadRequests(call)
    server = call.connection.server
    return await server.loop.run_in_executor(server.threads, partial(run, behaviour, request, ThreadContext(call)))


def run(behaviour: Callable[..., Any], request: Any, context: ThreadContext) -> Any:
    try:
        return behaviour(request, context)
    except StopIteration as end:  # of next() on the requests: a future cannot carry it, and would never be done
        raise RuntimeError("the servicer's method raised StopIteration") from end


async def answers_in_thread(behaviour: Callable[..., Any], call: ServerCall, request: Any) -> AsyncIterator[Any]:
    """What a synchronous servicer's method yields."""
    answers = iter(await in_thread(behaviour, call, request) or ())
    server = call.connection.server
    take = partial(server.loop.run_in_executor, server.threads, next, answers, END)
    while (answer := await take()) is not END:
        yield answer
