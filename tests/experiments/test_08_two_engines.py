"""Experiment 8: a second engine on the same folder is refused clearly and harms nothing; a stale lock stops nobody.

The control, an engine that passes the lock over, starts beside the first, and the folder is no longer sound.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from gateway.verification import verify
from outcry import v1
from tests.experiments.exchanges import HANG_S, new_order
from tests.venues import EngineProcess, Stubs, engine_process

ORDER = {"instrument_id": "AAPL", "side": "buy", "quantity": 1, "price": 100}


async def enter(engine: EngineProcess, count: int) -> None:
    async with grpc.aio.insecure_channel(engine.address) as channel:
        stubs = Stubs(channel)
        _, key = await stubs.register()
        for number in range(count):
            request = new_order(ORDER, f"order {number}")
            result = await stubs.orders.SubmitOrder(request, metadata=key, timeout=HANG_S)
            assert result.status == v1.ORDER_STATUS_NEW


def second(data: Path, module: str = "gateway") -> subprocess.CompletedProcess[str]:
    """Another engine, until it ends or says that it serves."""
    command = [sys.executable, "-m", module, "--grpc", "127.0.0.1:0", "--data", str(data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def test_a_second_engine_is_refused_clearly_and_the_first_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with engine_process(data) as first:
        await enter(first, 5)
        refused = second(data)
        assert (refused.returncode, refused.stdout) == (2, "")
        words = f"outcry engine: the data folder {data} is in use by process {first.process.pid}: "
        assert refused.stderr.splitlines()[-1].startswith(words)
        await enter(first, 5)
        assert first.stop() == 0
    report = verify(data)
    assert (report.fault, report.orders, report.torn) == (None, 10, [])


@pytest.mark.parametrize(
    "stale", [None, b"", b"1\n", b"12345678\n", b"\xff" * 100], ids=["own", "empty", "init", "gone", "garbage"]
)
async def test_a_stale_lock_stops_nobody(tmp_path: Path, stale: bytes | None) -> None:
    """Left behind by an engine that was killed, or by who knows what; the process it names may well be alive."""
    data = tmp_path / "data"
    with engine_process(data) as killed:
        await enter(killed, 2)
        killed.kill()
    assert (data / "lock").read_text() == f"{killed.process.pid}\n"
    if stale is not None:
        (data / "lock").write_bytes(stale)
    with engine_process(data) as engine:
        await enter(engine, 2)
        assert (data / "lock").read_text() == f"{engine.process.pid}\n"
    report = verify(data)
    assert (report.fault, report.orders) == (None, 4)


async def test_control_an_engine_that_passes_the_lock_over_does_harm(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with engine_process(data) as first:
        await enter(first, 2)
        with engine_process(data, module="tests.experiments.lockless_engine") as other:
            await enter(first, 3)
            await enter(other, 3)
            os.kill(first.process.pid, 9)
            other.kill()
    fault = verify(data).fault
    orders = verify(data).orders
    assert fault is not None or orders < 8, "eight orders were acknowledged"
