"""Document 000's scenarios 6 and 7: an engine whose disk stalls, and one whose disk fails, seen through the bridge."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import httpx
import pytest

from gateway import admission
from gateway.disk import LocalDisk
from gateway.journal import Durability
from gateway.service import Gateway
from gateway.settings import Settings as GatewaySettings
from rest_bridge.app import create_app
from rest_bridge.docs import models
from rest_bridge.settings import Settings

HANG_S = 30
ORDER = {"instrument_id": "AAPL", "side": "buy", "quantity": 1, "price": 100, "client_order_id": "mine"}


class TroubledDisk(LocalDisk):
    """A disk that works until it is told to stall or to fail."""

    def __init__(self) -> None:
        self.runs = threading.Event()
        self.runs.set()
        self.fails = False

    def sync(self, fd):
        self.runs.wait(HANG_S)
        if self.fails:
            raise OSError(5, "the secret of the disk")
        super().sync(fd)


@pytest.fixture
def disk():
    return TroubledDisk()


@pytest.fixture
def bridge(tmp_path, served, disk):
    """A bridge to an engine on the troubled disk, both in this loop, and a trader's key: used with `async with`."""

    @asynccontextmanager
    async def opened():
        settings = GatewaySettings(
            _cli_parse_args=False, grpc="127.0.0.1:0", data=tmp_path / "data", durability=Durability.FSYNC
        )
        failed = threading.Event()
        gateway = Gateway(settings, on_failure=failed.set, disk=disk)
        await gateway.start()
        key = tmp_path / "data" / "keys" / "bridge.key"
        app = create_app(Settings(_cli_parse_args=False, grpc=f"127.0.0.1:{gateway.port}", service_key=key))
        try:
            async with (
                served(app) as address,
                httpx.AsyncClient(base_url=f"http://{address}", timeout=HANG_S) as client,
            ):
                answer = await client.post("/auth/register", json={"team_name": "A"})
                client.headers["X-API-Key"] = answer.json()["api_key"]
                yield client
        finally:
            disk.runs.set()
            await gateway.stop()

    return opened


async def test_scenario_6_a_stalled_disk_is_a_timeout_whose_outcome_is_unknown(bridge, disk):
    async with bridge() as client:
        disk.runs.clear()
        answer = await client.post("/exchange/orders", json=ORDER)
        assert answer.status_code == 504
        models.ErrorResponse.model_validate(answer.json())
        assert answer.json()["order_id"] is None
        error = answer.json()["error"]
        assert (error["code"], error["message"]) == ("PROCESSING_TIMEOUT", "Order processing exceeded time limit")
        assert error["details"]["timeout_ms"] == 5000
        assert error["details"]["stage"] in ("gateway", "validation", "matching", "settlement")
        assert error["details"]["outcome"] == "unknown"
        assert error["details"]["client_order_id"] == "mine"
        disk.runs.set()
        retried = await client.post("/exchange/orders", json=ORDER)
        assert retried.json()["data"]["duplicate"] is True
        assert len((await client.get("/orders")).json()["data"]["orders"]) == 1


async def test_scenario_7_a_failing_disk_is_an_internal_error_that_tells_nothing_of_the_inside(bridge, disk):
    async with bridge() as client:
        disk.fails = True
        answer = await client.post("/orders", json=ORDER)
        assert answer.status_code == 500
        models.RefusedResponse.model_validate(answer.json())
        assert answer.json()["status"] == "unknown"
        error = answer.json()["error"]
        assert (error["code"], error["message"]) == ("INTERNAL_ERROR", "Internal system error during order processing")
        assert (error["details"]["stage"], error["details"]["outcome"]) == ("settlement", "unknown")
        assert error["details"]["support_reference"].startswith("ERR_")
        assert "secret" not in answer.text


async def test_a_disk_that_lags_sheds_orders_with_503_and_a_time_to_come_back_and_no_cancels(bridge, disk, monkeypatch):
    monkeypatch.setattr(admission, "LAG_BEATS", 2)
    async with bridge() as client:
        resting = (await client.post("/orders", json=ORDER)).json()["order_id"]
        disk.runs.clear()
        waiting = [asyncio.create_task(client.delete(f"/orders/{resting}"))]
        shed = None
        while shed is None:  # until the breaker is open, orders wait for the disk; each has the time of a few beats
            order = asyncio.create_task(client.post("/orders", json={**ORDER, "client_order_id": str(len(waiting))}))
            done, _ = await asyncio.wait({order}, timeout=0.1)
            if done:
                shed = order.result()
            else:
                waiting.append(order)
        disk.runs.set()
        assert (shed.status_code, shed.headers["Retry-After"]) == (503, "1")
        error = models.RefusedResponse.model_validate(shed.json()).error
        assert (error.code, error.details) == ("CIRCUIT_BREAKER_OPEN", {"retry_after": 1, "outcome": "not_executed"})
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
