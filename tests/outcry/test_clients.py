"""Both clients against a real engine: each test runs with each."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest

from outcry import Client, InvalidRequest, NotFound, OrderRejected, PermissionDenied, Unauthenticated, Unavailable
from outcry.models import Accepted, BookLevel, Cancelled, Filled, OrderBook, PositionUpdated, PublicTrade, Rejected
from tests.outcry.conftest import connect
from tests.venues import EngineProcess


async def test_an_order_rests_is_replaced_and_is_cancelled(trader: Any, listed: str) -> None:
    entered = await trader.buy(listed, 10, "127.00", client_order_id="mine")
    assert (entered.status, entered.remaining_quantity, entered.client_order_id) == ("new", 10, "mine")
    replaced = await trader.replace_order(entered.order_id, quantity=12, price=Decimal("127.5"))
    assert (replaced.order_id, replaced.remaining_quantity) == (entered.order_id, 12)
    [order] = await trader.orders()
    assert (order.price, order.quantity, order.side, order.time_in_force) == (Decimal("127.5"), 12, "buy", "GTC")
    cancelled = await trader.cancel_order(client_order_id="mine")
    assert (cancelled.order_id, cancelled.status) == (entered.order_id, "cancelled")
    assert await trader.orders() == []
    assert [order.status for order in await trader.orders(include_closed=True)] == ["cancelled"]
    assert (await trader.order(client_order_id="mine")).order_id == entered.order_id


async def test_a_trade_has_its_price_fees_and_sides(trader: Any, rival: Any, listed: str) -> None:
    await rival.sell(listed, 4, "128.50")
    bought = await trader.submit_order(listed, "BUY", "10", "129", time_in_force="ioc")
    assert (bought.status, bought.filled_quantity, bought.liquidity) == ("cancelled", 4, "taker")
    assert (bought.average_price, bought.fees) == (Decimal("128.5"), Decimal("0.12"))
    [fill] = bought.fills
    assert (fill.price, fill.quantity, fill.liquidity) == (Decimal("128.5"), 4, "taker")
    assert dict(await trader.positions()) == {listed: 4}
    assert dict(await rival.positions()) == {listed: -4}
    assert (await trader.balances())["USD"].total == 1_000_000 - 4 * Decimal("128.5") - Decimal("0.12")


async def test_a_retry_under_the_same_client_order_id_executes_once(trader: Any, listed: str) -> None:
    first = await trader.buy(listed, 10, 127, client_order_id="once")
    again = await trader.buy(listed, 10, 127, client_order_id="once", attempt=1)
    assert (again.order_id, again.duplicate, first.duplicate) == (first.order_id, True, False)
    assert len(await trader.orders()) == 1
    with pytest.raises(OrderRejected) as refusal:
        await trader.buy(listed, 11, 127, client_order_id="once")
    assert refusal.value.code == "DUPLICATE_CLIENT_ORDER_ID"


async def test_a_refusal_has_its_code_and_exact_details(trader: Any, listed: str) -> None:
    with pytest.raises(OrderRejected) as refusal:
        await trader.buy(listed, 100, 127)
    assert refusal.value.code == "POSITION_LIMIT_EXCEEDED"
    assert refusal.value.details["order_quantity"] == Decimal(100)
    assert refusal.value.details["position_limit"] == Decimal(50)
    with pytest.raises(OrderRejected) as refusal:
        await trader.buy("XYZ", 1, 1)
    assert refusal.value.details["requested_instrument"] == "XYZ"
    available: Any = refusal.value.details["available_instruments"]
    assert "AAPL" in available


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"side": "hold"}, "INVALID_SIDE"),
        ({"order_type": "pegged"}, "INVALID_ORDER_TYPE"),
        ({"time_in_force": "GTX"}, "INVALID_TIME_IN_FORCE"),
        ({"quantity": 0}, "INVALID_QUANTITY"),
        ({"price": "127.001"}, "INVALID_PRICE"),
        ({"price": None, "order_type": "limit"}, "MISSING_PRICE"),
    ],
)
async def test_words_and_numbers_the_exchange_does_not_take_are_refused_by_it(
    trader: Any, arguments: dict[str, Any], code: str
) -> None:
    order = {"instrument_id": "AAPL", "side": "buy", "quantity": 1, "price": 127, **arguments}
    with pytest.raises(OrderRejected) as refusal:
        await trader.submit_order(**order)
    assert refusal.value.code == code


async def test_what_is_not_built_yet_is_refused_and_not_ignored(trader: Any) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await trader.buy("AAPL", 1, 127, stop_loss=120)
    assert refusal.value.details == {"field": "stop_loss"}


async def test_a_dry_run_changes_nothing(trader: Any, listed: str) -> None:
    judged = await trader.validate_order(listed, "buy", 1, 127)
    assert (judged.status, judged.order_id) == ("new", 0)
    with pytest.raises(OrderRejected):
        await trader.validate_order(listed, "buy", 51, 127)
    assert await trader.orders(include_closed=True) == []


async def test_cancelling_what_is_not_there_is_refused_and_asking_for_it_finds_nothing(trader: Any) -> None:
    with pytest.raises(OrderRejected) as refusal:
        await trader.cancel_order(987654321)
    assert (refusal.value.code, refusal.value.details["reason"]) == ("CANCEL_FAILED", "not_found")
    with pytest.raises(NotFound) as missing:
        await trader.order(987654321)
    assert missing.value.code == "ORDER_NOT_FOUND"


async def test_cancel_all_says_what_it_cancelled(trader: Any, listed: str) -> None:
    entered = [await trader.buy(listed, 1, 100 + level) for level in range(3)]
    sold = await trader.sell(listed, 1, 200)
    result = await trader.cancel_all(listed, "buy")
    assert result.order_ids == tuple(order.order_id for order in entered)
    assert [order.order_id for order in await trader.orders()] == [sold.order_id]


async def test_more_orders_than_a_page_come_as_one_list(trader: Any, listed: str, engine: EngineProcess) -> None:
    from outcry import AsyncClient
    from outcry.encoding import instruction, new_order

    key = (await trader.register("many")).api_key
    async with AsyncClient(engine.address, key) as client, client.session() as session:
        await session.send(instruction(n, new_order(listed, "sell", "1", 1000 + n)) for n in range(40))
        for batch in (range(500), range(500, 1001)):
            await session.send(instruction(n, new_order("AAPL", "buy", "1", 1)) for n in batch)
    orders = await trader.with_key(key).orders()
    assert len(orders) == 1041
    assert [order.order_id for order in orders] == sorted(order.order_id for order in orders)
    assert len(await trader.with_key(key).orders(instrument_id=listed)) == 40


async def test_the_book_and_the_instruments_need_no_key(public: Any, trader: Any, listed: str) -> None:
    await trader.buy(listed, 3, 127)
    await trader.buy(listed, 2, "127.5")
    book = await public.order_book(listed, depth=1)
    assert book.bids == (BookLevel(Decimal("127.5"), Decimal(2)),)
    assert (book.asks, book.instrument_id) == ((), listed)
    described = {instrument.instrument_id: instrument for instrument in await public.instruments()}
    assert described["AAPL"].tick_size == Decimal("0.01")
    assert described["AAPL"].settles_in_cash
    assert described[listed].position_limit == 50
    with pytest.raises(InvalidRequest) as refusal:
        await public.order_book("XYZ")
    assert refusal.value.code == "INVALID_INSTRUMENT"


async def test_a_wrong_key_and_none_at_all_are_unauthenticated(public: Any) -> None:
    for client in (public, public.with_key("wrong")):
        with pytest.raises(Unauthenticated):
            await client.positions()


async def test_a_trader_may_not_run_the_venue(trader: Any) -> None:
    with pytest.raises(PermissionDenied):
        await trader.state_digest()


async def test_an_operator_lists_instruments_and_makes_accounts(operator: Any, public: Any, listed: str) -> None:
    before = await operator.state_digest()
    await operator.put_risk_profile("boundless", no_position_limit=True)
    made = await operator.put_account(
        f"desk {listed}", risk_profile="boundless", opening_balances={"USD": "12.5"}, new_key=True
    )
    desk = public.with_key(made.api_key)
    assert (await desk.balances())["USD"].total == Decimal("12.5")
    assert (await desk.buy(listed, 51, 1)).status == "new"
    after = await operator.state_digest()
    assert after.digest != before.digest
    assert after.journal_seq > before.journal_seq
    assert await operator.create_invite() != await operator.create_invite()


async def test_a_command_whose_time_has_passed_is_not_executed(trader: Any, listed: str) -> None:
    with pytest.raises(Unavailable) as refusal:
        await trader.buy(listed, 1, 127, valid_until_ns=time.time_ns() - 1)
    assert refusal.value.code == "PROCESSING_TIMEOUT"
    assert refusal.value.details["outcome"] == "not_executed"
    assert await trader.orders(include_closed=True) == []


async def test_where_no_exchange_is_nothing_was_executed(kind: str) -> None:
    client = connect(kind, "127.0.0.1:1", "key")
    with pytest.raises(Unavailable) as refusal:
        await client.buy("AAPL", 1, 127)
    assert refusal.value.details["outcome"] == "not_executed"
    await client.close()


async def test_the_synchronous_client_works_inside_a_running_loop_as_in_a_notebook(engine: EngineProcess) -> None:
    with Client(engine.address) as client:
        key = client.register("notebook").api_key
        assert client.with_key(key).buy("AAPL", 1, 1).status == "new"


async def test_executions_tell_everything_that_happens_in_order(trader: Any, rival: Any, listed: str) -> None:
    order = await trader.buy(listed, 10, 127)
    await rival.sell(listed, 4, 127)
    await trader.cancel_order(order.order_id)
    with pytest.raises(OrderRejected):
        await trader.buy(listed, 100, 127)
    reports = []
    async for report in trader.executions(from_seq=0):
        reports.append(report)
        if isinstance(report.event, Rejected):
            break
    assert [report.seq for report in reports] == [1, 2, 3, 4, 5]
    assert [type(report.event) for report in reports] == [Accepted, Filled, PositionUpdated, Cancelled, Rejected]
    accepted, filled, position, cancelled, rejected = (report.event for report in reports)
    assert (accepted.order_id, accepted.side, accepted.price) == (order.order_id, "buy", 127)
    assert (filled.quantity, filled.remaining_quantity, filled.liquidity) == (4, 6, "maker")
    assert (position.instrument_id, position.position) == (listed, 4)
    assert (cancelled.cancelled_quantity, cancelled.reason) == (6, "user_requested")
    assert (rejected.code, rejected.details["order_quantity"]) == ("POSITION_LIMIT_EXCEEDED", 100)


async def test_a_feed_begins_after_what_a_query_has_shown(trader: Any, listed: str) -> None:
    await trader.buy(listed, 1, 127)
    feed = trader.executions(from_seq=(await trader.positions()).seq)
    order = await trader.buy(listed, 2, 127)
    report = await anext(feed)
    assert report.event.order_id == order.order_id


async def test_market_data_begins_with_the_book_and_goes_on_without_a_hole(
    public: Any, trader: Any, rival: Any, listed: str
) -> None:
    await trader.buy(listed, 10, 127)
    updates = public.market_data([listed])
    first = await anext(updates)
    assert isinstance(first.update, OrderBook)
    assert first.update.bids == (BookLevel(Decimal(127), Decimal(10)),)
    await rival.sell(listed, 4, 127)
    following = [await anext(updates), await anext(updates)]
    assert [update.seq for update in following] == [first.seq + 1, first.seq + 2]
    [trade] = [update.update for update in following if isinstance(update.update, PublicTrade)]
    assert (trade.price, trade.quantity) == (Decimal(127), Decimal(4))
    assert not trade.buyer_is_aggressor
