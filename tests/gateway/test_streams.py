"""Streams are bounded: strangers take none from those who show a key, nor all of them from other strangers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from gateway import service
from outcry import v1
from tests.gateway.test_order_entry import CALL
from tests.venues import Stubs, Venue, until

Metadata = list[tuple[str, str]]
Open = Callable[..., Any]


def market_data(channel: grpc.aio.Channel, key: Metadata | None = None) -> Any:
    request = v1.StreamMarketDataRequest(instruments=[CALL], channels=[v1.MARKET_DATA_CHANNEL_BOOK])
    return Stubs(channel).market.StreamMarketData(request, metadata=key)


def watch(channel: grpc.aio.Channel, key: Metadata | None = None) -> Any:
    return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), metadata=key)


class Dialogue:
    """A stream both ways that asks only where it is to be answered: grpcio's client takes it for a failure of its own
    when it writes to a stream that has just been refused."""

    def __init__(self, call: Any, question: Any) -> None:
        self.call = call
        self.question = question

    async def read(self) -> Any:
        await self.call.write(self.question)
        return await self.call.read()

    def cancel(self) -> None:
        self.call.cancel()


def reflect(channel: grpc.aio.Channel, key: Metadata | None = None) -> Dialogue:
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(metadata=key)
    return Dialogue(call, reflection_pb2.ServerReflectionRequest(list_services=""))


def session(channel: grpc.aio.Channel, key: Metadata | None = None) -> Dialogue:
    return Dialogue(Stubs(channel).orders.Session(metadata=key), v1.Instructions())


PUBLIC = pytest.mark.parametrize("public", [market_data, watch, reflect])


async def refusal(call: Any) -> tuple[grpc.StatusCode, v1.Reject]:
    """The status of a stream that is refused, and why."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await (call.call if isinstance(call, Dialogue) else call).read()
    status = rpc_status.from_call(refused.value)
    reject = v1.Reject()
    assert any(detail.Unpack(reject) for detail in status.details)
    return refused.value.code(), reject


async def assert_full(call: Any, limit: int) -> None:
    code, reject = await refusal(call)
    assert (code, reject.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, v1.CIRCUIT_BREAKER_OPEN)
    assert reject.details["limit"].count == limit


@asynccontextmanager
async def channel_from(host: str, exchange: Venue) -> AsyncIterator[grpc.aio.Channel]:
    """A channel whose connection the gateway sees come from another address of this machine."""
    pipes: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        finally:
            writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_connection("127.0.0.1", exchange.gateway.port, local_addr=(host, 0))
        pipes.add(asyncio.create_task(pipe(reader, inner[1])))
        pipes.add(asyncio.create_task(pipe(inner[0], writer)))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.close()
    for task in pipes:
        task.cancel()
    await asyncio.gather(*pipes, return_exceptions=True)


@PUBLIC
async def test_strangers_at_one_address_have_a_share_whatever_the_number_of_their_connections(
    exchange: Venue, public: Open
) -> None:
    exchange.gateway.streams.at_address = 2
    async with AsyncExitStack() as stack:
        here = [await stack.enter_async_context(channel_from("127.0.0.2", exchange)) for _ in range(3)]
        there = await stack.enter_async_context(channel_from("127.0.0.3", exchange))
        calls = [public(here[0]), market_data(here[1])]
        for call in calls:
            await call.read()
        await assert_full(public(here[2]), 2)
        elsewhere = public(there)
        assert await elsewhere.read()
        for call in (*calls, elsewhere):
            call.cancel()


@PUBLIC
async def test_strangers_at_all_addresses_together_have_a_bound(exchange: Venue, public: Open) -> None:
    exchange.gateway.streams.strangers = 2
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(channel_from(host, exchange)) for host in ("127.0.0.2", "127.0.0.3")
        ]
        calls = [public(channel) for channel in channels]
        for call in calls:
            await call.read()
        await assert_full(public(exchange.channel), 2)
        for call in calls:
            call.cancel()


@PUBLIC
async def test_strangers_take_nothing_from_an_account_or_the_bridge(exchange: Venue, public: Open) -> None:
    _, key = await exchange.stubs.register()
    bridge = [("x-service-key", (exchange.data / "keys" / "bridge.key").read_text().strip())]
    exchange.gateway.streams.strangers = exchange.gateway.streams.at_address = 1
    calls = [public(exchange.channel, who) for who in (None, key, bridge)]
    for call in calls:
        await call.read()
    await assert_full(public(exchange.channel), 1)
    for call in calls:
        call.cancel()


@pytest.mark.parametrize("name", ["x-api-key", "x-service-key"])
async def test_a_key_that_is_not_valid_makes_no_more_of_a_stranger(exchange: Venue, name: str) -> None:
    exchange.gateway.streams.strangers = 1
    wrong = [(name, "wrong" * 10)]
    first = market_data(exchange.channel, wrong)
    assert await first.read()
    await assert_full(market_data(exchange.channel, wrong), 1)
    first.cancel()


async def test_streams_of_callers_with_a_key_have_a_bound_of_their_own(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    exchange.gateway.streams.keyed = 2
    calls = [session(exchange.channel, key), market_data(exchange.channel, key)]
    for call in calls:
        await call.read()
    await assert_full(market_data(exchange.channel, key), 2)
    await assert_full(session(exchange.channel, key), 2)
    stranger = market_data(exchange.channel)
    assert await stranger.read()
    for call in (*calls, stranger):
        call.cancel()


async def test_one_account_has_a_share_of_the_streams_of_those_with_a_key(exchange: Venue) -> None:
    exchange.gateway.streams.of_account = 2
    (_, mine), (_, other) = await exchange.stubs.register(), await exchange.stubs.register()
    calls = [market_data(exchange.channel, mine), session(exchange.channel, mine)]
    for call in calls:
        await call.read()
    await assert_full(session(exchange.channel, mine), 2)
    theirs = session(exchange.channel, other)
    assert await theirs.read()
    for call in (*calls, theirs):
        call.cancel()


async def test_a_stream_that_has_ended_counts_no_more(exchange: Venue) -> None:
    account, key = await exchange.stubs.register()
    streams = exchange.gateway.streams
    calls = [open_(exchange.channel, who) for open_ in (market_data, watch, reflect) for who in (None, key)]
    for call in calls:
        await call.read()
    assert streams.open == {"strangers": 3, "127.0.0.1": 3, "keyed": 3, f"account {account}": 3}
    for call in calls:
        call.cancel()
    await until(lambda: not streams.served)
    assert not streams.open


def test_all_streams_together_leave_room_for_calls() -> None:
    assert service.KEYED_STREAMS + service.STRANGERS_STREAMS < service.CONCURRENT_CALLS
