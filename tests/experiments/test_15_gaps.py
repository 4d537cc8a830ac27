"""Experiment 15, where the numbers end: what is no longer kept is refused, and a reader whose gap cannot be closed is
told so; every other gap the clients close by themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import websockets
from grpc_status import rpc_status

from gateway import event_log
from outcry import SequenceOutOfRange, v1
from tests.documents.in_process import bridge
from tests.experiments.exchanges import UNIT, Exchange
from tests.experiments.test_15_resumed_feeds import Trading, last_number, told
from tests.faults.cutter import Cutter, cutting
from tests.outcry.conftest import connect
from tests.venues import Venue, venue

SEED = 151
SEGMENT_BYTES = 2_000
ROUNDS = 40


class Account:
    """An account in an exchange in this process, whose event log has many small segments, with a cutter before it."""

    def __init__(self, running: Venue, cutter: Cutter, http: str) -> None:
        self.running = running
        self.cutter = cutter
        self.http = http

    async def register(self) -> None:
        self.account, self.metadata = await self.running.stubs.register()
        self.key = self.metadata[0][1]

    async def order(self, rounds: int) -> None:
        """Each round is two events of its own: an order that rests, and its cancellation."""
        orders = self.running.stubs.orders
        for _ in range(rounds):
            order = v1.NewOrder(
                instrument_id="AAPL", side=v1.SIDE_BUY, order_type=v1.ORDER_TYPE_LIMIT, quantity=UNIT, price=UNIT
            )
            result = await orders.SubmitOrder(order, metadata=self.metadata)
            await orders.CancelOrder(v1.CancelRequest(order_id=result.order_id), metadata=self.metadata)
            self.running.gateway.event_log.flush()  # a frame for each round, so that there are many segments

    def prune(self) -> tuple[int, int]:
        """Delete what is older than the last twenty commands; the first and last number that there are then."""
        log = self.running.gateway.event_log
        log.prune(log.last_seq - 20)
        return log.first_number(self.account), log.last_number(self.account)

    async def by_grpc(self, from_seq: int) -> list[int]:
        """The numbers up to the last, by the stream."""
        request = v1.StreamExecutionsRequest(from_seq=from_seq)
        numbers: list[int] = []
        async for message in self.running.stubs.feed.StreamExecutions(request, metadata=self.metadata):
            numbers += [event.seq for event in message.reports]
            if message.last_seq == numbers[-1:] or len(numbers) == 2 * ROUNDS - from_seq:
                break
        return numbers

    def socket(self, from_seq: int) -> websockets.connect:
        return websockets.connect(f"ws://{self.http}/ws?api_key={self.key}&from_seq={from_seq}")

    async def by_websocket(self, from_seq: int) -> list[int]:
        numbers = []
        async with self.socket(from_seq) as socket:
            async for text in socket:
                message = json.loads(text)
                if message["type"] == "position_snapshot":
                    break
                numbers.append(message["seq"])
        return numbers


@pytest.fixture
async def account(tmp_path: Path, transport: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Account]:
    del transport  # of the engine, by its environment
    monkeypatch.setattr(event_log, "SEGMENT_BYTES", SEGMENT_BYTES)
    async with venue(tmp_path / "data") as running, cutting(running.address, SEED) as cutter:
        cutter.is_sharp = False
        running.address = cutter.address
        async with bridge(running) as url:
            account = Account(running, cutter, url.removeprefix("http://"))
            await account.register()
            yield account


async def refused_stream(account: Account, from_seq: int) -> tuple[int, int]:
    """The first and last number that a refusal by gRPC names."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await account.by_grpc(from_seq)
    assert refused.value.code() == grpc.StatusCode.OUT_OF_RANGE
    reject = v1.Reject()
    assert any(detail.Unpack(reject) for detail in rpc_status.from_call(refused.value).details)
    assert reject.reason == v1.SEQUENCE_OUT_OF_RANGE
    return reject.details["first"].count, reject.details["last"].count


async def refused_socket(socket: websockets.ClientConnection) -> tuple[int, int]:
    """The first and last number that a refusal by the WebSocket names; what comes before it is passed over."""
    with suppress(websockets.ConnectionClosedError):
        async for text in socket:
            message = json.loads(text)
    assert socket.close_code == 1008
    assert message["data"]["code"] == "SEQUENCE_OUT_OF_RANGE"
    details: dict[str, int] = message["data"]["details"]
    return details["first"], details["last"]


async def test_numbers_that_are_not_kept_are_refused_on_both_channels_naming_the_first_and_last_that_are(
    account: Account,
) -> None:
    await account.order(ROUNDS)
    first, last = account.prune()
    assert (first > 1, last) == (True, 2 * ROUNDS)
    kept = list(range(first, last + 1))
    assert await account.by_grpc(first - 1) == kept == await account.by_websocket(first - 1)
    for wrong in (0, 1, first - 2, last + 1):
        assert await refused_stream(account, wrong) == (first, last)
        async with account.socket(wrong) as socket:
            assert await refused_socket(socket) == (first, last)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_client_whose_gap_cannot_be_closed_raises_and_names_what_there_is(account: Account, kind: str) -> None:
    async with following(kind, account.cutter.address, account.key) as feed:
        await account.order(2)
        assert [(await anext(feed)).seq for _ in range(4)] == [1, 2, 3, 4]
        await account.cutter.shut()
        await account.order(ROUNDS)
        first, last = account.prune()
        account.cutter.is_open = True
        with pytest.raises(SequenceOutOfRange) as gap:
            await anext(feed)
        assert (gap.value.details["first"], gap.value.details["last"]) == (first, last)


async def test_a_socket_whose_gap_cannot_be_closed_says_so_and_ends(account: Account) -> None:
    await account.order(2)
    async with account.socket(0) as socket:
        assert [json.loads(await socket.recv())["seq"] for _ in range(4)] == [1, 2, 3, 4]
        await account.cutter.shut()
        await account.order(ROUNDS)
        first, last = account.prune()
        account.cutter.is_open = True
        assert await refused_socket(socket) == (first, last)


@asynccontextmanager
async def following(kind: str, address: str, key: str) -> AsyncIterator[Any]:
    """The events of a client of either kind, from the first on."""
    client = connect(kind, address, key)
    try:
        yield client.executions(from_seq=0)
    finally:
        await client.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_client_mends_its_feed_by_itself_over_cuts_and_restarts(own_exchange: Exchange, kind: str) -> None:
    trading = Trading(own_exchange)
    await trading.register()
    async with (
        cutting(own_exchange.grpc, SEED, lasting=0.5) as cutter,
        following(kind, cutter.address, trading.key) as feed,
    ):
        seen = []
        running = asyncio.create_task(trading.run())
        for cuts in (6, 12):
            while cutter.cuts < cuts:
                seen.append(await anext(feed))
            await asyncio.to_thread(own_exchange.restart_engine)
        cutter.is_sharp = False
        trading.enters.clear()
        last = await last_number(own_exchange, trading)
        while len(seen) < last:
            seen.append(await anext(feed))
        running.cancel()
    own_exchange.engine.stop()
    expected = told(own_exchange.data, trading.account)
    assert [report.seq for report in seen] == [report.seq for report in expected] == list(range(1, last + 1))
