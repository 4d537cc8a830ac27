"""grpcio's channel closes in the midst of its calls: what our server's servicers see of it, and what is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.venues import until
from tests.wire.services import Context, both_streams, client_stream, server_stream, unary
from tests.wire.transports import Pair

PAIR = Pair("grpcio", "native")
CALLS_OF_A_KIND = 20


async def test_every_call_of_a_channel_that_closes_is_cancelled_and_nothing_is_left_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[bool] = []

    async def one_answer(request: Any, context: Context) -> bytes:
        context.add_done_callback(lambda ended: told.append(ended.cancelled()))
        await asyncio.Event().wait()
        return b""

    async def many_answers(request: Any, context: Context) -> AsyncIterator[bytes]:
        yield b"first"
        yield await one_answer(request, context)

    single = {"Unary": unary(one_answer), "Input": client_stream(one_answer)}
    many = {"Output": server_stream(many_answers), "Duplex": both_streams(many_answers)}
    async with PAIR.serving(single | many) as link:
        calls: list[Any] = []
        for _ in range(CALLS_OF_A_KIND):
            calls += [link.unary("Unary")(b""), link.client_stream("Input")()]
            calls += [link.server_stream("Output")(b""), link.both_streams("Duplex")()]
        await until(lambda: link.server.calls == len(calls))
        await link.channel.close()
        await until(lambda: len(told) == len(calls))
        assert all(told)
        assert all(call.cancelled() for call in calls)
        assert (link.server.calls, link.server.tasks) == (0, set())
        assert caplog.messages == []
