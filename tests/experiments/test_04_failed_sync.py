"""In doubt, stop: a sync that fails ends the process, and nothing is acknowledged after it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from outcry import v1
from tests.experiments.crowd import UNIT
from tests.experiments.strace import failing_from, needs_strace
from tests.venues import EngineProcess, Stubs

HANG_S = 60


def order(number: int) -> v1.NewOrder:
    return v1.NewOrder(
        instrument_id="AAPL",
        side=v1.SIDE_BUY,
        order_type=v1.ORDER_TYPE_LIMIT,
        quantity=UNIT,
        price=100 * UNIT,
        client_order_id=f"order-{number}",
    )


@needs_strace
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
async def test_after_a_failed_sync_nothing_is_acknowledged_and_the_process_ends(tmp_path: Path, error: str) -> None:
    data = tmp_path / "data"
    engine = await asyncio.to_thread(EngineProcess, data, under=failing_from("fdatasync", 40, error))
    acknowledged, refused = [], []
    async with grpc.aio.insecure_channel(engine.address) as channel:
        stubs = Stubs(channel)
        _, key = await stubs.register()
        for number in range(200):
            try:
                await stubs.orders.SubmitOrder(order(number), metadata=key, timeout=HANG_S)
                acknowledged.append(number)
            except grpc.aio.AioRpcError as failure:
                refused.append((number, failure.code()))
                if len(refused) == 3:
                    break
    assert refused, "no sync failed"
    first, code = refused[0]
    assert code is grpc.StatusCode.INTERNAL, "nobody can say what became of it"
    assert acknowledged == list(range(first)), "something was acknowledged after the failure"
    assert await asyncio.to_thread(engine.process.wait, HANG_S) == 1
    engine.stop()

    engine = await asyncio.to_thread(EngineProcess, data)
    async with grpc.aio.insecure_channel(engine.address) as channel:
        accounts = Stubs(channel).accounts
        for number in acknowledged:
            await accounts.GetOrder(v1.GetOrderRequest(client_order_id=f"order-{number}"), metadata=key)
    await asyncio.to_thread(engine.stop)
