"""Experiment 26: the clock of engine and bridge steps by an hour, forward and back.

Journal time never goes back, and orders go on; what was given a time to be answered in is answered by it, no sooner
and no later, because deadlines run on a clock that does not step. The controls: an engine that stamps with what the
clock says leaves a journal in which time goes back; and a deadline in wall time, of a bot whose clock did not step with
the engine's, is over at once, so the clock did step.

The processes' own clock is stepped, by libfaketime. Where that is not installed, tests/gateway/test_sequencer.py has
the same rules with a clock that is put in.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.read_only import READ_ONLY_DISK
from gateway.segments import Entry, read_journal
from gateway.verification import verify
from outcry import v1
from tests.experiments.exchanges import BY_GRPC, HANG_S, WAYS, Exchange, new_order
from tests.gateway.troubled_engine import trouble
from tests.venues import EngineProcess, Stubs, engine_process

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
HOUR_S = 3_600
BEATS_S = 0.3  # some of the sequencer's
SHORT_NS = 500_000_000
ORDER = {"instrument_id": "AAPL", "side": "buy", "quantity": 1, "price": 100}

pytestmark = pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed (Debian: apt install faketime)")


class Clock:
    """What the processes take for the time: ours, and so many seconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.step(0)

    def step(self, seconds: int) -> None:
        draft = self.path.with_suffix(".new")
        draft.write_text(f"{seconds:+d}\n")
        draft.rename(self.path)


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Clock]:
    """The clock of all processes that the test starts."""
    stepped = Clock(tmp_path / "clock")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "LD_PRELOAD", str(LIBRARIES[0]))
        patch.setitem(os.environ, "FAKETIME_TIMESTAMP_FILE", str(stepped.path))
        patch.setitem(os.environ, "FAKETIME_NO_CACHE", "1")
        patch.setitem(os.environ, "FAKETIME_DONT_FAKE_MONOTONIC", "1")
        patch.setitem(os.environ, "DONT_FAKE_MONOTONIC", "1")
        yield stepped


def journal(data: Path) -> list[Entry]:
    report = verify(data)
    return list(read_journal(READ_ONLY_DISK, data / "journal", 0, report.last_seq))


async def by_every_way(exchange: Exchange, key: str, prefix: str) -> None:
    for name, way in WAYS.items():
        address = exchange.grpc if name in BY_GRPC else exchange.http
        answer = await way(address, key, ORDER, f"{prefix} {name}")
        assert (answer.status in ("new", "accepted"), answer.duplicate) == (True, False), name
        again = await way(address, key, ORDER, f"{prefix} {name}")
        assert (again.order_id, again.duplicate) == (answer.order_id, True), name


async def test_journal_time_never_goes_back_and_orders_go_on_whatever_the_clock_does(
    clock: Clock, tmp_path: Path
) -> None:
    exchange = Exchange(tmp_path)
    try:
        key = exchange.register()
        for step, name in ((0, "before"), (HOUR_S, "forward"), (0, "back"), (-HOUR_S, "further back"), (0, "again")):
            clock.step(step)
            await by_every_way(exchange, key, name)
    finally:
        exchange.stop()
    times = [entry.time_ns for entry in journal(tmp_path / "data")]
    assert times == sorted(times)
    assert times[-1] - times[0] > HOUR_S * 10**9, "it did step"
    assert verify(tmp_path / "data").fault is None


async def step_while_orders_come(engine: EngineProcess, clock: Clock) -> None:
    async with grpc.aio.insecure_channel(engine.address) as channel:
        stubs = Stubs(channel)
        _, key = await stubs.register()
        for step in (0, HOUR_S, 0):
            clock.step(step)
            await stubs.orders.SubmitOrder(new_order(ORDER, ""), metadata=key, timeout=HANG_S)


async def test_control_an_engine_that_believes_the_clock_leaves_a_journal_in_which_time_goes_back(
    clock: Clock, tmp_path: Path
) -> None:
    with engine_process(tmp_path / "data", module="tests.experiments.clock_alone_engine") as engine:
        await step_while_orders_come(engine, clock)
    fault = verify(tmp_path / "data").fault
    assert fault is not None
    assert "is earlier than the one before it" in fault.why


async def step_while_two_orders_wait(data: Path, clock: Clock, step: int, module: str) -> bool:
    """Two orders wait for a disk that stalls while the clock steps: one with time enough, and one with little. Whether
    the first was given up when the other was."""
    with engine_process(data, module=module) as engine:
        async with grpc.aio.insecure_channel(engine.address) as channel:
            stubs, health = Stubs(channel), health_pb2_grpc.HealthStub(channel)
            _, key = await stubs.register()
            os.mkfifo(trouble(data))
            waiting = stubs.orders.SubmitOrder(new_order(ORDER, "first"), metadata=key, timeout=HANG_S)
            with await asyncio.to_thread(trouble(data).open, "wb"):  # open when the sync has begun
                brief = new_order(ORDER, "brief")
                brief.valid_until_ns = time.time_ns() + SHORT_NS
                briefly = stubs.orders.SubmitOrder(brief, metadata=key, timeout=HANG_S)
                await health.Check(health_pb2.HealthCheckRequest(), timeout=HANG_S)  # so the order has arrived, too
                clock.step(step)
                with pytest.raises(grpc.aio.AioRpcError) as told:
                    await briefly
                assert told.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                await asyncio.sleep(BEATS_S)
                was_given_up = waiting.done()
                trouble(data).unlink()
            if not was_given_up:
                assert (await waiting).status == v1.ORDER_STATUS_NEW
            return was_given_up


@pytest.mark.parametrize("step", [HOUR_S, -HOUR_S], ids=["forward", "back"])
async def test_a_deadline_that_runs_is_neither_over_at_once_nor_put_off(
    clock: Clock, tmp_path: Path, step: int
) -> None:
    assert not await step_while_two_orders_wait(tmp_path / "data", clock, step, "tests.gateway.troubled_engine")


async def test_control_deadlines_that_run_by_the_clock_are_all_over_when_it_steps(clock: Clock, tmp_path: Path) -> None:
    module = "tests.experiments.clock_alone_engine"
    assert await step_while_two_orders_wait(tmp_path / "data", clock, HOUR_S, module)


async def test_control_a_deadline_in_wall_time_is_over_for_an_engine_whose_clock_is_an_hour_ahead(
    clock: Clock, tmp_path: Path
) -> None:
    with engine_process(tmp_path / "data") as engine:
        async with grpc.aio.insecure_channel(engine.address) as channel:
            stubs = Stubs(channel)
            _, key = await stubs.register()
            clock.step(HOUR_S)
            late = new_order(ORDER, "late")
            late.valid_until_ns = time.time_ns() + 60 * 10**9
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await stubs.orders.SubmitOrder(late, metadata=key, timeout=HANG_S)
            assert told.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            late.ClearField("valid_until_ns")
            assert (await stubs.orders.SubmitOrder(late, metadata=key, timeout=HANG_S)).status == v1.ORDER_STATUS_NEW
