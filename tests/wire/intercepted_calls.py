"""Scenarios: calls that interceptors have let pass, as their caller holds them: ends, callbacks, writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from tests.wire.interceptors import QUESTIONS, UnaryUnary, go_on, intercepted_by
from tests.wire.outcomes import Outcome, one, raised, read, scenario, shown
from tests.wire.services import Context, ask, server_stream
from tests.wire.transports import Pair

CANCELLED = Outcome([], "CANCELLED", "Locally cancelled by application!", raised="CancelledError", cancelled=True)


# Ends


@scenario([(True, CANCELLED, False)] * 2)
async def cancel_while_interceptors_are_at_work(pair: Pair) -> Any:
    """Before they are asked, and while one waits for something else."""
    outcomes = []
    entered = asyncio.Event()

    async def wait(continuation: Any, details: Any, request: Any) -> Any:
        entered.set()
        await asyncio.Event().wait()

    async with pair.serving(channel=intercepted_by(wait)) as link:
        for waits in (False, True):
            call = link.unary("Echo")(b"")
            if waits:
                await entered.wait()
            cancelled = call.cancel()
            outcomes.append((cancelled, await one(call), call.cancel()))
    return outcomes


@scenario((CANCELLED, CANCELLED, CANCELLED._replace(answers=[b"first"]), True))
async def cancel_a_call_that_interceptors_have_begun(pair: Pair) -> Any:
    """The server hears of it, whether the interceptor awaits the call or has gone on."""

    async def hold(continuation: Any, details: Any, request: Any) -> Any:
        return await (await continuation(details, request))

    outcomes = []
    for does in (go_on, hold):
        async with pair.serving(channel={"interceptors": [UnaryUnary(does)]}) as link:
            call = link.unary("Hang")(b"")
            await link.service.entered.wait()
            assert (call.done(), call.cancelled(), call.cancel()) == (False, False, True)
            outcomes.append(await one(call))
            await link.service.cancelled.wait()
    async with pair.serving(channel=intercepted_by(go_on)) as link:
        stream = link.server_stream("HangStream")(b"")
        first = await stream.read()
        await link.service.entered.wait()
        stream.cancel()
        end = (await read(stream))._replace(answers=[first], initial=())
        await link.service.cancelled.wait()
        return *outcomes, end, stream.done()


@scenario((["awaiting", "cancelled"], True))
async def cancel_the_task_that_awaits_an_intercepted_call(pair: Pair) -> Any:
    async with pair.serving(channel=intercepted_by(go_on)) as link:
        call = link.unary("Hang")(b"")
        task = asyncio.ensure_future(one(call))
        await link.service.entered.wait()
        seen = ["awaiting"]
        task.cancel()
        outcome = await task
        seen.append("cancelled" if outcome.cancelled else "still there")
        await link.service.cancelled.wait()
        return seen, call.done()


@scenario([["AioRpcError ABORTED", "StopAsyncIteration"], ["AioRpcError ABORTED", "answer <grpc.aio.EOF>"]])
async def intercepted_stream_after_a_bad_end(pair: Pair) -> Any:
    """It is told once, to who reads, too."""

    async def method(request: bytes, context: Context) -> None:
        await context.abort(StatusCode.ABORTED, "")

    async with pair.serving({"Bad": server_stream(method)}, channel=intercepted_by(go_on)) as link:
        call, other = (link.server_stream("Bad")(b"") for _ in range(2))
        iterated = [await raised(anext(aiter(call))) for _ in range(2)]
        return [iterated, [await raised(other.read()) for _ in range(2)]]


@scenario((False, [True] * 3, [True], [True]))
async def callbacks_of_an_intercepted_call(pair: Pair) -> Any:
    """They are told of the call that the caller holds: early, late, and when interceptors end it."""
    told: list[bool] = []
    begun = asyncio.Event()

    async def tell(continuation: Any, details: Any, request: Any) -> Any:
        call = await continuation(details, request)
        begun.set()
        return call

    async def fail(continuation: Any, details: Any, request: Any) -> Any:
        raise ValueError("words of the error")

    async with pair.serving(channel=intercepted_by(tell)) as link:
        call = link.unary("Hang")(b"")
        call.add_done_callback(lambda done: told.append(done is call))
        await link.service.entered.wait()
        call.add_done_callback(lambda done: told.append(done is call))
        early = bool(told)
        link.service.released.set()
        await call
        call.add_done_callback(lambda done: told.append(done is call))
        ended = list(told)
        told.clear()
        held = link.unary("Hang")(b"")
        held.add_done_callback(lambda done: told.append(done is held))
        held.cancel()
        await raised(held)
        cancelled = list(told)
        told.clear()
    async with pair.serving(channel=intercepted_by(fail)) as link:
        failing = link.unary("Echo")(b"")
        failing.add_done_callback(lambda done: told.append(done is failing))
        await raised(failing)
    return early, ended, cancelled, told


@scenario([("answer b'once'", "answer b'once'"), "OK", "OK", "OK"])
async def waiting_in_several_ways(pair: Pair) -> Any:
    async with pair.serving(channel=intercepted_by(go_on)) as link:
        call = link.unary("Echo")(b"once")
        await call.wait_for_connection()
        answers = await raised(call), await raised(call)
        stream = link.server_stream("Output")(ask(1))
        await stream.wait_for_connection()
        assert shown(await stream.initial_metadata()) == ()
        assert len(await stream.read()) == 1
        other, both = link.client_stream("Input")(iter(())), link.both_streams("Duplex")(iter(()))
        assert await both.read() is grpc.aio.EOF
        return [answers, *[(await each.code()).name for each in (stream, other, both)]]


# Writers


@scenario((b"5", [1, 2], True, "OK"))
async def written_requests_behind_interceptors(pair: Pair) -> Any:
    async with pair.serving(channel=intercepted_by(go_on, go_on)) as link:
        call = link.client_stream("Input")()
        for question in QUESTIONS:
            await call.write(question)
        await call.done_writing()
        total = await call
        duplex = link.both_streams("Duplex")()
        sizes = []
        for size in (1, 2):
            await duplex.write(ask(size))
            sizes.append(len(await duplex.read()))
        await duplex.done_writing()
        ended = await duplex.read() is grpc.aio.EOF
        return total, sizes, ended, (await duplex.code()).name


@scenario(["UsageError", "UsageError", "InvalidStateError", "InvalidStateError", "InvalidStateError"])
async def writers_that_cannot_write(pair: Pair) -> Any:
    """The requests are an iterator; or the call is over, early or late."""

    async def refuse(continuation: Any, details: Any, request: Any) -> Any:
        raise AioRpcError(StatusCode.UNAUTHENTICATED, Metadata(), Metadata())

    async with pair.serving(channel=intercepted_by(go_on)) as link:
        fed = link.both_streams("Duplex")(iter([ask(1)]))
        seen = [await raised(fed.write(b"")), await raised(fed.done_writing())]
        cancelled = link.both_streams("Duplex")()
        cancelled.cancel()
        seen.append(await raised(cancelled.write(b"")))
        ended = link.both_streams("Duplex")()
        await ended.write(ask(code=5))
        await raised(ended.read())
        seen.append(await raised(ended.write(b"")))
    async with pair.serving(channel=intercepted_by(refuse)) as link:
        call = link.client_stream("Input")()
        await raised(call)
        seen.append(await raised(call.write(b"")))
    return seen


@scenario("InvalidStateError")
async def writer_that_waits_when_its_call_ends(pair: Pair) -> Any:
    """Nobody takes the requests; the call ends, and the writer learns of it."""

    async def drop(continuation: Any, details: Any, requests: Any) -> Any:
        return await continuation(details, silence())

    async def silence() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with pair.serving(channel=intercepted_by(drop)) as link:
        call = link.both_streams("HangDuplex")()
        await call.write(b"taken by nobody")
        await link.service.entered.wait()
        waiting = asyncio.ensure_future(raised(call.write(b"waits")))
        await asyncio.sleep(0)
        call.cancel()
        return await waiting


# The channel


@scenario(["ValueError", ["unary"], b"x", b"5"])
async def kinds_of_interceptors(pair: Pair) -> Any:
    """What is none is refused; what is of two kinds is asked for the first only."""
    asked: list[str] = []

    class Both(grpc.aio.UnaryUnaryClientInterceptor, grpc.aio.StreamUnaryClientInterceptor):
        async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            asked.append("unary")
            return await continuation(client_call_details, request)

        async def intercept_stream_unary(
            self, continuation: Any, client_call_details: Any, request_iterator: Any
        ) -> Any:
            asked.append("stream")
            return await continuation(client_call_details, request_iterator)

    seen: list[Any] = []
    try:
        pair.channel("localhost:1", interceptors=[object()])
    except ValueError:
        seen.append("ValueError")
    async with pair.serving(channel={"interceptors": [Both()]}) as link:
        one_answer = await link.unary("Echo")(b"x")
        total = await link.client_stream("Input")(iter(QUESTIONS))
    return [*seen, asked, one_answer, total]


@scenario([(b"x", "OK"), (["CancelledError"], "CANCELLED"), "UsageError"])
async def closing_a_channel_with_interceptors_at_work(pair: Pair) -> Any:
    """A grace lets them end; without one they are cancelled; and nothing begins afterwards."""
    entered, released = asyncio.Event(), asyncio.Event()

    async def wait(continuation: Any, details: Any, request: Any) -> Any:
        call = await continuation(details, request)
        answer = await call
        entered.set()
        await released.wait()
        return answer

    seen: list[Any] = []
    async with pair.serving(channel=intercepted_by(wait)) as link:
        call = link.unary("Echo")(b"x")
        await entered.wait()
        closing = asyncio.ensure_future(link.channel.close(5))
        await asyncio.sleep(0)
        released.set()
        seen.append((await call, (await call.code()).name))
        await closing
        entered.clear()
        released.clear()
    async with pair.serving(channel=intercepted_by(wait)) as link:
        call = link.unary("Echo")(b"x")
        await entered.wait()
        await link.channel.close()
        ends, _ = await asyncio.wait([asyncio.ensure_future(raised(call))], timeout=5)
        seen.append(([end.result() for end in ends], (await call.code()).name))
        seen.append(await raised(link.unary("Echo")(b"")))
    return seen
