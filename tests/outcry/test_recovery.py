"""Both clients while the engine is killed and started again on its port."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from outcry import OutcomeUnknown, SequenceOutOfRange, Unavailable
from outcry.models import OrderBook
from tests.outcry.conftest import Restarts, connect


@pytest.fixture
async def client(restarts: Restarts, kind: str) -> AsyncIterator[Any]:
    client = connect(kind, restarts.address)
    yield client
    await client.close()


async def trader(client: Any) -> Any:
    return client.with_key((await client.register("trader")).api_key)


async def persist(attempt: Callable[[], Any]) -> Any:
    """What a bot does while an exchange is away; the test's own time limit guards it."""
    while True:
        try:
            return await attempt()
        except Unavailable:
            await asyncio.sleep(0.05)


async def test_a_client_finds_a_restarted_engine_and_everything_acknowledged_is_there(
    client: Any, restarts: Restarts
) -> None:
    bot = await trader(client)
    order = await bot.buy("AAPL", 1, 100)
    restarts.kill()
    with pytest.raises((Unavailable, OutcomeUnknown)):
        await bot.buy("AAPL", 1, 100)
    restarts.start()
    [found] = await persist(bot.orders)
    assert found.order_id == order.order_id
    again = await bot.buy("AAPL", 1, 100, client_order_id=order.client_order_id)
    assert again.duplicate


async def test_a_stalled_engine_leaves_an_order_unknown_and_a_retry_executes_it_once(
    client: Any, restarts: Restarts
) -> None:
    bot = await trader(client)
    restarts.engine.process.send_signal(signal.SIGSTOP)
    with pytest.raises(OutcomeUnknown) as error:
        await bot.buy("AAPL", 1, 100, client_order_id="mine", timeout_s=0.3)
    assert error.value.details == {
        "timeout_ms": 300,
        "stage": "gateway",
        "outcome": "unknown",
        "client_order_id": "mine",
    }
    restarts.engine.process.send_signal(signal.SIGCONT)
    retried = await bot.buy("AAPL", 1, 100, client_order_id="mine", attempt=1)
    assert [order.order_id for order in await bot.orders(include_closed=True)] == [retried.order_id]


async def test_executions_go_on_over_a_restart_with_nothing_missing_and_nothing_twice(
    client: Any, restarts: Restarts
) -> None:
    bot = await trader(client)
    feed = bot.executions(from_seq=0)
    seen = []
    for restart in range(3):
        for _ in range(3):
            await persist(lambda: bot.buy("AAPL", 1, 100))
        seen += [await anext(feed) for _ in range(3 if restart < 2 else 2)]
        restarts.kill()
        await asyncio.to_thread(restarts.start)  # the loop goes on, and hears that the link is lost
    seen.append(await anext(feed))
    assert [report.seq for report in seen] == list(range(1, 10))
    assert [report.event.order_id for report in seen] == [order.order_id for order in await persist(bot.orders)]


async def test_without_reconnection_a_lost_feed_is_an_error(client: Any, restarts: Restarts) -> None:
    bot = await trader(client)
    await bot.buy("AAPL", 1, 100)
    feed = bot.executions(from_seq=0, reconnect=False)
    await anext(feed)
    restarts.kill()
    with pytest.raises(Unavailable):
        await anext(feed)


async def test_a_feed_cannot_begin_where_no_events_are(client: Any) -> None:
    bot = await trader(client)
    await bot.buy("AAPL", 1, 100)
    with pytest.raises(SequenceOutOfRange) as error:
        await anext(bot.executions(from_seq=99))
    assert (error.value.details["first"], error.value.details["last"]) == (1, 1)


async def test_market_data_goes_on_over_a_restart_with_a_fresh_book_that_says_so(
    client: Any, restarts: Restarts
) -> None:
    bot = await trader(client)
    await bot.buy("AAPL", 1, 100)
    updates = client.market_data(["AAPL"])
    before = await anext(updates)
    assert not before.conflated
    restarts.kill()
    restarts.start()
    after = await anext(updates)
    assert after.conflated
    assert isinstance(after.update, OrderBook)
    assert (after.seq, after.update.bids) == (before.seq, before.update.bids)
    await persist(lambda: bot.buy("AAPL", 1, 101))
    assert (await anext(updates)).seq == before.seq + 1
