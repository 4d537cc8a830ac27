"""A private feed that fails inside: an engine that always says the same is not asked for ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from outcry import v1
from rest_bridge.app import create_app
from rest_bridge.settings import Settings

HANG_S = 30


class Accounts(v1.AccountsServicer):
    async def GetPositions(self, request, context):
        return v1.Positions(seq=7)


class FailingFeed(v1.ExecutionFeedServicer):
    """Fails as often as it is opened; each time after as many events as `events` says."""

    def __init__(self, events: list[int], status: grpc.StatusCode) -> None:
        self.events = iter(events)
        self.status = status
        self.opened = 0

    async def StreamExecutions(self, request, context):
        self.opened += 1
        for number in range(next(self.events, 0)):
            seq = request.from_seq + 1 + number
            moved = v1.PositionUpdated(instrument_id="AAPL", position=10**9)
            yield v1.ExecutionReports(reports=[v1.ExecutionReport(seq=seq, position=moved)])
        await context.abort(self.status, "the secret of the house")


@asynccontextmanager
async def served_by(feed: FailingFeed) -> AsyncIterator[str]:
    server = grpc.aio.server()
    v1.add_AccountsServicer_to_server(Accounts(), server)
    v1.add_ExecutionFeedServicer_to_server(feed, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def heard(served, feed: FailingFeed) -> tuple[list[dict], int | None, str | None]:
    """Everything that a socket is sent, and how it is closed."""
    messages = []
    async with served_by(feed) as engine, asyncio.timeout(HANG_S):
        app = create_app(Settings(_cli_parse_args=False, grpc=engine))
        async with served(app) as address, connect(f"ws://{address}/ws?api_key=any") as socket:
            try:
                while True:
                    messages.append(json.loads(await socket.recv()))
            except ConnectionClosed:
                return messages, socket.close_code, socket.close_reason


@pytest.mark.parametrize("status", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN])
async def test_a_feed_that_fails_inside_three_times_is_an_error_and_then_1011_with_the_last_number(served, status):
    feed = FailingFeed([], status)
    messages, code, reason = await heard(served, feed)
    assert [message["type"] for message in messages] == ["position_snapshot", "error"]
    error = messages[-1]["data"]
    assert error["code"] == "INTERNAL_ERROR"
    assert error["details"]["support_reference"].startswith("ERR_")
    assert "secret" not in json.dumps(error)
    assert (code, reason) == (1011, "internal error; the last number sent is 7")
    assert feed.opened == 3


async def test_an_event_between_failures_lets_the_count_begin_again(served):
    feed = FailingFeed([0, 0, 1, 0, 1], grpc.StatusCode.INTERNAL)
    messages, code, reason = await heard(served, feed)
    assert [message.get("seq") for message in messages] == [7, 8, 9, None]
    assert (code, reason) == (1011, "internal error; the last number sent is 9")
    assert feed.opened == 7
