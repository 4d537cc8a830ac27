"""What a call leaves unread goes back to the connection's window: calls that are given up cost the others nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.wire.services import Context, ask, client_stream, server_stream
from tests.wire.transports import PAIRS, Pair

pytestmark = pytest.mark.parametrize("pair", PAIRS, ids="-to-".join)

PIECE = bytes(16 << 10)
STREAMS = 120  # whose windows together are more than a connection's


FILLING_S = 0.02  # a shorter time would prove less, and fail nothing


async def fill(call: Any) -> None:
    """Write until the window is full and beyond; the end of the call ends it."""
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
        while True:
            await call.write(PIECE)


async def test_requests_that_were_not_read_before_a_cancel(pair: Pair) -> None:
    async with pair.serving() as link:
        for _ in range(STREAMS):
            call = link.both_streams("HangDuplex")()
            link.service.entered.clear()
            writing = asyncio.ensure_future(fill(call))
            await link.service.entered.wait()
            await asyncio.wait([writing], timeout=FILLING_S)
            call.cancel()
            assert await call.code() is grpc.StatusCode.CANCELLED
            await writing
        answer = await asyncio.wait_for(link.unary("Unary")(ask(1, payload=bytes(1 << 20))), 20)
        assert answer == bytes(1)


async def test_answers_that_were_not_read_before_a_cancel(pair: Pair) -> None:
    stuck = asyncio.Event()

    async def pour(request: bytes, context: Context) -> Any:
        for _ in range(16):
            yield PIECE
        stuck.set()
        while True:
            yield PIECE

    async with pair.serving({"Pour": server_stream(pour)}) as link:
        for _ in range(STREAMS):
            stuck.clear()
            call = link.server_stream("Pour")(b"")
            assert await call.read() == PIECE
            await asyncio.wait([asyncio.ensure_future(stuck.wait())], timeout=FILLING_S)
            call.cancel()
            assert await call.code() is grpc.StatusCode.CANCELLED
        answer = await asyncio.wait_for(link.unary("Unary")(ask(1 << 20)), 20)
        assert answer == bytes(1 << 20)


async def test_requests_that_a_cancel_overtakes_are_not_handed_over(pair: Pair) -> None:
    read: list[bytes] = []
    begun = asyncio.Event()
    ended = asyncio.Event()

    async def collect(requests: Any) -> None:
        async for request in requests:
            read.append(request)
            begun.set()

    async def pick(requests: Any, context: Context) -> bytes:
        context.add_done_callback(lambda _: ended.set())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(collect(requests))
        return b""

    async with pair.serving({"Pick": client_stream(pick)}) as link:
        call = link.client_stream("Pick")()
        await call.write(b"first")
        await begun.wait()
        for _ in range(10):
            await call.write(b"more")
        call.cancel()
        await ended.wait()
        assert await link.unary("Echo")(b"after it") == b"after it"
        if pair == ("native", "native"):  # they leave and arrive in one piece
            assert read == [b"first"]
