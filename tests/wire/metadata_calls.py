"""Scenarios: metadata of unary calls."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from tests.wire.outcomes import Outcome, one, scenario, shown
from tests.wire.services import Context, unary
from tests.wire.transports import Pair

WRONG = [("UNKNOWN", "Unexpected <class 'TypeError'>")] * 3
METADATA = (
    ("x-a", "1"),
    ("x-a", "2"),
    ("x-b-bin", b"\0\xff\n"),
    ("x-empty", ""),
    ("x-empty-bin", b""),
    ("x-c", "a,b "),
)


@scenario(Outcome([repr(list(METADATA)).encode()], initial=METADATA, trailing=METADATA))
async def metadata_both_ways(pair: Pair) -> Any:
    """Repeated keys stand together, in order; empty values and spaces at the end are kept."""
    async with pair.serving() as link:
        return await one(link.unary("Metadata")(b"", metadata=(METADATA[0], *METADATA[2:], METADATA[1])))


@scenario()
async def metadata_as_the_handler_sees_it(pair: Pair) -> Any:
    """Nothing of the transport's own but the user agent; keys that the transport owns are taken from the caller."""
    seen: list[Any] = []

    async def method(request: bytes, context: Context) -> bytes:
        seen.append([(key, value) for key, value in context.invocation_metadata() or ()])
        return b""

    sent = [(("x-a", "1"),), (("grpc-mine", "1"),), (("te", "x"),), (("content-type", "x"),), (("user-agent", "me"),)]
    async with pair.serving({"See": unary(method)}) as link:
        for metadata in sent:
            await link.unary("See")(b"", metadata=metadata)
    assert all(dict(keys)["user-agent"] != "me" for keys in seen)
    return [[(key, value) for key, value in keys if key != "user-agent"] for keys in seen]


@scenario(["ValueError or refusal"] * 6)
async def metadata_that_is_not_legal(pair: Pair) -> Any:
    """It never reaches the server: what is raised instead differs with the kind of fault."""
    wrong: list[Any] = [("Upper", "x"), (":p", "x"), ("", "x"), ("x", "a\nb"), ("x", "é"), ("x-bin", "text")]
    async with pair.serving() as link:

        async def refused(metadata: Any) -> str:
            try:
                await link.unary("Echo")(b"", metadata=(metadata,))
            except Exception:
                return "ValueError or refusal"
            return "accepted"

        return [await refused(metadata) for metadata in wrong]


@scenario(Outcome([], "INTERNAL", "Invalid metadata", raised="AioRpcError"))
async def trailing_metadata_that_is_not_legal(pair: Pair) -> Any:
    async def method(request: bytes, context: Context) -> bytes:
        context.set_trailing_metadata((("Upper", "x"),))
        return b""

    async with pair.serving({"Upper": unary(method)}) as link:
        return await one(link.unary("Upper")(b""))


@scenario({"send_initial_metadata": WRONG, "set_trailing_metadata": WRONG, "abort": WRONG})
async def metadata_of_wrong_types(pair: Pair) -> Any:
    """Who gives it is told at once."""
    wrong: list[Any] = [("x-a", 7), ("x-a-bin", bytearray(b"x")), (7, "x")]

    async def send_initial_metadata(request: bytes, context: Context) -> None:
        await context.send_initial_metadata((wrong[len(request)],))

    async def set_trailing_metadata(request: bytes, context: Context) -> None:
        context.set_trailing_metadata((wrong[len(request)],))

    async def abort(request: bytes, context: Context) -> None:
        await context.abort(grpc.StatusCode.ABORTED, "", (wrong[len(request)],))

    methods: dict[str, Any] = {
        each.__name__: unary(each) for each in (send_initial_metadata, set_trailing_metadata, abort)
    }
    async with pair.serving(methods) as link:
        ends = {name: [await one(link.unary(name)(bytes(n))) for n in range(len(wrong))] for name in methods}
    return {name: [(end.code, str(end.details).split(":")[0]) for end in each] for name, each in ends.items()}


@scenario(("UNKNOWN", True, (("x-a", "b"),)))
async def initial_metadata_twice(pair: Pair) -> Any:
    async def method(request: bytes, context: Context) -> bytes:
        await context.send_initial_metadata((("x-a", "b"),))
        await context.send_initial_metadata((("x-a", "b"),))
        return b""

    async with pair.serving({"Twice": unary(method)}) as link:
        end = await one(link.unary("Twice")(b""))
        return end.code, "already sent" in str(end.details), end.initial


@scenario((("x-a", "b"),))
async def initial_metadata_before_the_answer(pair: Pair) -> Any:
    """It arrives while the method still works."""
    released = asyncio.Event()

    async def method(request: bytes, context: Context) -> bytes:
        await context.send_initial_metadata((("x-a", "b"),))
        await released.wait()
        return b""

    async with pair.serving({"Early": unary(method)}) as link:
        call = link.channel.unary_stream("/wire.test.Everything/Early")(b"")
        early = shown(await call.initial_metadata())
        released.set()
        await call.read()
        return early
