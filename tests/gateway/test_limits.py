"""What the server takes at most: explicit limits, reached over a real socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from gateway import service
from gateway.order_entry import INSTRUCTIONS_LIMIT
from outcry import v1
from tests.gateway.test_order_entry import CALL, order
from tests.venues import Venue, until, venue

CODE = grpc.StatusCode


async def code_of(call: grpc.aio.UnaryUnaryCall) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code()


async def test_a_message_beyond_the_limit_is_refused_and_changes_nothing(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    before = await exchange.digest()
    huge = order(client_order_id="x" * (service.MESSAGE_BYTES + 1))
    assert await code_of(exchange.stubs.orders.SubmitOrder(huge, metadata=key)) == CODE.RESOURCE_EXHAUSTED
    assert await exchange.digest() == before


async def test_metadata_beyond_the_limit_is_refused(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    metadata = [*key, ("x-filler", "x" * (2 * service.METADATA_BYTES))]
    answer = await code_of(exchange.stubs.orders.SubmitOrder(order(), metadata=metadata))
    assert answer in (CODE.RESOURCE_EXHAUSTED, CODE.INTERNAL, CODE.UNAVAILABLE)
    assert (await exchange.stubs.orders.SubmitOrder(order(), metadata=key)).order_id


async def test_calls_beyond_the_limit_are_refused_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CONCURRENT_CALLS", 3)
    monkeypatch.setattr(service, "SPARE_CALLS", 0)
    async with venue(tmp_path / "data") as small:
        wanted = v1.StreamMarketDataRequest(instruments=[CALL], channels=[v1.MARKET_DATA_CHANNEL_BOOK])
        streams = [small.stubs.market.StreamMarketData(wanted) for _ in range(3)]
        await asyncio.gather(*(stream.read() for stream in streams))
        book = v1.GetOrderBookRequest(instrument_id=CALL)
        assert await code_of(small.stubs.market.GetOrderBook(book)) == CODE.RESOURCE_EXHAUSTED
        streams.pop().cancel()
        await until(lambda: len(small.gateway.streams.served) == 2)
        assert (await small.stubs.market.GetOrderBook(book)).instrument_id == CALL
        for stream in streams:
            stream.cancel()


async def test_no_word_of_a_request_is_longer_than_its_bound(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    before, journal = await exchange.digest(), exchange.gateway.journal.file.end
    long, by = "x" * 129, exchange.operator
    accounts, operations, orders = exchange.stubs.accounts, exchange.stubs.operations, exchange.stubs.orders
    listing = {"instrument_id": "X", "tick_size": 10**7, "lot_size": 10**9, "quote_asset": "USD"}
    calls = [
        accounts.Register(v1.RegisterRequest(team_name="A", role=long)),
        accounts.Register(v1.RegisterRequest(team_name="A", invite=long)),
        accounts.GetOrder(v1.GetOrderRequest(client_order_id=long), metadata=key),
        accounts.ListOrders(v1.ListOrdersRequest(instrument_id=long), metadata=key),
        orders.SubmitOrder(order(instrument_id=long), metadata=key),
        orders.SubmitOrder(order(client_order_id=long), metadata=key),
        orders.ValidateOrder(order(instrument_id=long), metadata=key),
        orders.CancelOrder(v1.CancelRequest(client_order_id=long), metadata=key),
        orders.ReplaceOrder(v1.ReplaceRequest(client_order_id=long, quantity=1), metadata=key),
        orders.CancelAll(v1.CancelAllRequest(instrument_id=long), metadata=key),
        operations.PutAccount(v1.PutAccountRequest(name=long), metadata=by),
        operations.PutAccount(v1.PutAccountRequest(name="A", role=long), metadata=by),
        operations.PutAccount(v1.PutAccountRequest(name="A", risk_profile=long), metadata=by),
        operations.PutRiskProfile(v1.PutRiskProfileRequest(name=long), metadata=by),
        operations.CreateInvite(v1.CreateInviteRequest(role=long), metadata=by),
        *(
            operations.PutInstrument(v1.PutInstrumentRequest(instrument=v1.Instrument(**listing | bad)), metadata=by)
            for bad in ({"instrument_id": long}, {"quote_asset": long}, {"base_asset": long})
        ),
    ]
    assert {await code_of(call) for call in calls} == {CODE.INVALID_ARGUMENT}
    assert await exchange.digest() == before
    assert exchange.gateway.journal.file.end == journal


async def session(exchange: Venue, key: list[tuple[str, str]], *instructions: v1.Instruction) -> v1.Results:
    call = exchange.stubs.orders.Session(iter([v1.Instructions(instructions=instructions)]), metadata=key)
    async for results in call:
        return results
    raise AssertionError("no answer")


async def test_a_message_of_too_many_instructions_is_refused_before_any_is_executed(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    results = await session(exchange, key, *[v1.Instruction(submit=order(quantity=1))] * (INSTRUCTIONS_LIMIT + 1))
    assert [r.order.reject.reason for r in results.results] == [v1.INVALID_REQUEST]
    listing = await exchange.stubs.accounts.ListOrders(v1.ListOrdersRequest(), metadata=key)
    assert list(listing.orders) == []


async def test_the_books_of_one_message_are_bounded(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    deep = v1.Instruction(get_order_book=v1.GetOrderBookRequest(instrument_id=CALL))
    results = (await session(exchange, key, *[deep] * 21)).results
    assert [r.WhichOneof("result") for r in results] == ["order_book"] * 20 + ["reject"]
    assert results[-1].reject.reason == v1.INVALID_REQUEST


async def test_a_session_goes_on_after_a_message_that_was_refused_whole(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    one = v1.Instructions(instructions=[v1.Instruction(submit=order(quantity=1))]).SerializeToString()
    huge = v1.Instructions(instructions=[v1.Instruction(submit=order(quantity=1))] * (INSTRUCTIONS_LIMIT + 1))
    call = exchange.channel.stream_stream("/outcry.v1.OrderEntry/Session", response_deserializer=v1.Results.FromString)
    messages = [one, huge.SerializeToString(), b"\xff\xff\xff", one]
    answers = [answer async for answer in call(iter(messages), metadata=key)]
    assert [len(answer.results) for answer in answers] == [1, 1, 1, 1]
    assert answers[1].results[0].order.reject.reason == answers[2].results[0].reject.reason == v1.INVALID_REQUEST
    assert [answers[at].results[0].order.status for at in (0, 3)] == [v1.ORDER_STATUS_NEW] * 2


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe"])
@pytest.mark.parametrize("method", ["OrderEntry/SubmitOrder", "Accounts/Register", "MarketData/GetOrderBook"])
async def test_bytes_that_are_no_message_are_an_invalid_request(exchange: Venue, method: str, garbage: bytes) -> None:
    _, key = await exchange.stubs.register()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await exchange.channel.unary_unary(f"/outcry.v1.{method}")(garbage, metadata=key)
    assert (refused.value.code(), refused.value.details()) == (CODE.INVALID_ARGUMENT, "the message does not parse")


async def test_a_status_stays_within_what_clients_take_however_many_instruments_there_are(exchange: Venue) -> None:
    for number in range(300):
        listing = v1.Instrument(
            instrument_id=f"OPTION_{number:020}", tick_size=10**7, lot_size=10**9, quote_asset="USD"
        )
        request = v1.PutInstrumentRequest(instrument=listing)
        await exchange.stubs.operations.PutInstrument(request, metadata=exchange.operator)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await exchange.stubs.market.GetOrderBook(v1.GetOrderBookRequest(instrument_id="NOPE"))
    assert (refused.value.code(), refused.value.details()) == (CODE.INVALID_ARGUMENT, "Unknown instrument: NOPE")
