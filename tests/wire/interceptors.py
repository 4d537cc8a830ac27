"""Scenarios: calls that client interceptors have a hand in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from tests.wire.outcomes import Outcome, iterated, one, raised, read, scenario, without_details
from tests.wire.services import SERVICE, ask
from tests.wire.transports import Link, Pair

Does = Callable[[Any, Any, Any], Awaitable[Any]]  # as an interceptor does with (continuation, details, request)

ECHO = f"/{SERVICE}/Echo".encode()
QUESTIONS = [ask(payload=b"abc"), ask(payload=b"de")]


class Intercepting:
    def __init__(self, does: Does) -> None:
        self.does = does

    async def intercept(self, continuation: Any, details: Any, request: Any) -> Any:
        return await self.does(continuation, details, request)


class UnaryUnary(Intercepting, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary = Intercepting.intercept


class UnaryStream(Intercepting, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream = Intercepting.intercept


class StreamUnary(Intercepting, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary = Intercepting.intercept


class StreamStream(Intercepting, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream = Intercepting.intercept


def intercepted_by(*does: Does) -> dict[str, Any]:
    """What a channel is made with whose calls of all kinds pass by these, in this order."""
    kinds: list[Any] = [UnaryUnary, UnaryStream, StreamUnary, StreamStream]
    return {"interceptors": [kind(each) for each in does for kind in kinds]}


async def go_on(continuation: Any, details: Any, request: Any) -> Any:
    return await continuation(details, request)


async def every_kind(link: Link, **settings: Any) -> list[Outcome]:
    return [
        await one(link.unary("Metadata")(b"", **settings)),
        await iterated(link.server_stream("Output")(ask(1, 2), **settings)),
        await read(link.server_stream("Output")(ask(1, 2), **settings)),
        await one(link.client_stream("Input")(iter(QUESTIONS), **settings)),
        await iterated(link.both_streams("Duplex")(iter([ask(1), ask(2)]), **settings)),
    ]


# What interceptors see, and may change


@scenario([True] * 4)
async def methods_of_a_channel_with_interceptors_are_what_grpcio_calls_them(pair: Pair) -> Any:
    """Who looks for a kind of method finds it."""
    async with pair.serving(channel=intercepted_by(go_on)) as link:
        return [
            isinstance(link.unary("Echo"), grpc.aio.UnaryUnaryMultiCallable),
            isinstance(link.server_stream("Output"), grpc.aio.UnaryStreamMultiCallable),
            isinstance(link.client_stream("Input"), grpc.aio.StreamUnaryMultiCallable),
            isinstance(link.both_streams("Duplex"), grpc.aio.StreamStreamMultiCallable),
        ]


@scenario()
async def calls_that_interceptors_let_pass(pair: Pair) -> Any:
    async with pair.serving(channel=intercepted_by(go_on, go_on)) as link:
        return await every_kind(link, metadata=(("x-a", "1"), ("x-b-bin", b"\0")), timeout=20)


@scenario(["first", "second", "answered", "second", "answered", "first"])
async def order_of_interceptors(pair: Pair) -> Any:
    """The first is asked first, and hears last."""
    heard: list[str] = []

    def named(name: str) -> Does:
        async def does(continuation: Any, details: Any, request: Any) -> Any:
            heard.append(name)
            call = await continuation(details, request)
            await call
            heard.extend(["answered", name])
            return call

        return does

    async with pair.serving(channel=intercepted_by(named("first"), named("second"))) as link:
        await link.unary("Echo")(b"")
        return heard


@scenario(
    [(b"/wire.test.Everything/Echo", 20.0, [("x-a", "1")], True), (b"/wire.test.Everything/Echo", None, [], None)]
)
async def details_that_an_interceptor_sees(pair: Pair) -> Any:
    seen: list[Any] = []

    async def look(continuation: Any, details: Any, request: Any) -> Any:
        assert isinstance(details, grpc.aio.ClientCallDetails)
        assert isinstance(details.metadata, Metadata)
        seen.append((details.method, details.timeout, [*details.metadata], details.wait_for_ready))
        return await continuation(details, request)

    async with pair.serving(channel=intercepted_by(look)) as link:
        await link.unary("Echo")(b"", timeout=20.0, metadata=(("x-a", "1"),), wait_for_ready=True)
        await link.unary("Echo")(b"")
        return seen


@scenario()
async def metadata_that_an_interceptor_adds(pair: Pair) -> Any:
    async def sign(continuation: Any, details: Any, request: Any) -> Any:
        details.metadata.add("x-grpc-test-echo-initial", "signed")
        return await continuation(details, request)

    async def replace(continuation: Any, details: Any, request: Any) -> Any:
        metadata = (*details.metadata, ("x-grpc-test-echo-trailing-bin", b"\1"))
        return await continuation(details._replace(metadata=Metadata(*metadata)), request)

    async with pair.serving(channel=intercepted_by(sign, replace)) as link:
        return [
            await one(link.unary("Unary")(ask(1))),
            await iterated(link.both_streams("Duplex")(iter([ask(1)]), metadata=(("x-a", "1"),))),
        ]


@scenario([Outcome([], "DEADLINE_EXCEEDED", "", raised="AioRpcError")] * 2)
async def timeout_that_an_interceptor_sets(pair: Pair) -> Any:
    async def hurry(continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(details._replace(timeout=0.05), request)

    async with pair.serving(channel=intercepted_by(hurry)) as link:
        calls = [link.unary("Hang")(b""), link.client_stream("Hang")()]
        return [without_details(await one(call)) for call in calls]


@scenario(b"other")
async def method_and_request_that_an_interceptor_changes(pair: Pair) -> Any:
    async def divert(continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(details._replace(method=ECHO), b"other")

    async with pair.serving(channel=intercepted_by(divert)) as link:
        return await link.unary("Hang")(b"")


@scenario([b"13", [b"\0", b"\0\0"]])
async def requests_that_an_interceptor_changes(pair: Pair) -> Any:
    async def more(requests: Any) -> AsyncIterator[bytes]:
        if isinstance(requests, AsyncIterator):
            async for request in requests:
                yield request
        else:
            for request in requests:
                yield request
        yield ask(2, payload=b"one more")

    async def lengthen(continuation: Any, details: Any, requests: Any) -> Any:
        return await continuation(details, more(requests))

    async with pair.serving(channel=intercepted_by(lengthen)) as link:
        total = await link.client_stream("Input")(iter(QUESTIONS))
        return [total, (await iterated(link.both_streams("Duplex")(iter([ask(1)])))).answers]


# Answers of an interceptor's own


@scenario([Outcome([b"own"])] * 2)
async def response_of_an_interceptor(pair: Pair) -> Any:
    """No call is made; and the interceptors before the one that answers are given a call all the same."""

    async def answer(continuation: Any, details: Any, request: Any) -> Any:
        return b"own"

    async def look(continuation: Any, details: Any, request: Any) -> Any:
        call = await continuation(details, request)
        assert (await call.code(), call.done(), call.cancel()) == (StatusCode.OK, True, False)
        return await call

    outcomes = []
    for before in (go_on, look):
        async with pair.serving(channel=intercepted_by(before, answer)) as link:
            outcomes.append(await one(link.unary("Hang")(b"")))
    return outcomes


@scenario([Outcome([b"\0!", b"\0\0!"])] * 4)
async def responses_of_an_interceptor(pair: Pair) -> Any:
    """The responses are the interceptor's, the status is the call's."""

    async def loud(call: Any) -> AsyncIterator[bytes]:
        async for answer in call:
            yield answer + b"!"

    async def shout(continuation: Any, details: Any, request: Any) -> Any:
        return loud(await continuation(details, request))

    async with pair.serving(channel=intercepted_by(go_on, shout)) as link:
        return [
            await style(call)
            for style in (iterated, read)
            for call in (
                link.server_stream("Output")(ask(1, 2)),
                link.both_streams("Duplex")(iter([ask(1), ask(2)])),
            )
        ]


@scenario([b"again", 3])
async def interceptor_that_tries_again(pair: Pair) -> Any:
    attempts = 0

    async def retry(continuation: Any, details: Any, request: Any) -> Any:
        nonlocal attempts
        while True:
            attempts += 1
            call = await continuation(details if attempts < 3 else details._replace(method=ECHO), request)
            if await call.code() is StatusCode.OK:
                return call

    async with pair.serving(channel=intercepted_by(retry)) as link:
        return [await link.unary("Raise")(b"again"), attempts]


# Failures


@scenario()
async def failures_of_the_server_behind_interceptors(pair: Pair) -> Any:
    async with pair.serving(channel=intercepted_by(go_on)) as link:
        return [
            await one(link.unary("Abort")(ask(code=5, words="no such", payload=b"\0"))),
            await iterated(link.server_stream("OutputThenAbort")(ask(1, 2))),
            await read(link.server_stream("OutputThenAbort")(ask(1, 2))),
            await one(link.unary("NoSuch")(b"")),
        ]


@scenario()
async def status_that_an_interceptor_raises(pair: Pair) -> Any:
    async def refuse(continuation: Any, details: Any, request: Any) -> Any:
        initial, trailing = Metadata(("x-a", "1")), Metadata(("x-b", "2"))
        raise AioRpcError(StatusCode.UNAUTHENTICATED, initial, trailing, "not you", "debug words")

    async with pair.serving(channel=intercepted_by(go_on, refuse)) as link:
        return await every_kind(link)


@scenario((["ValueError"] * 4, ["ValueError"] * 5, True, False, False))
async def error_that_an_interceptor_raises(pair: Pair) -> Any:
    async def fail(continuation: Any, details: Any, request: Any) -> Any:
        raise ValueError("words of the error")

    async with pair.serving(channel=intercepted_by(fail)) as link:
        calls = [link.unary("Echo")(b""), link.client_stream("Input")()]
        streams = [link.server_stream("Output")(b""), link.both_streams("Duplex")()]
        seen = [await raised(call) for call in calls] + [await raised(stream.read()) for stream in streams]
        call = calls[0]
        asked = (call.code, call.details, call.initial_metadata, call.trailing_metadata, call.wait_for_connection)
        return seen, [await raised(ask_for()) for ask_for in asked], call.done(), call.cancelled(), call.cancel()
