"""Overload: orders are shed before they are sequenced, cancels after them, and everybody is answered in time.

The disk stalls when the test says so, and the heart beats when it says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from engine.commands import CancelAll, CancelOrder, CreateInvite, NewOrder, Register, ReplaceOrder
from gateway.admission import LAG_BEATS, PROOF_BEATS, TRIALS, Admission, Breaker, State
from gateway.refusals import Refused
from outcry import v1
from tests.gateway.test_order_entry import CALL, order
from tests.gateway.test_rate_limits import retry_s
from tests.gateway.test_sequencer import StalledDisk, rejects, waiting_count
from tests.venues import Venue, until, venue

CODE = grpc.StatusCode
Key = list[tuple[str, str]]
ORDER = NewOrder(1, "", "AAPL", 1, 1, 1, 1, 1)


# The breaker alone


def beats(breaker: Breaker, count: int, batch: int) -> State:
    for _ in range(count):
        breaker.beat(batch)
    return breaker.state


def opened() -> Breaker:
    breaker = Breaker()
    assert beats(breaker, LAG_BEATS + 1, batch=1) is State.OPEN
    return breaker


def half_open() -> Breaker:
    breaker = opened()
    assert beats(breaker, 1, batch=2) is State.HALF_OPEN
    return breaker


def is_let_in(breaker: Breaker) -> bool:
    try:
        breaker.admit()
    except Refused:
        return False
    return True


def test_the_breaker_opens_when_one_batch_is_on_its_way_for_a_second_and_not_a_beat_before() -> None:
    breaker = Breaker()
    assert beats(breaker, LAG_BEATS, batch=1) is State.CLOSED
    assert is_let_in(breaker)
    assert beats(breaker, 1, batch=1) is State.OPEN
    assert not is_let_in(breaker)


def test_batches_that_arrive_one_after_the_other_never_open_it() -> None:
    breaker = Breaker()
    for batch in range(1, 100):
        assert beats(breaker, LAG_BEATS, batch) is State.CLOSED
        assert beats(breaker, LAG_BEATS, 0) is State.CLOSED


def test_it_is_half_open_once_the_batch_has_arrived_and_lets_a_few_orders_in_at_each_beat() -> None:
    breaker = half_open()
    for _ in range(3):
        assert [is_let_in(breaker) for _ in range(TRIALS + 1)] == [True] * TRIALS + [False]
        breaker.beat(0)


def test_it_closes_when_no_batch_has_lagged_for_as_long_as_a_trial_may_take() -> None:
    breaker = half_open()
    assert beats(breaker, 10 * LAG_BEATS, batch=0) is State.HALF_OPEN  # nothing has been tried
    assert is_let_in(breaker)
    assert beats(breaker, PROOF_BEATS - 1, batch=0) is State.HALF_OPEN
    assert beats(breaker, 1, batch=0) is State.CLOSED
    assert all(is_let_in(breaker) for _ in range(10 * TRIALS))


def test_it_opens_again_when_a_trial_lags_and_then_the_proof_begins_anew() -> None:
    breaker = half_open()
    assert is_let_in(breaker)
    assert {beats(breaker, 1, batch=3) for _ in range(LAG_BEATS)} == {State.HALF_OPEN}
    assert beats(breaker, 1, batch=3) is State.OPEN
    assert beats(breaker, 1, batch=0) is State.HALF_OPEN
    assert beats(breaker, PROOF_BEATS, batch=0) is State.HALF_OPEN


def test_a_trial_that_waits_for_a_batch_and_then_lags_is_no_proof() -> None:
    breaker = half_open()
    assert is_let_in(breaker)
    assert {beats(breaker, 1, batch=3) for _ in range(LAG_BEATS)} == {State.HALF_OPEN}
    assert {beats(breaker, 1, batch=4) for _ in range(LAG_BEATS)} == {State.HALF_OPEN}
    assert beats(breaker, 1, batch=4) is State.OPEN


@pytest.mark.parametrize(
    ("command", "is_retry", "is_shed"),
    [
        (ORDER, False, True),
        (ReplaceOrder(1, 1, quantity=1), False, True),
        (Register("team", "trader", b""), False, True),
        (ORDER, True, False),
        (CancelOrder(1, 1), False, False),
        (CancelAll(1), False, False),
        (CreateInvite(b""), False, False),
    ],
    ids=str,
)
def test_what_is_new_is_shed_and_cancels_retries_and_the_operator_s_commands_are_not(
    command: Any, is_retry: bool, is_shed: bool
) -> None:
    admission = Admission(100)
    admission.breaker = opened()
    admission.reasons = [admission.breaker]
    assert admission.is_narrow(0)
    for waiting, refused in ((0, is_shed), (89, is_shed), (99, is_shed), (100, True)):
        try:
            admission.admit(command, is_retry, waiting)
        except Refused:
            assert refused
        else:
            assert not refused


def test_the_last_tenth_of_the_places_is_for_cancels() -> None:
    admission = Admission(100)
    assert not admission.is_narrow(89)
    assert admission.is_narrow(90)
    admission.admit(ORDER, False, 89)
    admission.admit(CancelAll(1), False, 99)
    for command, waiting in ((ORDER, 90), (CancelAll(1), 100)):
        with pytest.raises(Refused):
            admission.admit(command, False, waiting)


def test_any_reason_keeps_orders_out_and_none_keeps_cancels() -> None:
    class Full:
        narrows = True

        def admit(self) -> None:
            raise Refused(v1.SERVICE_UNAVAILABLE, "No room")

    admission = Admission(100, Full())
    beats(admission.breaker, LAG_BEATS + 1, batch=1)
    assert beats(admission.breaker, 1, batch=0) is State.HALF_OPEN
    assert admission.is_narrow(0)
    admission.admit(CancelAll(1), False, 0)
    with pytest.raises(Refused) as refused:
        admission.admit(ORDER, False, 0)
    assert refused.value.reason == v1.SERVICE_UNAVAILABLE
    assert beats(admission.breaker, PROOF_BEATS, batch=0) is State.HALF_OPEN  # what was kept out was no trial


# The whole of it


@pytest.fixture
def disk() -> StalledDisk:
    return StalledDisk()


@pytest.fixture
async def synced(tmp_path: Path, disk: StalledDisk, transport: str) -> AsyncIterator[Venue]:
    """A gateway whose heart beats only when it is told to."""
    async with venue(tmp_path / "data", durability="fsync", disk=disk) as running:
        running.gateway.sequencer.heartbeat.cancel()
        yield running
        disk.free.set()


def beat(running: Venue, count: int = 1) -> State:
    writer = running.gateway.sequencer
    for _ in range(count):
        writer.beat()
        writer.heartbeat.cancel()
    return writer.admission.breaker.state


async def lag(running: Venue, disk: StalledDisk, key: Key) -> grpc.aio.UnaryUnaryCall:
    """Let the disk stall until the breaker opens; the order that waits for it."""
    disk.stall()
    waiting = running.stubs.orders.SubmitOrder(order(quantity=1, client_order_id="stalled"), metadata=key)
    await disk.reached()
    assert beat(running, LAG_BEATS + 1) is State.OPEN
    return waiting


async def shed(call: grpc.aio.UnaryUnaryCall) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert refused.value.code() == CODE.RESOURCE_EXHAUSTED
    assert [reject.reason for reject in rejects(refused.value)] == [v1.CIRCUIT_BREAKER_OPEN]
    assert retry_s(refused.value) == 1
    return refused.value


async def test_a_stalled_disk_sheds_orders_and_no_cancels_and_trials_bring_them_back(
    synced: Venue, disk: StalledDisk
) -> None:
    _, key = await synced.stubs.register()
    orders, writer = synced.stubs.orders, synced.gateway.sequencer
    resting = [await orders.SubmitOrder(order(quantity=1), metadata=key) for _ in range(2)]
    waiting = await lag(synced, disk, key)
    before = writer.seq
    await shed(orders.SubmitOrder(order(quantity=1), metadata=key))
    await shed(orders.ReplaceOrder(v1.ReplaceRequest(order_id=resting[0].order_id, quantity=1), metadata=key))
    await shed(synced.stubs.accounts.Register(v1.RegisterRequest(team_name="late")))
    assert writer.seq == before  # what is shed has no number
    cancels = [orders.CancelOrder(v1.CancelRequest(order_id=o.order_id), metadata=key) for o in resting]
    await until(lambda: writer.seq == before + 2)
    disk.free.set()
    assert [answer.status for answer in await asyncio.gather(*cancels)] == [v1.ORDER_STATUS_CANCELLED] * 2
    assert (await waiting).status == v1.ORDER_STATUS_NEW

    assert beat(synced) is State.HALF_OPEN
    for _ in range(TRIALS):
        assert (await orders.SubmitOrder(order(quantity=1), metadata=key)).order_id
    await shed(orders.SubmitOrder(order(quantity=1), metadata=key))
    assert beat(synced, PROOF_BEATS) is State.CLOSED
    assert not writer.narrow
    for _ in range(2 * TRIALS):
        assert (await orders.SubmitOrder(order(quantity=1), metadata=key)).order_id
    listing = await synced.stubs.accounts.ListOrders(v1.ListOrdersRequest(include_closed=True), metadata=key)
    assert len(listing.orders) == listing.seq - 2 == 3 + 3 * TRIALS  # and was no event


async def test_a_trial_that_lags_opens_the_breaker_again(synced: Venue, disk: StalledDisk) -> None:
    _, key = await synced.stubs.register()
    waiting = await lag(synced, disk, key)
    disk.free.set()
    await waiting
    assert beat(synced) is State.HALF_OPEN
    disk.stall()
    trial = synced.stubs.orders.SubmitOrder(order(quantity=1), metadata=key)
    await disk.reached()
    assert {beat(synced) for _ in range(LAG_BEATS)} == {State.HALF_OPEN}
    assert beat(synced) is State.OPEN
    await shed(synced.stubs.orders.SubmitOrder(order(quantity=1), metadata=key))
    disk.free.set()
    assert (await trial).order_id


async def test_a_retry_of_an_order_that_is_known_is_not_told_that_nothing_was_executed(
    synced: Venue, disk: StalledDisk
) -> None:
    _, key = await synced.stubs.register()
    waiting = await lag(synced, disk, key)
    before = synced.gateway.sequencer.seq
    again = synced.stubs.orders.SubmitOrder(order(quantity=1, client_order_id="stalled"), metadata=key)
    await until(lambda: synced.gateway.sequencer.seq == before + 1)
    await shed(synced.stubs.orders.SubmitOrder(order(quantity=1, client_order_id="fresh"), metadata=key))
    disk.free.set()
    assert ((await waiting).order_id, (await again).duplicate) == ((await again).order_id, True)


async def test_the_inbox_is_bounded_and_keeps_its_last_places_for_cancels(synced: Venue, disk: StalledDisk) -> None:
    _, key = await synced.stubs.register()
    orders, admission = synced.stubs.orders, synced.gateway.sequencer.admission
    admission.orders_limit, admission.pending_limit = 3, 4
    disk.stall()
    waiting = [orders.SubmitOrder(order(quantity=1), metadata=key) for _ in range(3)]
    await until(lambda: waiting_count(synced) == 3)
    await shed(orders.SubmitOrder(order(quantity=1), metadata=key))
    cancel = orders.CancelAll(v1.CancelAllRequest(), metadata=key)
    await until(lambda: waiting_count(synced) == 4)
    await shed(orders.CancelAll(v1.CancelAllRequest(), metadata=key))
    disk.free.set()
    await asyncio.gather(*waiting)
    assert len((await cancel).order_ids) == 3
    beat(synced)
    assert (await orders.SubmitOrder(order(quantity=1), metadata=key)).order_id


async def test_a_session_is_told_at_once_what_is_shed_and_goes_on(synced: Venue, disk: StalledDisk) -> None:
    _, key = await synced.stubs.register()
    waiting = await lag(synced, disk, key)
    session = synced.stubs.orders.Session(metadata=key)
    submit = v1.Instruction(submit=order(quantity=1))
    await session.write(v1.Instructions(instructions=[submit, submit]))
    results = (await session.read()).results  # while the disk stalls
    assert [r.order.reject.reason for r in results] == [v1.CIRCUIT_BREAKER_OPEN] * 2
    before = synced.gateway.sequencer.seq
    await session.write(v1.Instructions(instructions=[submit, v1.Instruction(cancel_all=v1.CancelAllRequest())]))
    await until(lambda: synced.gateway.sequencer.seq == before + 1)
    disk.free.set()
    refused, cancelled = (await session.read()).results
    assert refused.order.reject.reason == v1.CIRCUIT_BREAKER_OPEN
    assert list(cancelled.cancel_all.order_ids) == [(await waiting).order_id]
    session.cancel()


async def test_at_overload_everybody_is_answered_within_five_seconds_with_the_right_outcome(
    synced: Venue, disk: StalledDisk
) -> None:
    _, key = await synced.stubs.register()
    orders, accounts, writer = synced.stubs.orders, synced.stubs.accounts, synced.gateway.sequencer
    resting = await orders.SubmitOrder(order(quantity=1), metadata=key)
    waiting = [await lag(synced, disk, key)]
    waiting.append(orders.CancelOrder(v1.CancelRequest(order_id=resting.order_id), metadata=key))
    waiting.append(accounts.GetBalances(v1.GetBalancesRequest(), metadata=key))
    waiting.append(synced.stubs.market.GetOrderBook(v1.GetOrderBookRequest(instrument_id=CALL)))
    await until(lambda: waiting_count(synced) == 4)
    for _ in range(50):
        await shed(orders.SubmitOrder(order(quantity=1), metadata=key))
    asked_ns = writer.monotonic()
    writer.monotonic = lambda: asked_ns + 4_950_000_000
    beat(synced)
    for call in waiting:
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await asyncio.wait_for(call, 20)
        assert late.value.code() == CODE.DEADLINE_EXCEEDED
        (reject,) = rejects(late.value)
        assert (reject.reason, reject.details["outcome"].text) == (v1.PROCESSING_TIMEOUT, "unknown")
    disk.free.set()
    listing = await accounts.ListOrders(v1.ListOrdersRequest(include_closed=True), metadata=key)
    assert [o.status for o in listing.orders] == [v1.ORDER_STATUS_CANCELLED, v1.ORDER_STATUS_NEW]
