"""Our channel's client interceptors where grpcio's have nothing to compare with: it hangs there, or fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from grpc import StatusCode

from tests.wire.interceptors import QUESTIONS, go_on, intercepted_by
from tests.wire.outcomes import Outcome, iterated, one, shown
from tests.wire.services import ask
from tests.wire.transports import Pair

PAIR = Pair("native", "native")
SOON_S = 5


async def test_a_channel_without_interceptors_of_a_kind_makes_its_calls_as_if_there_were_none() -> None:
    unary_only = {"interceptors": intercepted_by(go_on)["interceptors"][:1]}
    async with PAIR.serving() as plain, PAIR.serving(channel=unary_only) as link:
        assert plain.unary("Echo").intercept is None
        assert link.unary("Echo").intercept is not None
        others = [method("Echo").intercept for method in (link.server_stream, link.client_stream, link.both_streams)]
        assert others == [None] * 3


async def test_an_interceptor_may_answer_a_stream_without_a_call() -> None:
    async def own() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async def answer(continuation: Any, details: Any, request: Any) -> Any:
        return own()

    async with PAIR.serving(channel=intercepted_by(go_on, answer)) as link:
        for call in (link.server_stream("Output")(b""), link.both_streams("Duplex")()):
            assert await iterated(call) == Outcome([b"one", b"two"])


async def test_an_interceptor_may_answer_a_stream_of_requests_with_a_response() -> None:
    async def answer(continuation: Any, details: Any, requests: Any) -> Any:
        return await (await continuation(details, requests)) + b"!"

    async with PAIR.serving(channel=intercepted_by(go_on, answer)) as link:
        assert await one(link.client_stream("Input")(iter(QUESTIONS))) == Outcome([b"5!"])


async def test_an_interceptor_may_await_a_call_to_which_its_caller_still_writes() -> None:
    async def look(continuation: Any, details: Any, requests: Any) -> Any:
        call = await continuation(details, requests)
        await call
        return call

    async with PAIR.serving(channel=intercepted_by(look)) as link:
        call = link.client_stream("Input")()
        for question in QUESTIONS:
            await asyncio.wait_for(call.write(question), SOON_S)
        await call.done_writing()
        assert await asyncio.wait_for(call, SOON_S) == b"5"
        after = call.write(b"")
        assert (await one(call)).answers == [b"5"]
        assert await name_of_error(after) == "InvalidStateError"


async def test_nothing_is_written_after_the_end_of_writing() -> None:
    async with PAIR.serving(channel=intercepted_by(go_on)) as link:
        call = link.both_streams("HangDuplex")()
        await call.done_writing()
        assert await name_of_error(call.write(b"")) == "InvalidStateError"
        call.cancel()


async def test_nothing_is_written_to_a_call_whose_interceptor_has_ended_its_requests() -> None:
    ended = asyncio.Event()

    async def first(requests: Any) -> AsyncIterator[bytes]:
        yield await anext(requests)
        ended.set()

    async def shorten(continuation: Any, details: Any, requests: Any) -> Any:
        return await continuation(details, first(requests))

    async with PAIR.serving(channel=intercepted_by(shorten)) as link:
        call = link.both_streams("HangDuplex")()
        await call.write(b"")
        await ended.wait()
        assert await name_of_error(call.write(b"")) == "InvalidStateError"
        call.cancel()


async def test_who_cancels_an_interceptor_cancels_what_it_has_begun() -> None:
    async def linger(continuation: Any, details: Any, request: Any) -> Any:
        await continuation(details, request)
        await asyncio.Event().wait()

    async with PAIR.serving(channel=intercepted_by(go_on, linger)) as link:
        for begin in (lambda: link.unary("Hang")(b""), lambda: link.both_streams("HangDuplex")()):
            call = begin()
            await asyncio.wait_for(link.service.entered.wait(), SOON_S)
            assert call.cancel()
            await asyncio.wait_for(link.service.cancelled.wait(), SOON_S)
            assert await call.code() is StatusCode.CANCELLED
            link.service.entered.clear()
            link.service.cancelled.clear()


async def test_an_intercepted_stream_that_nobody_holds_is_cancelled() -> None:
    async with PAIR.serving(channel=intercepted_by(go_on)) as link:
        fed = link.server_stream("HangStream")(b"")
        assert await fed.read() == b"first"
        await link.service.entered.wait()
        del fed
        await asyncio.wait_for(link.service.cancelled.wait(), SOON_S)
        link.service.entered.clear()
        link.service.cancelled.clear()
        written = link.both_streams("HangDuplex")()
        await written.write(ask(1))
        await link.service.entered.wait()
        del written
        await asyncio.wait_for(link.service.cancelled.wait(), SOON_S)


async def test_asking_for_the_status_leaves_the_interceptors_alone() -> None:
    """Who gives up waiting for the status has not cancelled the call."""
    released = asyncio.Event()

    async def wait(continuation: Any, details: Any, request: Any) -> Any:
        await released.wait()
        return await continuation(details, request)

    async with PAIR.serving(channel=intercepted_by(wait)) as link:
        call = link.unary("Echo")(b"x")
        asking = asyncio.ensure_future(call.code())
        await asyncio.sleep(0)
        asking.cancel()
        assert await name_of_error(asking) == "CancelledError"
        released.set()
        assert await call == b"x"
        assert call.time_remaining() is None
        assert shown(await call.trailing_metadata()) == ()


async def name_of_error(awaitable: Any) -> str:
    try:
        await awaitable
    except (Exception, asyncio.CancelledError) as error:
        return type(error).__name__
    return ""
