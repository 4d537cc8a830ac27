"""Scenarios: calls in which one side or both send many messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio

from tests.wire.outcomes import Outcome, iterated, one, raised, read, scenario
from tests.wire.services import Context, Requests, ask, both_streams, client_stream, server_stream
from tests.wire.transports import Pair

SIZES = (0, 1, 70_000, 0, 5)
MESSAGES = [bytes(size) for size in SIZES]


async def questions(*each: bytes) -> AsyncIterator[bytes]:
    for question in each:
        yield question


@scenario([Outcome(MESSAGES)] * 4)
async def server_stream_in_every_style(pair: Pair) -> Any:
    """Generator or writes on the server, iteration or reads on the client."""
    async with pair.serving() as link:
        return [
            await style(link.server_stream(method)(ask(*SIZES)))
            for method in ("Output", "WriteOutput")
            for style in (iterated, read)
        ]


@scenario([Outcome([]), Outcome([]), Outcome([]), Outcome([b"0"])])
async def streams_of_nothing(pair: Pair) -> Any:
    async with pair.serving() as link:
        return [
            await iterated(link.server_stream("Output")(ask())),
            await read(link.server_stream("WriteOutput")(ask())),
            await iterated(link.both_streams("Duplex")(questions())),
            await one(link.client_stream("Input")(questions())),
        ]


@scenario([Outcome([b"6"])] * 6)
async def client_stream_in_every_style(pair: Pair) -> Any:
    """A generator, a list or writes on the client, iteration or reads on the server."""
    sent = [ask(payload=bytes(size)) for size in (1, 2, 3)]

    async def write_all(call: Any) -> Any:
        for question in sent:
            await call.write(question)
        await call.done_writing()
        return call

    async with pair.serving() as link:
        outcomes = []
        for method in ("Input", "ReadInput"):
            call = link.client_stream(method)
            started = (call(questions(*sent)), call(iter(sent)), await write_all(call()))
            outcomes += [await one(each) for each in started]
        return outcomes


@scenario([Outcome(MESSAGES)] * 4)
async def both_streams_in_every_style(pair: Pair) -> Any:
    async with pair.serving() as link:
        outcomes = []
        for method in ("Duplex", "ReadWriteDuplex"):
            outcomes.append(await iterated(link.both_streams(method)(questions(*map(ask, SIZES)))))
            call = link.both_streams(method)()
            answers = []
            for size in SIZES:
                await call.write(ask(size))
                answers.append(await call.read())
            await call.done_writing()
            rest = await read(call)
            outcomes.append(rest._replace(answers=answers + rest.answers))
        return outcomes


@scenario(
    [
        Outcome([bytes(3)], "FAILED_PRECONDITION", "after the messages", (), (("reason", "because"),), "AioRpcError"),
        Outcome([], "FAILED_PRECONDITION", "after the messages", (), (("reason", "because"),), "AioRpcError"),
        Outcome([bytes(3)], "UNKNOWN", "Unexpected <class 'ValueError'>: words of the error", raised="AioRpcError"),
        Outcome([], "UNKNOWN", "Unexpected <class 'ValueError'>: words of the error", raised="AioRpcError"),
    ]
)
async def streams_that_end_badly(pair: Pair) -> Any:
    """What was sent before the status arrives before it."""
    async with pair.serving() as link:
        return [
            await iterated(link.server_stream(method)(request))
            for method in ("OutputThenAbort", "OutputThenRaise")
            for request in (ask(3), ask())
        ]


@scenario(("ABORTED", "AioRpcError", "InvalidStateError"))
async def server_that_ends_before_the_client_has_written_all(pair: Pair) -> Any:
    """A write to a call that is over is an InvalidStateError."""

    async def method(requests: Requests, context: Context) -> AsyncIterator[bytes]:
        await context.abort(grpc.StatusCode.ABORTED, "not listening")
        yield b""

    async with pair.serving({"Deaf": both_streams(method)}) as link:
        call = link.both_streams("Deaf")()
        end = await read(call)
        return end.code, end.raised, await raised(call.write(b"late"))


@scenario([Outcome([b"early"]), Outcome([], "ABORTED", "early", raised="AioRpcError")])
async def answer_before_the_client_has_written_all(pair: Pair) -> Any:
    """The client's generator is left where it is."""

    async def method(requests: Requests, context: Context) -> bytes:
        async for request in requests:
            if request == b"abort":
                await context.abort(grpc.StatusCode.ABORTED, "early")
            break
        return b"early"

    async def endless(first: bytes, over: asyncio.Event) -> AsyncIterator[bytes]:
        yield first
        await over.wait()

    async with pair.serving({"Early": client_stream(method)}) as link:
        outcomes = []
        for first in (b"go on", b"abort"):
            over = asyncio.Event()
            outcomes.append(await one(link.client_stream("Early")(endless(first, over))))
            over.set()
        return outcomes


@scenario(("InvalidStateError", "answer None", "answer b'1'"))
async def writes_after_done_writing(pair: Pair) -> Any:
    """They are refused; to be done twice is nothing."""
    async with pair.serving() as link:
        call = link.client_stream("Input")()
        await call.write(ask(payload=b"1"))
        await call.done_writing()
        return await raised(call.write(b"")), await raised(call.done_writing()), await raised(call)


@scenario(["UsageError"] * 3)
async def styles_mixed_on_one_call(pair: Pair) -> Any:
    async with pair.serving() as link:
        given = link.both_streams("Duplex")(questions(ask(1), ask(1)))
        refused = [await raised(given.write(b"")), await raised(given.done_writing())]
        await iterated(given)
        reading = link.server_stream("HangStream")(b"")
        await reading.read()
        try:
            aiter(reading)
        except Exception as error:
            refused.append(type(error).__name__)
        reading.cancel()
        return refused


@scenario(("EOF", "EOF", "OK"))
async def reads_after_the_end(pair: Pair) -> Any:
    async with pair.serving() as link:
        call = link.server_stream("Output")(ask())
        ends = [await call.read() is grpc.aio.EOF for _ in range(2)]
        return *("EOF" if end else "message" for end in ends), (await call.code()).name


@scenario(["AioRpcError ABORTED"] * 3)
async def reads_after_a_bad_end(pair: Pair) -> Any:
    """Each tells it again."""

    async def method(request: bytes, context: Context) -> None:
        await context.abort(grpc.StatusCode.ABORTED, "")

    async with pair.serving({"Bad": server_stream(method)}) as link:
        call = link.server_stream("Bad")(b"")
        return [await raised(call.read()) for _ in range(3)]


async def iterations(call: Any) -> list[str]:
    """What comes of each of three."""
    return [await raised(anext(aiter(call))) for _ in range(3)]


OVER = "StopAsyncIteration"


@scenario([["answer b'1'", "AioRpcError ABORTED", OVER], ["AioRpcError ABORTED", OVER, OVER]])
async def iterations_after_a_bad_end(pair: Pair) -> Any:
    """The first that comes to it tells it, and others find nothing."""

    async def method(request: bytes, context: Context) -> AsyncIterator[bytes]:
        if request:
            yield request
        await context.abort(grpc.StatusCode.ABORTED, "")

    async with pair.serving({"Bad": server_stream(method)}) as link:
        return [await iterations(link.server_stream("Bad")(request)) for request in (b"1", b"")]


@scenario([["CancelledError", OVER, OVER], "CancelledError", [OVER, OVER, OVER]])
async def iterations_after_a_cancel(pair: Pair) -> Any:
    """Of the call, or of the task that iterates."""
    async with pair.serving() as link:
        call = link.both_streams("HangDuplex")()
        call.cancel()
        seen: list[Any] = [await iterations(call)]
        call = link.both_streams("HangDuplex")()
        task = asyncio.create_task(raised(anext(aiter(call))))
        await link.service.entered.wait()
        task.cancel()
        return [*seen, await task, await iterations(call)]


@scenario(("CANCELLED", "CancelledError", True))
async def client_generator_that_raises(pair: Pair) -> Any:
    """It cancels the call, and the error itself goes nowhere."""

    def broken() -> Iterator[bytes]:
        yield ask(payload=b"1")
        raise ValueError

    async with pair.serving() as link:
        end = await one(link.client_stream("Input")(broken()))
        return end.code, end.raised, end.cancelled


@scenario([b"1", b"2", "EOF", "EOF"])
async def server_reads_after_the_end(pair: Pair) -> Any:
    seen: list[Any] = []

    async def method(requests: Requests, context: Context) -> bytes:
        for _ in range(4):
            message = await context.read()
            seen.append("EOF" if message is grpc.aio.EOF else message)
        return b""

    async with pair.serving({"Read": client_stream(method)}) as link:
        await link.client_stream("Read")(questions(b"1", b"2"))
    return seen


@scenario(("RESOURCE_EXHAUSTED", "set", [b"1"]))
async def code_set_in_a_stream(pair: Pair) -> Any:
    async def method(request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"1"
        context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
        context.set_details("set")

    async with pair.serving({"Coded": server_stream(method)}) as link:
        end = await iterated(link.server_stream("Coded")(b""))
        return end.code, end.details, end.answers


@scenario(20_000)
async def more_than_the_windows_hold(pair: Pair) -> Any:
    """A thousand messages of 20 kB to a reader that starts late: none is lost, and the writer waits."""
    started = asyncio.Event()

    async def method(request: bytes, context: Context) -> AsyncIterator[bytes]:
        for number in range(1_000):
            started.set()
            yield number.to_bytes(2, "big") * 10_000

    async with pair.serving({"Flood": server_stream(method)}) as link:
        call = link.server_stream("Flood")(b"")
        await started.wait()
        number = 0
        async for message in call:
            assert message == number.to_bytes(2, "big") * 10_000
            number += 1
        assert number == 1_000
        return len(message)


@scenario([b"0", b"1", b"2"])
async def many_streams_at_once(pair: Pair) -> Any:
    """200 ping-pongs share a connection and do not mix."""

    async def method(requests: Requests, context: Context) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async with pair.serving({"Pong": both_streams(method)}) as link:

        async def rally(name: int) -> list[bytes]:
            call = link.both_streams("Pong")()
            answers = []
            for number in range(3):
                await call.write(b"%d:%d" % (name, number))
                answer = await call.read()
                assert answer.startswith(b"%d:" % name)
                answers.append(answer.partition(b":")[2])
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            return answers

        rallies = await asyncio.gather(*map(rally, range(200)))
        assert all(answers == rallies[0] for answers in rallies)
        return rallies[0]
