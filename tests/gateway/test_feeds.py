"""Private feeds over a real socket: numbered, resumable, and a slow reader hurts only itself."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest

from gateway.event_records import Numbered
from gateway.feeds import Reader, Window
from outcry import v1
from tests.gateway.test_order_entry import order
from tests.venues import Venue, until, venue


def follow(exchange: Venue, key: list[tuple[str, str]], from_seq: int | None = None) -> grpc.aio.UnaryStreamCall:
    return exchange.stubs.feed.StreamExecutions(v1.StreamExecutionsRequest(from_seq=from_seq), metadata=key)


async def take(feed: grpc.aio.UnaryStreamCall, count: int) -> list[v1.ExecutionReport]:
    reports: list[v1.ExecutionReport] = []
    while len(reports) < count:
        reports += (await feed.read()).reports
    return reports


async def trade_some(exchange: Venue, buyer: list[tuple[str, str]], seller: list[tuple[str, str]], count: int) -> None:
    for _ in range(count):
        await exchange.stubs.orders.SubmitOrder(order(quantity=1), metadata=buyer)
        await exchange.stubs.orders.SubmitOrder(order(v1.SIDE_SELL, 1), metadata=seller)


async def test_an_account_s_events_are_numbered_from_1_without_a_gap(exchange: Venue) -> None:
    _, buyer = await exchange.stubs.register()
    _, seller = await exchange.stubs.register()
    feed = follow(exchange, buyer)
    assert (await feed.read()).last_seq == 0
    await trade_some(exchange, buyer, seller, 3)
    reports = await take(feed, 9)
    assert [r.seq for r in reports] == list(range(1, 10))
    assert [r.WhichOneof("event") for r in reports[:3]] == ["accepted", "filled", "position"]
    feed.cancel()


async def test_a_resumed_feed_gives_what_was_missed_and_then_what_comes(exchange: Venue) -> None:
    _, buyer = await exchange.stubs.register()
    _, seller = await exchange.stubs.register()
    await trade_some(exchange, buyer, seller, 4)
    feed = follow(exchange, buyer, 5)
    await trade_some(exchange, buyer, seller, 2)
    assert [r.seq for r in await take(feed, 13)] == list(range(6, 19))
    feed.cancel()


async def test_the_same_event_has_the_same_number_after_a_restart(tmp_path: Path) -> None:
    async with venue(tmp_path / "data") as first:
        _, buyer = await first.stubs.register()
        _, seller = await first.stubs.register()
        await trade_some(first, buyer, seller, 5)
        feed = follow(first, buyer, 0)
        before = await take(feed, 15)
        feed.cancel()
    async with venue(tmp_path / "data") as second:
        feed = follow(second, buyer, 0)
        assert await take(feed, 15) == before
        feed.cancel()


async def test_a_number_beyond_the_last_is_refused_naming_first_and_last(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    await exchange.stubs.orders.SubmitOrder(order(), metadata=key)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await take(follow(exchange, key, 2), 1)
    assert refused.value.code() == grpc.StatusCode.OUT_OF_RANGE
    assert "1 to 1" in (refused.value.details() or "")


async def test_a_number_beyond_the_last_of_an_account_without_events_says_that_there_are_none(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await take(follow(exchange, key, 3), 1)
    assert refused.value.code() == grpc.StatusCode.OUT_OF_RANGE
    assert refused.value.details() == "from_seq 3 is out of range: the account has no events yet"


async def test_refusals_are_events_and_private(exchange: Venue) -> None:
    _, mine = await exchange.stubs.register()
    _, other = await exchange.stubs.register()
    theirs = follow(exchange, other)
    await theirs.read()
    await exchange.stubs.orders.SubmitOrder(order(quantity=51), metadata=mine)
    await exchange.stubs.orders.CancelOrder(v1.CancelRequest(order_id=99), metadata=mine)
    feed = follow(exchange, mine, 0)
    rejected, cancel_rejected = await take(feed, 2)
    assert rejected.rejected.reject.reason == v1.POSITION_LIMIT_EXCEEDED
    assert cancel_rejected.cancel_rejected.reason == "not_found"
    await exchange.stubs.orders.SubmitOrder(order(), metadata=other)
    assert (await take(theirs, 1))[0].seq == 1
    feed.cancel()
    theirs.cancel()


def numbered(number: int) -> Numbered:
    return Numbered(number, number, 0, None)  # type: ignore[arg-type]


def test_a_live_reader_that_falls_out_of_the_window_is_lost_and_the_others_are_not() -> None:
    window = Window(0)
    lost: list[str] = []
    slow, quick = Reader(0, lambda: lost.append("slow")), Reader(0, lambda: lost.append("quick"))
    window.readers = {slow, quick}
    slow.live = quick.live = True
    for number in range(1, 21):
        window.append(numbered(number), 10)
        quick.after = number
    assert lost == ["slow"]
    assert [event.number for event in window.after(15, 100)] == [16, 17, 18, 19, 20]
    assert len(window.events) <= 20


async def test_a_reader_that_is_too_slow_is_ended_and_told_where_to_resume(exchange: Venue) -> None:
    exchange.gateway.feeds.window = 10
    _, buyer = await exchange.stubs.register()
    _, seller = await exchange.stubs.register()
    feed = follow(exchange, buyer, 0)
    await feed.read()
    (window,) = exchange.gateway.feeds.windows.values()
    (reader,) = window.readers
    await until(lambda: reader.live)
    reader.wake = NeverSet()  # type: ignore[assignment]
    await trade_some(exchange, buyer, seller, 10)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await take(feed, 100)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "resume from" in (refused.value.details() or "")
    assert exchange.gateway.feeds.windows == {}


class NeverSet:
    """Stands for a reader's task that does not get to run: its writes are blocked by the peer."""

    def set(self) -> None: ...


async def test_the_streams_of_one_account_are_bounded(exchange: Venue) -> None:
    exchange.gateway.feeds.readers_limit = 2
    _, key = await exchange.stubs.register()
    feeds = [follow(exchange, key) for _ in range(2)]
    for feed in feeds:
        await feed.read()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await follow(exchange, key).read()
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    for feed in feeds:
        feed.cancel()


async def test_a_stopping_server_ends_the_streams_as_unavailable(tmp_path: Path) -> None:
    running = Venue(tmp_path / "data", durability="write")
    await running.start()
    _, key = await running.stubs.register()
    feed = follow(running, key)
    await feed.read()
    await running.gateway.stop()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await feed.read()
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    await running.channel.close()


async def test_an_event_log_that_changes_under_its_reader_ends_the_process_to_be_rebuilt(tmp_path: Path) -> None:
    async with venue(tmp_path / "data") as running:
        _, buyer = await running.stubs.register()
        _, seller = await running.stubs.register()
        await trade_some(running, buyer, seller, 3)
        running.gateway.event_log.flush()
        os.truncate(running.gateway.event_log.path, 0)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await take(follow(running, buyer, 0), 9)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert running.failed.is_set()
    async with venue(tmp_path / "data") as again:
        feed = follow(again, buyer, 0)
        assert [report.seq for report in await take(feed, 9)] == list(range(1, 10))
        feed.cancel()
