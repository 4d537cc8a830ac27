"""More orders at once than there may be: those that are let in are executed, the others are refused and leave no trace,
and every sender has an answer.

How much still gets through, and how soon, is a matter of measure: `python -m load.bench overload levels`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway import service
from load.bench.raw_http2 import RawClient
from outcry import v1
from tests.experiments.exchanges import HANG_S, UNIT, metadata
from tests.venues import Venue, venue

METHOD = "/outcry.v1.OrderEntry/SubmitOrder"
CALLS_AT_ONCE, SPARE = 40, 4
PREFIX_BYTES = 5
CLIENTS, EACH, IN_FLIGHT = 8, 2_000, 200
ORDER = v1.NewOrder(
    instrument_id="AAPL", side=v1.SIDE_BUY, order_type=v1.ORDER_TYPE_LIMIT, quantity=UNIT, price=UNIT // 100
)


def flood(address: str, key: str, number: int) -> list[bytes]:
    """Send EACH orders, IN_FLIGHT at once, until each has an answer; the messages among those. A refusal has none."""
    client = RawClient(address)
    orders = [named(f"{number}-{turn:04}") for turn in range(EACH)]
    requests = [client.encoded(METHOD, order, "20S", tuple(metadata(key))) for order in orders]
    client.replay(requests, orders[0], IN_FLIGHT)
    client.close()
    return list(client.answers.values())


def named(client_order_id: str) -> bytes:
    order = v1.NewOrder()
    order.CopyFrom(ORDER)
    order.client_order_id = client_order_id
    return order.SerializeToString()


async def flooded(exchange: Venue, key: str) -> list[v1.OrderResult]:
    """What the senders were told of orders that were let in."""
    floods = [asyncio.to_thread(flood, exchange.address, key, number) for number in range(CLIENTS)]
    async with asyncio.timeout(3 * HANG_S):
        messages = [message for told in await asyncio.gather(*floods) for message in told]
    return [v1.OrderResult.FromString(message[PREFIX_BYTES:]) for message in messages]


@pytest.mark.parametrize("durability", ["write", "fsync"])
async def test_beyond_the_limit_orders_are_refused_without_a_trace_and_the_others_are_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    monkeypatch.setattr(service, "CONCURRENT_CALLS", CALLS_AT_ONCE)
    monkeypatch.setattr(service, "SPARE_CALLS", SPARE)
    async with venue(tmp_path / "data", durability=durability) as exchange:
        _, ((_, key),) = await exchange.stubs.register()
        results = await flooded(exchange, key)
        assert 0 < len(results) < CLIENTS * EACH
        assert len({result.order_id for result in results}) == len(results)
        assert not any(result.HasField("reject") for result in results)
        book = await exchange.stubs.market.GetOrderBook(v1.GetOrderBookRequest(instrument_id=ORDER.instrument_id))
        assert [level.quantity for level in book.bids] == [len(results) * UNIT]
        after = await exchange.stubs.orders.SubmitOrder(ORDER, metadata=metadata(key))
        assert after.order_id  # the engine is as it was


async def test_control_without_the_limit_all_of_them_are_let_in(tmp_path: Path) -> None:
    async with venue(tmp_path / "data") as exchange:
        _, ((_, key),) = await exchange.stubs.register()
        assert len(await flooded(exchange, key)) == CLIENTS * EACH
