"""Document 000: its timeout and its internal error, by a disk that stalls or fails, and what a retry finds then."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.documents import samples_000
from tests.documents.bots import Account
from tests.documents.in_process import FaultyDisk, exchange
from tests.documents.shapes import SUPPORT_REFERENCE, assert_fits, refused
from tests.venues import until

ORDER = {"instrument_id": "SPX_4500_CALL", "order_type": "market", "side": "buy", "quantity": 10}
RETRIED = {**ORDER, "client_order_id": "mine"}


def offered(base_url: str) -> Account:
    """A bot whose market order will find ten contracts."""
    Account(base_url, "other").sell(10, 128.50)
    return Account(base_url, "bot")


async def test_scenario_6_a_stalled_commit_is_a_timeout_and_a_retry_gets_the_result(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with exchange(tmp_path / "data", disk) as (_, base_url):
        bot = await asyncio.to_thread(offered, base_url)
        disk.answers.clear()
        response = await asyncio.to_thread(bot.requests.post, "/exchange/orders", json=RETRIED)
        disk.answers.set()
        again = await asyncio.to_thread(bot.requests.post, "/exchange/orders", json=RETRIED)
        orders = await asyncio.to_thread(bot.orders, "all")
    assert response.status_code == 504
    details = {"timeout_ms": 5000, "stage": "settlement", "outcome": "unknown", "client_order_id": "mine"}
    assert_fits(refused("PROCESSING_TIMEOUT", "Order processing exceeded time limit", details), response.json())
    assert_fits({"status": "filled", "filled_quantity": 10, "duplicate": True}, again.json()["data"])
    assert len(orders) == 1


async def test_scenario_7_a_failed_commit_is_an_internal_error_and_a_retry_executes_once(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with exchange(tmp_path / "data", disk) as (running, base_url):
        bot = await asyncio.to_thread(offered, base_url)
        disk.failure = OSError(5, "Input/output error")
        response = await asyncio.to_thread(bot.requests.post, "/exchange/orders", json=RETRIED)
        await until(running.failed.is_set)
    assert response.status_code == 500
    details = {"support_reference": SUPPORT_REFERENCE, "stage": "settlement", "outcome": "unknown"}
    expected = refused("INTERNAL_ERROR", "Internal system error during order processing", details)
    assert_fits(expected, response.json())

    async with exchange(tmp_path / "data", FaultyDisk()) as (_, base_url):
        bot.requests.base_url = base_url
        submit = samples_000.error_handling_pattern(bot.requests, AssertionError)
        again = await asyncio.to_thread(submit, RETRIED)
        orders = await asyncio.to_thread(bot.orders, "all")
    assert_fits({"status": "filled", "filled_quantity": 10}, again["data"])
    assert [order["client_order_id"] for order in orders] == ["mine"]
