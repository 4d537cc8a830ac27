"""Public market data over a real socket: numbered, conflated when a reader is slow, and without a key."""

from __future__ import annotations

import grpc
import pytest

from gateway.market_data import MarketDataHub, Reader
from outcry import v1
from tests.gateway.test_order_entry import AAPL, CALL, UNIT, order
from tests.venues import Venue

BOOK, TRADES, TICKER = v1.MARKET_DATA_CHANNEL_BOOK, v1.MARKET_DATA_CHANNEL_TRADES, v1.MARKET_DATA_CHANNEL_TICKER


def stream(exchange: Venue, *channels: int, instruments: tuple[str, ...] = (CALL,)) -> grpc.aio.UnaryStreamCall:
    request = v1.StreamMarketDataRequest(instruments=instruments, channels=channels)
    return exchange.stubs.market.StreamMarketData(request)


def levels(side: list[v1.BookLevel]) -> list[tuple[int, int]]:
    return [(level.price // UNIT, level.quantity // UNIT) for level in side]


async def test_every_built_in_instrument_is_listed_without_a_key(exchange: Venue) -> None:
    listing = await exchange.stubs.market.ListInstruments(v1.ListInstrumentsRequest())
    assert {instrument.instrument_id for instrument in listing.instruments} == {
        "SPX_4500_CALL",
        "SPX_4500_PUT",
        "SPX_CALL_4500_20240315",
        "SPX_PUT_4500_20240315",
        "AAPL",
        "BTC/USDT",
    }


async def test_the_book_is_given_best_first_to_the_depth_asked_for(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    for price in (100, 102, 101):
        await exchange.stubs.orders.SubmitOrder(order(price=price), metadata=key)
    book = await exchange.stubs.market.GetOrderBook(v1.GetOrderBookRequest(instrument_id=CALL, depth=2))
    assert levels(list(book.bids)) == [(102, 10), (101, 10)]


async def test_a_book_and_the_changes_after_it_add_up_to_the_book_now(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    await exchange.stubs.orders.SubmitOrder(order(price=100), metadata=key)
    updates = stream(exchange, BOOK, TRADES)
    first = await updates.read()
    assert levels(list(first.book.bids)) == [(100, 10)]
    await exchange.stubs.orders.SubmitOrder(order(v1.SIDE_SELL, 4, 100), metadata=key)
    printed, changed = await updates.read(), await updates.read()
    assert (printed.trade.price, printed.trade.quantity) == (100 * UNIT, 4 * UNIT)
    assert not printed.trade.buyer_is_aggressor
    assert levels(list(changed.change.bids)) == [(100, 6)]
    assert [printed.seq, changed.seq] == [first.seq + 1, first.seq + 2]
    updates.cancel()


async def test_a_level_that_is_gone_is_told_with_quantity_zero(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    placed = await exchange.stubs.orders.SubmitOrder(order(price=100), metadata=key)
    updates = stream(exchange, BOOK)
    await updates.read()
    await exchange.stubs.orders.CancelOrder(v1.CancelRequest(order_id=placed.order_id), metadata=key)
    assert levels(list((await updates.read()).change.bids)) == [(100, 0)]
    updates.cancel()


async def test_the_ticker_tells_the_last_price_and_the_best_of_both_sides(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    updates = stream(exchange, TICKER)
    assert not (await updates.read()).ticker.HasField("last_price")
    await exchange.stubs.orders.SubmitOrder(order(price=100), metadata=key)
    await updates.read()
    await exchange.stubs.orders.SubmitOrder(order(v1.SIDE_SELL, 4, 100), metadata=key)
    ticker = (await updates.read()).ticker
    assert (ticker.last_price, ticker.best_bid, ticker.HasField("best_ask")) == (100 * UNIT, 100 * UNIT, False)
    updates.cancel()


@pytest.mark.parametrize(
    ("instruments", "channels", "code"),
    [
        (("NOPE",), (BOOK,), grpc.StatusCode.INVALID_ARGUMENT),
        ((CALL,), (), grpc.StatusCode.INVALID_ARGUMENT),
        ((CALL,), (0,), grpc.StatusCode.INVALID_ARGUMENT),
        ((CALL,), (99,), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_stream_of_what_is_not_there_is_refused(
    exchange: Venue, instruments: tuple[str, ...], channels: tuple[int, ...], code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in stream(exchange, *channels, instruments=instruments):
            pass
    assert refused.value.code() == code


async def test_an_unknown_instrument_s_book_names_those_there_are(exchange: Venue) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await exchange.stubs.market.GetOrderBook(v1.GetOrderBookRequest(instrument_id="NOPE"))
    assert refused.value.details() == "Unknown instrument: NOPE"


def test_a_reader_that_overflows_loses_its_queue_and_is_due_a_conflated_book() -> None:
    reader = Reader(frozenset({CALL, AAPL}), frozenset({BOOK}))
    hub = MarketDataHub(queue_limit=3)
    hub.join(reader)
    for number in range(1, 5):
        update = v1.MarketDataUpdate(instrument_id=CALL, seq=number, change=v1.BookChange())
        hub.offer({reader}, BOOK, update)
    assert (len(reader.queue), reader.books_due) == (0, {CALL: True})


async def test_a_stalled_reader_is_given_a_conflated_book_and_ends_up_right(exchange: Venue) -> None:
    exchange.gateway.hub.queue_limit = 5
    _, key = await exchange.stubs.register()
    updates = stream(exchange, BOOK)
    await updates.read()
    (reader,) = exchange.gateway.hub.readers[CALL]
    for _ in range(6):  # in one turn of the loop: the reader's task cannot run between them
        reader.offer(v1.MarketDataUpdate(instrument_id=CALL, change=v1.BookChange()), 5)
    await exchange.stubs.orders.SubmitOrder(order(price=100), metadata=key)
    update = await updates.read()
    while not update.conflated:
        update = await updates.read()
    book = {level.price: level.quantity for level in update.book.bids}
    while update.seq < exchange.gateway.exchange.book(CALL, 1).number:  # type: ignore[union-attr]
        update = await updates.read()
        book.update({level.price: level.quantity for level in update.change.bids})
    assert book == {100 * UNIT: 10 * UNIT}
    updates.cancel()
