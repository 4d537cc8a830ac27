"""Durable before visible, in one commit per turn: shown with a disk that waits to be told, and one that fails."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status

from engine.commands import CancelAll
from engine.events import CancelAllOutcome
from engine.order import Side
from gateway import sequencer
from gateway.disk import LocalDisk
from gateway.journal import CommitThread
from gateway.refusals import Refused
from outcry import v1
from tests.gateway.test_journal import FailingDisk
from tests.gateway.test_order_entry import CALL, UNIT, order
from tests.venues import Venue, until, venue


class StalledDisk(LocalDisk):
    """A disk whose syncs wait while `stalled`; `syncs` counts them: one for each batch, none of the event log's."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.entered = threading.Event()
        self.syncs = 0
        self.error: OSError | None = None

    def sync(self, fd: int) -> None:
        self.syncs += 1
        self.entered.set()
        self.free.wait()
        if self.error is not None:
            raise self.error
        super().sync(fd)

    def stall(self) -> None:
        self.entered.clear()
        self.free.clear()

    async def reached(self) -> None:
        """Return when a sync has begun, and waits."""
        await until(self.entered.is_set)


def rejects(error: grpc.aio.AioRpcError) -> list[v1.Reject]:
    """The typed refusals among a status's details."""
    status = rpc_status.from_call(error)
    assert status is not None
    found = []
    for detail in status.details:
        reject = v1.Reject()
        if detail.Unpack(reject):
            found.append(reject)
    return found


def waiting_count(running: Venue) -> int:
    writer = running.gateway.sequencer
    return len(writer.pending) + len(writer.in_flight)


@pytest.fixture
def disk() -> StalledDisk:
    return StalledDisk()


@pytest.fixture
async def synced(tmp_path: Path, disk: StalledDisk) -> AsyncIterator[Venue]:
    async with venue(tmp_path / "data", durability="fsync", disk=disk) as running:
        yield running
        disk.free.set()


async def test_no_answer_event_query_or_market_data_leaves_before_the_commit_of_what_it_shows(
    synced: Venue, disk: StalledDisk
) -> None:
    _, key = await synced.stubs.register()
    feed = synced.stubs.feed.StreamExecutions(v1.StreamExecutionsRequest(), metadata=key)
    await feed.read()
    channels = [v1.MARKET_DATA_CHANNEL_BOOK]
    market = synced.stubs.market.StreamMarketData(v1.StreamMarketDataRequest(instruments=[CALL], channels=channels))
    await market.read()
    disk.stall()

    answer = asyncio.ensure_future(synced.stubs.orders.SubmitOrder(order(), metadata=key))
    await disk.reached()
    event = asyncio.ensure_future(feed.read())
    update = asyncio.ensure_future(market.read())
    book = asyncio.ensure_future(synced.stubs.market.GetOrderBook(v1.GetOrderBookRequest(instrument_id=CALL)))
    orders = asyncio.ensure_future(synced.stubs.accounts.ListOrders(v1.ListOrdersRequest(), metadata=key))
    health = synced.channel.unary_unary("/grpc.health.v1.Health/Check")  # the loop itself does not stand still
    await health(b"")
    waiting = {answer, event, update, book, orders}
    assert not any(task.done() for task in waiting)

    disk.free.set()
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert (await book).bids[0].quantity == 10 * UNIT
    assert (await event).reports[0].WhichOneof("event") == "accepted"
    feed.cancel()
    market.cancel()


async def test_what_arrives_while_the_disk_is_busy_is_one_batch(synced: Venue, disk: StalledDisk) -> None:
    _, key = await synced.stubs.register()
    disk.stall()
    submit = synced.stubs.orders.SubmitOrder
    first = asyncio.ensure_future(submit(order(quantity=1), metadata=key))
    await disk.reached()
    synced_before = disk.syncs
    rest = [asyncio.ensure_future(submit(order(quantity=1), metadata=key)) for _ in range(20)]
    await until(lambda: len(synced.gateway.sequencer.pending) == 20)
    disk.free.set()
    await asyncio.gather(first, *rest)
    assert disk.syncs == synced_before + 1


async def test_the_instructions_of_one_message_share_one_commit(synced: Venue, disk: StalledDisk) -> None:
    _, key = await synced.stubs.register()
    synced_before = disk.syncs

    async def requests() -> AsyncIterator[v1.Instructions]:
        yield v1.Instructions(instructions=[v1.Instruction(submit=order(quantity=1))] * 50)

    results = [message async for message in synced.stubs.orders.Session(requests(), metadata=key)]
    assert len(results[0].results) == 50
    assert disk.syncs == synced_before + 1


@pytest.mark.parametrize(("valid_s", "timeouts_ms"), [(60, range(5_000, 5_001)), (2, range(2_000))])
async def test_a_deadline_that_passes_before_the_commit_is_answered_unknown(
    synced: Venue, disk: StalledDisk, valid_s: int, timeouts_ms: range
) -> None:
    _, key = await synced.stubs.register()
    disk.stall()
    soon = order(client_order_id="A", valid_until_ns=time.time_ns() + valid_s * UNIT)
    answer = asyncio.ensure_future(synced.stubs.orders.SubmitOrder(soon, metadata=key))
    await disk.reached()
    past_it = time.monotonic_ns() + 60 * UNIT
    synced.gateway.sequencer.monotonic = lambda: past_it
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await answer
    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    (reject,) = rejects(refused.value)
    assert (reject.details["stage"].text, reject.details["outcome"].text) == ("settlement", "unknown")
    assert reject.details["timeout_ms"].count in timeouts_ms
    disk.free.set()
    asked = await synced.stubs.accounts.GetOrder(v1.GetOrderRequest(client_order_id="A"), metadata=key)
    assert asked.status == v1.ORDER_STATUS_NEW  # unknown then; this is how to ask


async def test_more_than_the_bound_of_waiting_commands_is_refused_and_changes_nothing(
    synced: Venue, disk: StalledDisk
) -> None:
    _, key = await synced.stubs.register()
    synced.gateway.sequencer.admission.orders_limit = 3
    disk.stall()
    submit = synced.stubs.orders.SubmitOrder
    waiting = [asyncio.ensure_future(submit(order(quantity=1), metadata=key)) for _ in range(3)]
    await until(lambda: waiting_count(synced) == 3)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await submit(order(quantity=1), metadata=key)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    disk.free.set()
    await asyncio.gather(*waiting)
    listing = await synced.stubs.accounts.ListOrders(v1.ListOrdersRequest(), metadata=key)
    assert len(listing.orders) == 3


async def test_a_failed_sync_answers_unknown_and_ends_the_process(synced: Venue, disk: StalledDisk) -> None:
    _, key = await synced.stubs.register()
    disk.stall()
    submit = synced.stubs.orders.SubmitOrder
    waiting = [asyncio.ensure_future(submit(order(quantity=1), metadata=key)) for _ in range(3)]
    await until(lambda: waiting_count(synced) == 3)
    disk.error = OSError(5, "Input/output error")
    disk.free.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [a.code() for a in answers if isinstance(a, grpc.aio.AioRpcError)] == [grpc.StatusCode.INTERNAL] * 3
    assert synced.failed.is_set()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await submit(order(), metadata=key)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_day_order_expires_at_midnight_before_what_comes_after_it(exchange: Venue) -> None:
    writer = exchange.gateway.sequencer
    day_ns = 86_400 * UNIT
    now = time.time_ns()
    _, key = await exchange.stubs.register()
    placed = await exchange.stubs.orders.SubmitOrder(order(time_in_force=v1.TIME_IN_FORCE_DAY), metadata=key)
    writer.heartbeat.cancel()  # so that only the next command can bring the time
    writer.clock = lambda: (now // day_ns + 1) * day_ns
    late = await exchange.stubs.orders.SubmitOrder(order(v1.SIDE_SELL, 4), metadata=key)
    assert late.status == v1.ORDER_STATUS_NEW  # nothing was left to trade with
    view = await exchange.stubs.accounts.GetOrder(v1.GetOrderRequest(order_id=placed.order_id), metadata=key)
    assert view.status == v1.ORDER_STATUS_EXPIRED


async def test_an_order_expires_when_nothing_else_happens(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    tomorrow = time.time_ns() + 86_400 * UNIT
    until_then = order(time_in_force=v1.TIME_IN_FORCE_GTD, expires_at_ns=tomorrow)
    feed = exchange.stubs.feed.StreamExecutions(v1.StreamExecutionsRequest(from_seq=0), metadata=key)
    await exchange.stubs.orders.SubmitOrder(until_then, metadata=key)
    exchange.gateway.sequencer.clock = lambda: tomorrow
    kinds: list[str | None] = []
    while "expired" not in kinds:
        kinds += [report.WhichOneof("event") for report in (await feed.read()).reports]
    assert kinds == ["accepted", "expired"]
    feed.cancel()


async def test_journal_time_never_goes_back(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    first = await exchange.stubs.orders.SubmitOrder(order(quantity=1), metadata=key)
    exchange.gateway.sequencer.clock = lambda: 1
    second = await exchange.stubs.orders.SubmitOrder(order(quantity=1), metadata=key)
    assert second.time_ns >= first.time_ns


async def test_queries_that_wait_for_the_disk_are_bounded_and_keep_no_order_out(
    synced: Venue, disk: StalledDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer, "QUERIES_LIMIT", 2)
    _, key = await synced.stubs.register()
    synced.gateway.sequencer.admission.orders_limit = 2
    disk.stall()
    first = asyncio.ensure_future(synced.stubs.orders.SubmitOrder(order(quantity=1), metadata=key))
    await disk.reached()
    ask = synced.stubs.market.GetOrderBook
    books = [asyncio.ensure_future(ask(v1.GetOrderBookRequest(instrument_id=CALL))) for _ in range(2)]
    await until(lambda: waiting_count(synced) == 3)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ask(v1.GetOrderBookRequest(instrument_id=CALL))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    second = asyncio.ensure_future(synced.stubs.orders.SubmitOrder(order(quantity=1), metadata=key))
    await until(lambda: waiting_count(synced) == 4)
    disk.free.set()
    await asyncio.gather(first, second, *books)
    assert synced.gateway.sequencer.queries == 0


async def test_a_publisher_that_fails_ends_the_process_rather_than_leave_a_gap(exchange: Venue) -> None:
    class Broken:
        def publish(self, batch: object) -> None:
            raise LookupError("nobody is told")

    _, key = await exchange.stubs.register()
    exchange.gateway.sequencer.publishers = (Broken(),)
    await exchange.stubs.orders.SubmitOrder(order(), metadata=key)
    assert exchange.failed.is_set()


async def test_a_reply_that_fails_leaves_none_of_its_batch_untold(exchange: Venue) -> None:
    def break_off(_: object) -> None:
        raise LookupError("a defect")

    account, _ = await exchange.stubs.register()
    writer = exchange.gateway.sequencer
    answers: list[Any] = []
    for reply in (answers.append, break_off, answers.append, answers.append):
        writer.submit(CancelAll(account, "", Side.BUY), reply)
    await exchange.failed.wait()
    told, *untold = answers
    assert isinstance(told, CancelAllOutcome)
    assert [(refused.reason, refused.details["outcome"]) for refused in untold] == [(v1.INTERNAL_ERROR, "unknown")] * 2


async def test_a_stop_after_a_failure_leaves_the_loop_free_while_the_disk_still_stalls(
    synced: Venue, disk: StalledDisk
) -> None:
    _, key = await synced.stubs.register()
    disk.stall()
    answer = asyncio.ensure_future(synced.stubs.orders.SubmitOrder(order(), metadata=key))
    await disk.reached()
    synced.gateway.sequencer.fail()
    with pytest.raises(grpc.aio.AioRpcError):
        await answer
    stopping = asyncio.ensure_future(synced.gateway.stop())
    commits = synced.gateway.journal.worker
    assert isinstance(commits, CommitThread)
    await until(lambda: not commits.jobs.empty())  # it has been told to end, and has not
    assert not stopping.done()
    disk.free.set()
    await stopping


async def test_a_session_that_only_asks_waits_for_the_commit_of_what_it_sees(synced: Venue, disk: StalledDisk) -> None:
    _, key = await synced.stubs.register()
    disk.stall()
    placed = asyncio.ensure_future(synced.stubs.orders.SubmitOrder(order(quantity=1), metadata=key))
    await disk.reached()
    session = synced.stubs.orders.Session(metadata=key)
    book = v1.Instruction(get_order_book=v1.GetOrderBookRequest(instrument_id=CALL))
    await session.write(v1.Instructions(instructions=[book]))
    answer = asyncio.ensure_future(session.read())
    await until(lambda: synced.gateway.sequencer.queries == 1)
    assert not answer.done()
    disk.free.set()
    assert (await answer).results[0].order_book.bids[0].quantity == UNIT
    await placed
    session.cancel()


async def test_a_batch_whose_commit_fails_is_unknown_but_for_what_was_refused_before(
    synced: Venue, disk: StalledDisk
) -> None:
    _, key = await synced.stubs.register()
    disk.stall()
    disk.error = OSError(5, "Input/output error")
    session = synced.stubs.orders.Session(metadata=key)
    book = v1.Instruction(get_order_book=v1.GetOrderBookRequest(instrument_id=CALL))
    refused = v1.Instruction(submit=order(post_only=True))
    batch = [v1.Instruction(submit=order(quantity=1)), refused, book, v1.Instruction(cancel_all=v1.CancelAllRequest())]
    await session.write(v1.Instructions(instructions=batch))
    answer = asyncio.ensure_future(session.read())
    await disk.reached()
    disk.free.set()
    placed, malformed, shown, cancelled = (await answer).results
    for reject in (placed.order.reject, shown.reject, cancelled.cancel_all.reject):
        assert (reject.reason, reject.details["outcome"].text) == (v1.INTERNAL_ERROR, "unknown")
    assert malformed.order.reject.reason == v1.INVALID_REQUEST
    assert synced.failed.is_set()


async def test_a_message_over_which_the_engine_fails_is_unknown_and_the_rest_of_it_is_not_executed(
    exchange: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = await exchange.stubs.register()
    engine = exchange.gateway.exchange
    apply, applied = engine.apply, []

    def fail_over_the_second(*command: Any) -> Any:
        applied.append(command)
        if len(applied) == 2:
            raise LookupError("a defect")
        return apply(*command)

    monkeypatch.setattr(engine, "apply", fail_over_the_second)
    batch = [v1.Instruction(request_id=number, submit=order(quantity=1)) for number in range(3)]
    session = exchange.stubs.orders.Session(iter([v1.Instructions(instructions=batch)]), metadata=key)
    results = (await session.read()).results
    assert [result.request_id for result in results] == [0, 1, 2]
    reasons = [result.order.reject.reason for result in results]
    assert reasons == [v1.INTERNAL_ERROR, v1.INTERNAL_ERROR, v1.SERVICE_UNAVAILABLE]
    assert [result.order.reject.details["outcome"].text for result in results[:2]] == ["unknown"] * 2
    assert exchange.failed.is_set()


async def test_a_commit_that_fails_at_the_start_is_not_blamed_on_the_venue_s_file(tmp_path: Path) -> None:
    disk = FailingDisk(syncs=2)  # the journal's first segment and its name
    starting = Venue(tmp_path / "data", durability="fsync", disk=disk)
    with pytest.raises(Refused):
        await starting.gateway.start()
    assert starting.failed.is_set()
    starting.gateway.journal.close()
    starting.gateway.lock.release()


async def test_an_impatient_instruction_costs_its_neighbours_nothing(synced: Venue, disk: StalledDisk) -> None:
    _, key = await synced.stubs.register()
    writer = synced.gateway.sequencer
    disk.stall()
    session = synced.stubs.orders.Session(metadata=key)
    soon = v1.Instruction(submit=order(quantity=1, valid_until_ns=time.time_ns() + 2 * UNIT))
    await session.write(v1.Instructions(instructions=[soon, v1.Instruction(submit=order(quantity=1))]))
    answer = asyncio.ensure_future(session.read())
    await disk.reached()
    impatient, patient = writer.in_flight[0], writer.in_flight[1]
    between = (impatient.deadline_ns + patient.deadline_ns) // 2
    assert impatient.deadline_ns < patient.deadline_ns
    writer.monotonic = lambda: between
    await until(lambda: not impatient.deadline_ns)
    assert not answer.done()
    disk.free.set()
    assert [result.order.status for result in (await answer).results] == [v1.ORDER_STATUS_NEW] * 2
    session.cancel()
