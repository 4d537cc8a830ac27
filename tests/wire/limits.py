"""Scenarios: messages, metadata and numbers of calls that are more than what is allowed."""

from __future__ import annotations

from typing import Any

from tests.wire.outcomes import Outcome, iterated, one, scenario, without_details
from tests.wire.services import ask
from tests.wire.transports import Pair

TOO_LARGE = Outcome([], "RESOURCE_EXHAUSTED", "", raised="AioRpcError")
RECEIVE = [("grpc.max_receive_message_length", 1_000)]
SEND = [("grpc.max_send_message_length", 1_000)]
METADATA = [("grpc.max_metadata_size", 1_000), ("grpc.absolute_max_metadata_size", 1_000)]


@scenario(["OK", TOO_LARGE])
async def message_too_large_for_the_server(pair: Pair) -> Any:
    async with pair.serving(server={"options": RECEIVE}) as link:
        fits, too_large = [await one(link.unary("Echo")(bytes(size))) for size in (1_000, 1_001)]
        return [fits.code, without_details(too_large)]


@scenario(["OK", TOO_LARGE])
async def message_too_large_for_the_client(pair: Pair) -> Any:
    async with pair.serving(channel={"options": RECEIVE}) as link:
        fits, too_large = [await one(link.unary("Unary")(ask(size))) for size in (1_000, 1_001)]
        return [fits.code, without_details(too_large)]


@scenario(["OK", TOO_LARGE])
async def message_too_large_to_be_sent(pair: Pair) -> Any:
    async with pair.serving(channel={"options": SEND}) as link:
        fits, too_large = [await one(link.unary("Echo")(bytes(size))) for size in (1_000, 1_001)]
        return [fits.code, without_details(too_large)]


@scenario(["OK", TOO_LARGE])
async def answer_too_large_to_be_sent(pair: Pair) -> Any:
    async with pair.serving(server={"options": SEND}) as link:
        fits, too_large = [await one(link.unary("Unary")(ask(size))) for size in (1_000, 1_001)]
        return [fits.code, without_details(too_large)]


@scenario(["OK", "RESOURCE_EXHAUSTED"])
async def default_limit(pair: Pair) -> Any:
    """4 MiB to receive, on both sides; any size may be sent."""
    async with pair.serving() as link:
        return [(await one(link.unary("Unary")(ask(size)))).code for size in (4 << 20, (4 << 20) + 1)]


@scenario(b"\0" * 6_000_000)
async def no_limit(pair: Pair) -> Any:
    unlimited = {"options": [("grpc.max_receive_message_length", -1)]}
    async with pair.serving(server=unlimited, channel=unlimited) as link:
        return await link.unary("Echo")(b"\0" * 6_000_000)


@scenario(TOO_LARGE._replace(answers=[bytes(10)]))
async def message_too_large_within_a_stream(pair: Pair) -> Any:
    async with pair.serving(channel={"options": RECEIVE}) as link:
        return without_details(await iterated(link.server_stream("Output")(ask(10, 1_001, 10))))


@scenario(
    Outcome(
        [repr([("x-big", "v" * 6_000)]).encode()], initial=(("x-big", "v" * 6_000),), trailing=(("x-big", "v" * 6_000),)
    )
)
async def metadata_of_several_kilobytes(pair: Pair) -> Any:
    async with pair.serving() as link:
        return await one(link.unary("Metadata")(b"", metadata=(("x-big", "v" * 6_000),)))


@scenario(["RESOURCE_EXHAUSTED", "OK"])
async def metadata_too_large_for_the_server(pair: Pair) -> Any:
    """Only that call fails."""
    async with pair.serving(server={"options": METADATA}) as link:
        return [(await one(link.unary("Echo")(b"", metadata=(("x-big", "v" * size),)))).code for size in (5_000, 10)]


@scenario(["RESOURCE_EXHAUSTED", "OK"])
async def metadata_too_large_for_the_client(pair: Pair) -> Any:
    limited = {"options": [("grpc.max_metadata_size", 1_000), ("grpc.absolute_max_metadata_size", 1_000)]}
    async with pair.serving(channel=limited) as link:
        return [
            (await one(link.unary("Metadata")(b"", metadata=(("x-big", "v" * size),)))).code for size in (5_000, 10)
        ]


@scenario([("RESOURCE_EXHAUSTED", "Concurrent RPC limit exceeded!"), "OK", "OK"])
async def more_calls_than_the_server_allows(pair: Pair) -> Any:
    """`maximum_concurrent_rpcs` refuses what is above it; when a call has ended there is room."""
    async with pair.serving(server={"maximum_concurrent_rpcs": 1}) as link:
        first = link.unary("Hang")(b"")
        await link.service.entered.wait()
        refused = await one(link.unary("Echo")(b""))
        link.service.released.set()
        ended = await one(first)
        while (after := await one(link.unary("Echo")(b""))).code != "OK":
            """The place is given back a moment after the answer."""
        return [(refused.code, refused.details), ended.code, after.code]
