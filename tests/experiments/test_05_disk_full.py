"""A full disk keeps orders out before they have a number, lets cancels in, and takes orders again with room."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status

from gateway.disk import LocalDisk
from gateway.space import COMMAND_BYTES
from outcry import v1
from tests.experiments.crowd import UNIT
from tests.gateway.test_sequencer import rejects
from tests.venues import EngineProcess, Stubs, until, venue

HANG_S = 60
PAGE = 4 << 10


def order(name: str, instrument_id: str = "SPX_4500_CALL") -> v1.NewOrder:
    return v1.NewOrder(
        instrument_id=instrument_id,
        side=v1.SIDE_BUY,
        order_type=v1.ORDER_TYPE_LIMIT,
        quantity=UNIT,
        price=100 * UNIT,
        client_order_id=name,
    )


class FullDisk(LocalDisk):
    """A disk that has no more space to allocate, while it is full; what is allocated can be written."""

    def __init__(self) -> None:
        self.is_full = False

    def allocate(self, fd: int, offset: int, size: int) -> None:
        if self.is_full:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        super().allocate(fd, offset, size)


@pytest.mark.parametrize("durability", ["fsync", "write"])
async def test_without_space_ahead_orders_are_refused_without_a_trace_and_cancels_are_not(
    tmp_path: Path, durability: str
) -> None:
    disk = FullDisk()
    async with venue(tmp_path / "data", durability=durability, disk=disk) as running:
        journal, stubs = running.gateway.journal, running.stubs
        _, key = await stubs.register()
        first = await stubs.orders.SubmitOrder(order("first"), metadata=key)
        disk.is_full = True
        journal.file.ahead = 4 * journal.file.allocated  # as if half of it had been written
        await stubs.orders.SubmitOrder(order("second"), metadata=key)
        await until(lambda: running.gateway.sequencer.narrow)
        before = running.gateway.sequencer.seq, await running.digest()
        for name in ("third", "fourth"):
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await stubs.orders.SubmitOrder(order(name), metadata=key)
            assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
            assert [reject.reason for reject in rejects(refusal.value)] == [v1.SERVICE_UNAVAILABLE]
        assert (running.gateway.sequencer.seq, await running.digest()) == before

        again = await stubs.orders.SubmitOrder(order("first"), metadata=key)
        assert again.duplicate, "who sends an order again is told what became of it"
        cancelled = await stubs.orders.CancelOrder(v1.CancelRequest(order_id=first.order_id), metadata=key)
        assert cancelled.status == v1.ORDER_STATUS_CANCELLED

        disk.is_full = False
        await until(lambda: not running.gateway.sequencer.narrow)
        assert (await stubs.orders.SubmitOrder(order("third"), metadata=key)).status == v1.ORDER_STATUS_NEW


async def test_cancels_are_refused_too_before_the_reserve_is_used_up(tmp_path: Path) -> None:
    """A write that found no room would end the process."""
    disk = FullDisk()
    async with venue(tmp_path / "data", disk=disk) as running:
        file, stubs = running.gateway.journal.file, running.stubs
        _, key = await stubs.register()
        disk.is_full = True
        file.ahead = 4 * file.allocated
        placed = await stubs.orders.SubmitOrder(order("first"), metadata=key)
        await until(lambda: running.gateway.sequencer.narrow)
        file.allocated = file.end + 1000
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stubs.orders.CancelOrder(v1.CancelRequest(order_id=placed.order_id), metadata=key)
        assert [reject.reason for reject in rejects(refusal.value)] == [v1.SERVICE_UNAVAILABLE]
        assert not running.failed.is_set()


async def test_many_orders_are_cancelled_at_once_on_a_full_disk(tmp_path: Path) -> None:
    """One command, and little is said of each order."""
    disk = FullDisk()
    async with venue(tmp_path / "data", disk=disk) as running:
        file, stubs = running.gateway.journal.file, running.stubs
        _, key = await stubs.register()
        orders = [v1.Instruction(submit=order("", "AAPL"))] * 1_000
        async for _ in stubs.orders.Session(iter([v1.Instructions(instructions=orders)] * 3), metadata=key):
            pass
        disk.is_full = True
        file.ahead = 4 * file.allocated
        await stubs.orders.SubmitOrder(order("last"), metadata=key)
        await until(lambda: running.gateway.sequencer.narrow)
        assert running.gateway.event_log.room < 3_000 * COMMAND_BYTES, "else this shows nothing"
        cancelled = await stubs.orders.CancelAll(v1.CancelAllRequest(), metadata=key)
        assert len(cancelled.order_ids) == 3_001


async def test_an_engine_that_starts_on_a_full_disk_takes_no_order(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with venue(data) as running:
        _, key = await running.stubs.register()
    disk = FullDisk()
    disk.is_full = True
    async with venue(data, disk=disk) as running:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await running.stubs.orders.SubmitOrder(order("first"), metadata=key)
        assert [reject.reason for reject in rejects(refusal.value)] == [v1.SERVICE_UNAVAILABLE]
        status = rpc_status.from_call(refusal.value)
        assert status is not None
        assert any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status.details), "when to come back"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for an engine and little more."""
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a file system of its own")
    mounted = tmp_path / "small"
    mounted.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(mounted)], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"needs to mount a file system: {mount.stderr.strip()}")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


@pytest.mark.timeout(240)
async def test_on_a_disk_that_really_fills_up_the_engine_lives_on_and_takes_orders_when_there_is_room(
    small_disk: Path,
) -> None:
    ballast = small_disk / "ballast"
    engine = await asyncio.to_thread(EngineProcess, small_disk / "data", module="tests.experiments.modest_engine")
    try:
        async with grpc.aio.insecure_channel(engine.address) as channel:
            stubs = Stubs(channel)
            _, key = await stubs.register()
            fill(ballast)
            entered = await until_refused(stubs, key)
            assert entered
            for order_id in entered[:20]:
                cancelled = await stubs.orders.CancelOrder(v1.CancelRequest(order_id=order_id), metadata=key)
                assert cancelled.status == v1.ORDER_STATUS_CANCELLED
            ballast.unlink()
            await until_taken(stubs, key)
            listed = await stubs.accounts.ListOrders(v1.ListOrdersRequest(include_closed=True), metadata=key)
            assert [o.order_id for o in listed.orders][: len(entered)] == entered[:1000]
    finally:
        assert await asyncio.to_thread(engine.stop) == 0


def fill(path: Path) -> None:
    """Take all the space that is left."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(fd, bytes(PAGE))
    os.close(fd)


async def until_refused(stubs: Stubs, key: object) -> list[int]:
    """Enter orders that trade nothing until one is refused for want of space; the ids of those that were not."""
    entered: list[int] = []
    while (result := await entered_or_not(stubs, key, f"{len(entered)}")) is not None:
        entered.append(result.order_id)
    return entered


async def entered_or_not(stubs: Stubs, key: object, name: str) -> v1.OrderResult | None:
    try:
        return await stubs.orders.SubmitOrder(order(name, "AAPL"), metadata=key)  # type: ignore[no-any-return]
    except grpc.aio.AioRpcError as refused:
        if refused.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return None


async def until_taken(stubs: Stubs, key: object) -> None:
    async with asyncio.timeout(HANG_S):
        while await entered_or_not(stubs, key, "at last") is None:
            pass
