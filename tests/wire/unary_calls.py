"""Scenarios: one question, one answer."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from tests.wire.outcomes import Outcome, iterated, one, raised, scenario
from tests.wire.services import Context, ask, client_stream, unary
from tests.wire.transports import Pair

ABORTED = Outcome(
    [],
    "NOT_FOUND",
    "no such: 100% ☺",
    trailing=(("reason", "because"), ("proof-bin", b"\0\xff")),
    raised="AioRpcError",
)


@scenario([Outcome([b""]), Outcome([b"question"]), Outcome([b"\0" * 300_000])])
async def echo(pair: Pair) -> Any:
    async with pair.serving() as link:
        return [await one(link.unary("Echo")(message)) for message in (b"", b"question", b"\0" * 300_000)]


@scenario((b"HI", "hi"))
async def serializers(pair: Pair) -> Any:
    """They are applied on both sides."""
    seen: list[str] = []

    async def method(request: Any, context: Any) -> Any:
        seen.append(request)
        return request.upper().encode()

    handler: Any = grpc.unary_unary_rpc_method_handler(method, bytes.decode, bytes)
    async with pair.serving({"Text": handler}) as link:
        call = link.channel.unary_unary("/wire.test.Everything/Text", str.encode, bytes)
        return await call("hi"), seen[0]


@scenario([Outcome([b"written", b"returned"]), Outcome([b"written", b""]), Outcome([b"written", b"returned"])])
async def unary_methods_that_write(pair: Pair) -> Any:
    """What they return comes after it, under the one head; a caller who expects a stream can read it."""

    async def both(request: Any, context: Context) -> bytes:
        await context.write(b"written")
        return b"returned"

    async def nothing(request: bytes, context: Context) -> Any:
        await context.write(b"written")

    async with pair.serving({"Both": unary(both), "Nothing": unary(nothing), "Asked": client_stream(both)}) as link:
        return [await iterated(link.server_stream(method)(b"")) for method in ("Both", "Nothing", "Asked")]


@scenario(Outcome([b"True"]))
async def unary_method_that_reads(pair: Pair) -> Any:
    """There is nothing more than the request that it was given."""

    async def method(request: bytes, context: Context) -> bytes:
        return repr(await context.read() is grpc.aio.EOF).encode()

    async with pair.serving({"Read": unary(method)}) as link:
        return await one(link.unary("Read")(b""))


@scenario(
    [
        Outcome([b""]),
        Outcome(["größe".encode()]),
        Outcome([], "UNKNOWN", "Unexpected <class 'TypeError'>: Expected bytes, got int", raised="AioRpcError"),
    ]
)
async def answers_that_are_no_bytes(pair: Pair) -> Any:
    """Without a serializer nothing is an empty message, and text is in UTF-8."""
    answers: list[Any] = [None, "größe", 7]

    async def method(request: bytes, context: Context) -> Any:
        return answers[len(request)]

    async with pair.serving({"Any": unary(method)}) as link:
        return [await one(link.unary("Any")(bytes(n))) for n in range(len(answers))]


@scenario("AioRpcError UNKNOWN")
async def serializer_that_fails_on_the_server(pair: Pair) -> Any:
    def broken(value: Any) -> bytes:
        raise ValueError("no bytes for this")

    async def method(request: Any, context: Any) -> Any:
        return request

    async with pair.serving({"Broken": grpc.unary_unary_rpc_method_handler(method, None, broken)}) as link:
        return await raised(link.unary("Broken")(b""))


@scenario(ABORTED)
async def abort(pair: Pair) -> Any:
    async with pair.serving() as link:
        return await one(link.unary("Abort")(ask(code=5, words="no such: 100% ☺", payload=b"\0\xff")))


@scenario()
async def every_code(pair: Pair) -> Any:
    async with pair.serving() as link:
        return [await one(link.unary("Abort")(ask(code=code, words=f"code {code}"))) for code in range(1, 17)]


@scenario([("NOT_FOUND", "by number"), ("UNKNOWN", "no such code")])
async def abort_with_numbers(pair: Pair) -> Any:
    """A code may be its number; one that is none is UNKNOWN."""

    async def method(request: bytes, context: Any) -> bytes:
        await context.abort(int(request), "by number" if request == b"5" else "no such code")
        raise AssertionError

    async with pair.serving({"Numbered": unary(method)}) as link:
        ends = [await one(link.unary("Numbered")(number)) for number in (b"5", b"99")]
        return [(end.code, end.details) for end in ends]


@scenario(("NOT_FOUND", "kept"))
async def abort_that_is_swallowed(pair: Pair) -> Any:
    """The status has gone out: what the method answers after it is dropped."""

    async def method(request: bytes, context: Context) -> Any:
        try:
            await context.abort(grpc.StatusCode.NOT_FOUND, "kept")
        except Exception:
            return b"dropped"

    async with pair.serving({"Swallow": unary(method)}) as link:
        end = await one(link.unary("Swallow")(b""))
        return end.code, end.details


@scenario(Outcome([], "DATA_LOSS", "set before", trailing=(("reason", "set before"),), raised="AioRpcError"))
async def abort_keeps_what_was_set(pair: Pair) -> Any:
    async def method(request: bytes, context: Context) -> Any:
        context.set_trailing_metadata((("reason", "set before"),))
        context.set_details("set before")
        await context.abort(grpc.StatusCode.DATA_LOSS)

    async with pair.serving({"Keep": unary(method)}) as link:
        return await one(link.unary("Keep")(b""))


@scenario(Outcome([], "UNKNOWN", "Unexpected <class 'ValueError'>: words of the error", raised="AioRpcError"))
async def exception(pair: Pair) -> Any:
    async with pair.serving() as link:
        return await one(link.unary("Raise")(b""))


@scenario("UNKNOWN")
async def a_servicer_that_cancels_its_call(pair: Pair) -> Any:
    """Only synchronous contexts can."""

    async def method(request: bytes, context: Any) -> None:
        context.cancel()

    async with pair.serving({"Cancel": unary(method)}) as link:
        return (await one(link.unary("Cancel")(b"", timeout=5))).code


@scenario("UNKNOWN")
async def abort_error_of_another_call(pair: Pair) -> Any:
    async def method(request: bytes, context: Context) -> bytes:
        raise grpc.aio.AbortError("of another")

    async with pair.serving({"Other": unary(method)}) as link:
        return (await one(link.unary("Other")(b""))).code


@scenario(
    Outcome([], "NOT_FOUND", "Unexpected <class 'ValueError'>: v", trailing=(("reason", "r"),), raised="AioRpcError")
)
async def exception_after_a_code(pair: Pair) -> Any:
    """The code and the trailing metadata that were set stay; the details do not."""

    async def method(request: bytes, context: Context) -> bytes:
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("forgotten")
        context.set_trailing_metadata((("reason", "r"),))
        raise ValueError("v")

    async with pair.serving({"Coded": unary(method)}) as link:
        return await one(link.unary("Coded")(b""))


@scenario(
    [
        Outcome([b"discarded unless the code is OK"], trailing=(("reason", "because"),)),
        Outcome([], "ABORTED", "set", trailing=(("reason", "because"),), raised="AioRpcError"),
    ]
)
async def set_code_and_details(pair: Pair) -> Any:
    """OK has trailing metadata and loses its details; any other code discards the answer."""
    async with pair.serving() as link:
        return [
            await one(link.unary("Set")(ask(code=code, words=words))) for code, words in ((0, "all well"), (10, "set"))
        ]


@scenario(Outcome([b""]))
async def answer_of_none(pair: Pair) -> Any:
    """Without a serializer, None is the empty message."""

    async def method(request: bytes, context: Context) -> Any:
        return None

    async with pair.serving({"None": unary(method)}) as link:
        return await one(link.unary("None")(b"question"))


@scenario(
    [
        ("ipv4:127.0.0.1", True, None, "", (), False, False, None),
        ("ipv4:127.0.0.1", False, None, "", (), False, False, None),
    ]
)
async def context_as_the_handler_sees_it(pair: Pair) -> Any:
    seen: list[Any] = []

    async def method(request: bytes, context: Any) -> bytes:
        left = context.time_remaining()
        assert left is None or 0 < left <= 30.1
        told = (context.code(), context.details(), context.trailing_metadata(), context.done(), context.cancelled())
        seen.append((context.peer().rpartition(":")[0], left is None, *told, context.peer_identity_key()))
        return b""

    async with pair.serving({"See": unary(method)}) as link:
        await link.unary("See")(b"")
        await link.unary("See")(b"", timeout=30)
    return seen


@scenario([(True, False), (True, False)])
async def done_callbacks_of_the_handler(pair: Pair) -> Any:
    """They are called with the context, when the call is over, in good ends and bad ones."""
    seen: list[Any] = []
    over = asyncio.Semaphore(0)

    def ended(context: Any) -> None:
        seen.append((context.done(), context.cancelled()))
        over.release()

    async def method(request: bytes, context: Context) -> bytes:
        context.add_done_callback(ended)
        if request:
            await context.abort(grpc.StatusCode.ABORTED, "")
        return b""

    async with pair.serving({"Watched": unary(method)}) as link:
        for request in (b"", b"abort"):
            await raised(link.unary("Watched")(request))
            await over.acquire()
    return seen


@scenario((True, True, [True], False, False, b"x", b"x"))
async def a_call_that_is_over(pair: Pair) -> Any:
    """Done callbacks get the call, late ones at once; cancel answers False; the answer may be awaited again."""
    called: list[Any] = []
    async with pair.serving() as link:
        call = link.unary("Echo")(b"x")
        before = not call.done()
        call.add_done_callback(called.append)
        first = await call
        late: list[bool] = []
        call.add_done_callback(lambda ended: late.append(ended is call))
        return before, called == [call], late, call.cancel(), call.cancelled(), first, await call


@scenario((None, True))
async def time_remaining_of_a_call(pair: Pair) -> Any:
    async with pair.serving() as link:
        free, bound = link.unary("Echo")(b""), link.unary("Echo")(b"", timeout=30)
        left = bound.time_remaining()
        await asyncio.gather(free, bound)
        return free.time_remaining(), 0 < left <= 30.1


@scenario(500)
async def many_calls_at_once(pair: Pair) -> Any:
    async with pair.serving() as link:
        call = link.unary("Echo")
        questions = [b"%d" % number for number in range(500)]
        answers = await asyncio.gather(*(call(question) for question in questions))
        return sum(question == answer for question, answer in zip(questions, answers, strict=True))


@scenario(Outcome([], "UNIMPLEMENTED", "Method not found!", raised="AioRpcError"))
async def no_such_method(pair: Pair) -> Any:
    async with pair.serving() as link:
        return await one(link.unary("NoSuch")(b""))


@scenario(
    (["b a /wire.test.Everything/Echo", "after", "b a /wire.test.Everything/NoSuch", "after"], b"x", "UNIMPLEMENTED")
)
async def server_interceptors(pair: Pair) -> Any:
    """The first is the outermost; they see methods that are not there, as None."""
    seen: list[str] = []

    class Naming(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            keys = [key for key, _ in details.invocation_metadata if key in ("x-b", "x-a")]
            seen.append(" ".join([key[-1] for key in keys] + [details.method]))
            handler = await continuation(details)
            seen.append("after")
            return handler

    metadata = (("x-b", ""), ("x-a", ""))
    async with pair.serving(server={"interceptors": [Naming()]}) as link:
        answer = await link.unary("Echo")(b"x", metadata=metadata)
        end = await one(link.unary("NoSuch")(b"", metadata=metadata))
        return seen, answer, end.code


@scenario(["PERMISSION_DENIED", "OK"])
async def server_interceptor_that_answers_itself(pair: Pair) -> Any:
    async def denied(request: bytes, context: Context) -> Any:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no key")

    class Guard(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            known = ("x-key", "yes") in [tuple(pair) for pair in details.invocation_metadata]
            return await continuation(details) if known else unary(denied)

    async with pair.serving(server={"interceptors": [Guard()]}) as link:
        calls = [link.unary("Echo")(b"", metadata=metadata) for metadata in ((), (("x-key", "yes"),))]
        return [(await one(call)).code for call in calls]
