"""Scenarios: calls that are cancelled or run out of time, and what the other side sees of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio

from tests.wire.outcomes import Outcome, iterated, one, raised, read, scenario, without_details
from tests.wire.services import Context, Requests, both_streams, unary
from tests.wire.transports import Link, Pair

SHORT_S = 0.05
CANCELLED = Outcome([], "CANCELLED", "Locally cancelled by application!", raised="CancelledError", cancelled=True)
TOO_LATE = Outcome([], "DEADLINE_EXCEEDED", "", raised="AioRpcError")


@scenario((True, False, CANCELLED, True))
async def cancel_a_unary_call(pair: Pair) -> Any:
    """The handler's task is cancelled and its done callbacks are called."""
    async with pair.serving() as link:
        call = link.unary("Hang")(b"")
        await link.service.entered.wait()
        cancelled = call.cancel(), call.cancel()
        end = await one(call)
        await link.service.finished.wait()
        return *cancelled, end, link.service.cancelled.is_set()


@scenario((True, CANCELLED))
async def cancel_before_anything_is_sent(pair: Pair) -> Any:
    async with pair.serving() as link:
        call = link.unary("Echo")(b"")
        return call.cancel(), await one(call)


@scenario((b"first", True, CANCELLED, True))
async def cancel_a_server_stream(pair: Pair) -> Any:
    async with pair.serving() as link:
        call = link.server_stream("HangStream")(b"")
        first = await call.read()
        await link.service.entered.wait()
        cancelled = call.cancel()
        end = await read(call)
        await link.service.finished.wait()
        return first, cancelled, end._replace(initial=()), link.service.cancelled.is_set()


@scenario((CANCELLED, True))
async def cancel_both_streams(pair: Pair) -> Any:
    async with pair.serving() as link:
        call = link.both_streams("HangDuplex")()
        await link.service.entered.wait()
        call.cancel()
        end = await iterated(call)
        await link.service.finished.wait()
        return end, link.service.cancelled.is_set()


@scenario(("CancelledError", "CANCELLED", True))
async def cancel_a_task_that_awaits_the_call(pair: Pair) -> Any:
    """It cancels the call."""
    async with pair.serving() as link:
        call = link.unary("Hang")(b"")

        async def waiting() -> None:
            await call

        task = asyncio.create_task(waiting())
        await link.service.entered.wait()
        task.cancel()
        end = await raised(task)
        await link.service.cancelled.wait()
        return end, (await call.code()).name, call.cancelled()


@scenario(("CancelledError", "CANCELLED"))
async def cancel_a_task_that_reads(pair: Pair) -> Any:
    """It cancels the call, too: a read with a time limit must shield."""
    async with pair.serving() as link:
        call = link.server_stream("HangStream")(b"")
        await call.read()
        await link.service.entered.wait()
        task = asyncio.create_task(call.read())
        await asyncio.sleep(0)  # it reads now
        task.cancel()
        end = await raised(task)
        await link.service.cancelled.wait()
        return end, (await call.code()).name


@scenario([True])
async def done_callback_of_a_cancelled_call(pair: Pair) -> Any:
    """It is called within cancel()."""
    seen: list[bool] = []
    async with pair.serving() as link:
        call = link.unary("Hang")(b"")
        call.add_done_callback(lambda ended: seen.append(ended.cancelled()))
        await link.service.entered.wait()
        call.cancel()
        return list(seen)


@scenario(["CancelledError", True, False])
async def context_of_a_cancelled_call(pair: Pair) -> Any:
    """The context itself tells nothing of it: neither done nor cancelled."""
    seen: list[Any] = []
    entered, over = asyncio.Event(), asyncio.Event()

    async def method(request: bytes, context: Context) -> bytes:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            seen.append(type(error).__name__)
            seen.extend((not context.done(), context.cancelled()))
            over.set()
            raise
        return b""

    async with pair.serving({"Watch": unary(method)}) as link:
        call = link.unary("Watch")(b"")
        await entered.wait()
        call.cancel()
        await over.wait()
    return seen


@scenario(True)
async def server_read_of_a_cancelled_call(pair: Pair) -> Any:
    """It may look like the end of the stream: grpcio's handler sees that, or a CancelledError, by chance."""
    seen: list[str] = []
    entered, over = asyncio.Event(), asyncio.Event()

    async def method(requests: Requests, context: Context) -> AsyncIterator[bytes]:
        entered.set()
        try:
            async for request in requests:
                yield request
            seen.append("end")
        except BaseException as error:
            seen.append(type(error).__name__)
            raise
        finally:
            over.set()

    async with pair.serving({"Read": both_streams(method)}) as link:
        call = link.both_streams("Read")()
        await entered.wait()
        call.cancel()
        await over.wait()
    return seen[0] in ("end", "CancelledError")


async def overdue(link: Link, start: Callable[[float], Any], end: Callable[[Any], Awaitable[Outcome]]) -> Any:
    """The end of a call that hangs; with more time, should it have been over before the handler was reached."""
    for timeout in (SHORT_S, 20 * SHORT_S, 200 * SHORT_S):
        outcome = await end(start(timeout))
        if link.service.entered.is_set():
            break
    await link.service.finished.wait()
    return without_details(outcome)._replace(answers=[]), link.service.cancelled.is_set()


@scenario((TOO_LATE, True))
async def deadline_of_a_unary_call(pair: Pair) -> Any:
    """Nothing is `cancelled` on the client; the handler's task is."""
    async with pair.serving() as link:
        return await overdue(link, lambda timeout: link.unary("Hang")(b"", timeout=timeout), one)


@scenario((TOO_LATE, True))
async def deadline_of_a_server_stream(pair: Pair) -> Any:
    async with pair.serving() as link:
        return await overdue(link, lambda timeout: link.server_stream("HangStream")(b"", timeout=timeout), iterated)


@scenario((TOO_LATE, True))
async def deadline_of_both_streams(pair: Pair) -> Any:
    async with pair.serving() as link:
        return await overdue(link, lambda timeout: link.both_streams("HangDuplex")(timeout=timeout), read)


@scenario(TOO_LATE)
async def deadline_that_is_past(pair: Pair) -> Any:
    """The call is over before anything is sent."""
    async with pair.serving() as link:
        return without_details(await one(link.unary("Echo")(b"", timeout=-1)))


@scenario("CANCELLED")
async def channel_closed_under_a_call(pair: Pair) -> Any:
    async with pair.serving() as link:
        call = link.unary("Hang")(b"")
        await link.service.entered.wait()
        await link.channel.close()
        end = await one(call)
        assert end.raised == "CancelledError"
        await link.service.cancelled.wait()
        return end.code


@scenario((b"released", "UsageError"))
async def channel_closed_with_grace(pair: Pair) -> Any:
    """The call may end; a new one is refused."""
    async with pair.serving() as link:
        call = link.unary("Hang")(b"released")
        await link.service.entered.wait()
        closing = asyncio.create_task(link.channel.close(10))
        link.service.released.set()
        answer = await call
        await closing
        try:
            refused = await raised(link.unary("Echo")(b""))
        except grpc.aio.UsageError as error:
            refused = type(error).__name__
        return answer, refused


@scenario("UNAVAILABLE")
async def server_stopped_under_a_call(pair: Pair) -> Any:
    async with pair.serving() as link:
        call = link.unary("Hang")(b"")
        await link.service.entered.wait()
        await link.server.stop(None)
        return (await one(call)).code


@scenario((b"released", "UNAVAILABLE"))
async def server_stopped_with_grace(pair: Pair) -> Any:
    """The call may end; the port is closed at once."""
    async with pair.serving() as link:
        call = link.unary("Hang")(b"released")
        await link.service.entered.wait()
        stopping = asyncio.create_task(link.server.stop(10))
        while await refused_by(pair, link.address) == "answer b''":
            pass
        late = await refused_by(pair, link.address)
        link.service.released.set()
        answer = await call
        await stopping
        return answer, late.rpartition(" ")[2]


async def refused_by(pair: Pair, address: str) -> str:
    async with pair.channel(address) as channel:
        return await raised(channel.unary_unary("/wire.test.Everything/Echo")(b""))
