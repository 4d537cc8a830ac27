"""Synchronous servicers: their methods run where they may block, and see the call and its requests from a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from grpc import StatusCode

from wire.answers import Metadata

if TYPE_CHECKING:
    from wire.servicer_context import ServerCall

END = object()  # of what an iterator gives
OK = (StatusCode.OK, 0)  # is no way to abort


class Aborted(Exception):
    """Raised by a synchronous servicer's abort(): the status is with the call."""


class ThreadContext:
    """The call as a synchronous servicer sees it: nothing is awaited, and its abort() raises at once."""

    def __init__(self, call: ServerCall) -> None:
        self.call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self.call, name)

    def abort(self, code: StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        self.call.set_code(StatusCode.UNKNOWN if code in OK else code)
        self.call.set_details("" if code in OK else details or self.call.words)
        if trailing_metadata:
            self.call.set_trailing_metadata(trailing_metadata)
        raise Aborted(details)

    def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        loop = self.call.connection.loop
        asyncio.run_coroutine_threadsafe(self.call.send_initial_metadata(initial_metadata), loop).result()

    def add_callback(self, callback: Callable[[], Any]) -> None:
        """Called without arguments, as grpcio's synchronous contexts do."""
        self.call.connection.loop.call_soon_threadsafe(self.call.add_done_callback, lambda _: callback())


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
    return await call.connection.loop.run_in_executor(None, partial(run, behaviour, request, ThreadContext(call)))


def run(behaviour: Callable[..., Any], request: Any, context: ThreadContext) -> Any:
    try:
        return behaviour(request, context)
    except StopIteration as end:  # of next() on the requests: a future cannot carry it, and would never be done
        raise RuntimeError("the servicer's method raised StopIteration") from end


async def answers_in_thread(behaviour: Callable[..., Any], call: ServerCall, request: Any) -> AsyncIterator[Any]:
    """What a synchronous servicer's method yields."""
    answers = iter(await in_thread(behaviour, call, request) or ())
    take = partial(call.connection.loop.run_in_executor, None, next, answers, END)
    while (answer := await take()) is not END:
        yield answer
