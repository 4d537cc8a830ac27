"""Orders over a real socket: single calls, and batches on a Session."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from gateway.order_entry import INSTRUCTIONS_LIMIT, SESSION_BYTES, OrderEntry, Window
from outcry import v1
from tests.venues import Venue

CALL, AAPL = "SPX_4500_CALL", "AAPL"
UNIT = 10**9


def order(side: int = v1.SIDE_BUY, quantity: int = 10, price: int | None = 128, **more: object) -> v1.NewOrder:
    fields = {"instrument_id": CALL, "order_type": v1.ORDER_TYPE_LIMIT, **more}
    return v1.NewOrder(side=side, quantity=quantity * UNIT, price=None if price is None else price * UNIT, **fields)


async def test_a_limit_order_rests_and_then_trades_at_its_price(exchange: Venue) -> None:
    orders = exchange.stubs.orders
    _, buyer = await exchange.stubs.register()
    _, seller = await exchange.stubs.register()
    resting = await orders.SubmitOrder(order(), metadata=buyer)
    taking = await orders.SubmitOrder(order(v1.SIDE_SELL, 4, 127), metadata=seller)
    assert (resting.status, resting.filled_quantity, resting.HasField("average_price")) == (
        v1.ORDER_STATUS_NEW,
        0,
        False,
    )
    assert (taking.status, taking.average_price, taking.liquidity) == (
        v1.ORDER_STATUS_FILLED,
        128 * UNIT,
        v1.LIQUIDITY_TAKER,
    )
    assert [(fill.price, fill.quantity) for fill in taking.fills] == [(128 * UNIT, 4 * UNIT)]
    assert taking.fees == 4 * 30_000_000


async def test_the_same_client_order_id_and_content_return_the_first_result(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    first = await exchange.stubs.orders.SubmitOrder(order(client_order_id="A"), metadata=key)
    again = await exchange.stubs.orders.SubmitOrder(order(client_order_id="A", attempt=1), metadata=key)
    assert again.duplicate
    again.duplicate = False
    assert again == first


async def test_the_same_client_order_id_with_other_content_is_refused(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    await exchange.stubs.orders.SubmitOrder(order(client_order_id="A"), metadata=key)
    other = await exchange.stubs.orders.SubmitOrder(order(client_order_id="A", quantity=11), metadata=key)
    assert other.reject.reason == v1.DUPLICATE_CLIENT_ORDER_ID


async def test_an_order_past_its_deadline_is_never_executed(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    before = await exchange.digest()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await exchange.stubs.orders.SubmitOrder(order(valid_until_ns=time.time_ns() - 1), metadata=key)
    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert await exchange.digest() == before


async def test_a_retry_past_its_deadline_returns_the_first_result(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    first = await exchange.stubs.orders.SubmitOrder(order(client_order_id="A"), metadata=key)
    late = order(client_order_id="A", valid_until_ns=1)
    again = await exchange.stubs.orders.SubmitOrder(late, metadata=key)
    assert (again.duplicate, again.order_id) == (True, first.order_id)


@pytest.mark.parametrize(
    "field",
    [
        {"stop_price": UNIT},
        {"stop_loss": UNIT},
        {"take_profit": UNIT},
        {"display_quantity": UNIT},
        {"post_only": True},
        {"signal_confidence": UNIT},
        {"self_trade_prevention": v1.SELF_TRADE_PREVENTION_CANCEL_TAKER},
        {"client_order_id": "x" * 129},
    ],
)
async def test_what_is_not_built_yet_is_refused_and_changes_nothing(exchange: Venue, field: dict[str, object]) -> None:
    _, key = await exchange.stubs.register()
    before = await exchange.digest()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await exchange.stubs.orders.SubmitOrder(order(**field), metadata=key)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert await exchange.digest() == before


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"instrument_id": "NOPE"}, v1.INVALID_INSTRUMENT),
        ({"side": 0}, v1.INVALID_SIDE),
        ({"side": 7}, v1.INVALID_SIDE),
        ({"order_type": 0}, v1.INVALID_ORDER_TYPE),
        ({"order_type": v1.ORDER_TYPE_STOP}, v1.INVALID_ORDER_TYPE),
        ({"time_in_force": 99}, v1.INVALID_TIME_IN_FORCE),
        ({"time_in_force": v1.TIME_IN_FORCE_GTD}, v1.INVALID_TIME_IN_FORCE),
        ({"quantity": 0}, v1.INVALID_QUANTITY),
        ({"quantity": -1}, v1.INVALID_QUANTITY),
        ({"price": None}, v1.MISSING_PRICE),
        ({"price": 0}, v1.INVALID_PRICE),
        ({"quantity": 51}, v1.POSITION_LIMIT_EXCEEDED),
        ({"instrument_id": AAPL, "quantity": 1_000_000}, v1.INSUFFICIENT_FUNDS),
        ({"time_in_force": v1.TIME_IN_FORCE_FOK}, v1.FOK_NOT_FILLABLE),
    ],
)
async def test_a_business_refusal_is_an_outcome_and_changes_nothing(
    exchange: Venue, bad: dict[str, object], reason: int
) -> None:
    _, key = await exchange.stubs.register()
    before = await exchange.digest()
    result = await exchange.stubs.orders.SubmitOrder(order(**bad), metadata=key)  # type: ignore[arg-type]
    assert (result.reject.reason, result.status, result.order_id) == (reason, v1.ORDER_STATUS_REJECTED, 0)
    assert await exchange.digest() == before


async def test_a_dry_run_judges_and_changes_nothing(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    before = await exchange.digest()
    good = await exchange.stubs.orders.ValidateOrder(order(), metadata=key)
    bad = await exchange.stubs.orders.ValidateOrder(order(quantity=51), metadata=key)
    assert (good.status, good.order_id) == (v1.ORDER_STATUS_NEW, 0)
    assert bad.reject.reason == v1.POSITION_LIMIT_EXCEEDED
    assert await exchange.digest() == before


async def test_another_account_s_order_is_not_found_like_one_that_never_was(exchange: Venue) -> None:
    _, mine = await exchange.stubs.register()
    _, other = await exchange.stubs.register()
    placed = await exchange.stubs.orders.SubmitOrder(order(), metadata=mine)
    theirs = await exchange.stubs.orders.CancelOrder(v1.CancelRequest(order_id=placed.order_id), metadata=other)
    nobody = await exchange.stubs.orders.CancelOrder(v1.CancelRequest(order_id=10**9), metadata=other)
    assert theirs.reject.reason == nobody.reject.reason == v1.CANCEL_FAILED
    assert theirs.reject.details["reason"].text == nobody.reject.details["reason"].text == "not_found"
    assert theirs.status == nobody.status == v1.ORDER_STATUS_REJECTED


async def test_cancel_all_cancels_what_it_names_oldest_first(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    placed = [await exchange.stubs.orders.SubmitOrder(order(price=p), metadata=key) for p in (101, 103, 102)]
    await exchange.stubs.orders.SubmitOrder(order(v1.SIDE_SELL, price=140), metadata=key)
    result = await exchange.stubs.orders.CancelAll(v1.CancelAllRequest(side=v1.SIDE_BUY), metadata=key)
    assert list(result.order_ids) == [o.order_id for o in placed]


async def talk(exchange: Venue, key: list[tuple[str, str]], *batches: list[v1.Instruction]) -> list[v1.Results]:
    async def requests() -> AsyncIterator[v1.Instructions]:
        for batch in batches:
            yield v1.Instructions(instructions=batch)

    return [results async for results in exchange.stubs.orders.Session(requests(), metadata=key)]


async def test_a_session_answers_each_batch_in_order_with_its_request_ids(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    first = [
        v1.Instruction(request_id=7, submit=order(client_order_id="A")),
        v1.Instruction(request_id=8, get_order_book=v1.GetOrderBookRequest(instrument_id=CALL, depth=1)),
        v1.Instruction(request_id=9, replace=v1.ReplaceRequest(client_order_id="A", quantity=4 * UNIT)),
    ]
    second = [
        v1.Instruction(request_id=10, cancel=v1.CancelRequest(client_order_id="A")),
        v1.Instruction(request_id=11, cancel_all=v1.CancelAllRequest()),
    ]
    one, empty, two = await talk(exchange, key, first, [], second)
    assert [r.request_id for r in one.results] == [7, 8, 9]
    assert list(empty.results) == []
    assert one.results[0].order.status == v1.ORDER_STATUS_NEW
    assert [(level.price, level.quantity) for level in one.results[1].order_book.bids] == [(128 * UNIT, 10 * UNIT)]
    assert one.results[2].order.remaining_quantity == 4 * UNIT
    assert two.results[0].order.status == v1.ORDER_STATUS_CANCELLED
    assert list(two.results[1].cancel_all.order_ids) == []


async def test_a_session_refuses_a_malformed_instruction_in_its_place_and_goes_on(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    batch = [
        v1.Instruction(request_id=1),
        v1.Instruction(request_id=2, submit=order(post_only=True)),
        v1.Instruction(request_id=3, cancel=v1.CancelRequest()),
        v1.Instruction(request_id=4, get_order_book=v1.GetOrderBookRequest(instrument_id="NOPE")),
        v1.Instruction(request_id=5, submit=order(valid_until_ns=1)),
        v1.Instruction(request_id=6, submit=order()),
    ]
    (results,) = await talk(exchange, key, batch)
    answers = list(results.results)
    assert answers[0].reject.reason == v1.INVALID_REQUEST
    assert answers[1].order.reject.reason == v1.INVALID_REQUEST
    assert answers[2].order.reject.reason == v1.INVALID_REQUEST
    assert answers[3].reject.reason == v1.INVALID_INSTRUMENT
    assert answers[4].order.reject.reason == v1.PROCESSING_TIMEOUT
    assert answers[4].order.reject.details["outcome"].text == "not_executed"
    assert answers[4].order.reject.details["timeout_ms"].count == 5_000
    assert answers[5].order.status == v1.ORDER_STATUS_NEW


@asynccontextmanager
async def flooded(exchange: Venue, key: list[tuple[str, str]], message: v1.Instructions) -> AsyncIterator[int]:
    """A Session whose client reads nothing and sends `message` until it is held back; yields how often it did."""
    _, other = await exchange.stubs.register()
    sent = 0

    async def flood() -> AsyncIterator[v1.Instructions]:
        nonlocal sent
        while True:
            sent += 1
            yield message

    stream = exchange.stubs.orders.Session(flood(), metadata=key)
    await stream.initial_metadata()  # it has begun: the first Results are on their way
    seen = -1
    while seen != sent:  # until the flood has come to a stop: without a bound it never does
        seen = sent
        for _ in range(20):  # the others are not held back
            answer = await exchange.stubs.orders.SubmitOrder(order(), metadata=other)
            await exchange.stubs.orders.CancelOrder(v1.CancelRequest(order_id=answer.order_id), metadata=other)
    yield sent
    stream.cancel()


async def test_a_session_whose_reader_stops_is_held_back_and_the_others_are_not(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    book = v1.Instruction(get_order_book=v1.GetOrderBookRequest(instrument_id=CALL, depth=100))
    async with flooded(exchange, key, v1.Instructions(instructions=[book] * 100)) as sent:
        assert sent < 5_000


async def test_a_session_whose_reader_stops_holds_few_bytes_of_results(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    unknown = v1.Instruction(get_order_book=v1.GetOrderBookRequest(instrument_id="N" * 128))
    message = v1.Instructions(instructions=[unknown] * INSTRUCTIONS_LIMIT)
    (results,) = await talk(exchange, key, list(message.instructions))
    async with flooded(exchange, key, message):
        gc.collect()  # the window of the session before
        (window,) = (thing for thing in gc.get_objects() if isinstance(thing, Window))
        assert SESSION_BYTES <= window.size < SESSION_BYTES + results.ByteSize()


@pytest.mark.parametrize("times", [1, 1_000])
async def test_what_waits_for_its_results_keeps_nothing_of_the_message(exchange: Venue, times: int) -> None:
    account, _ = await exchange.stubs.register()
    gateway = exchange.gateway
    entry = OrderEntry(gateway.streams.access, gateway.sequencer, gateway.streams)
    kinds = [
        v1.Instruction(submit=order(client_order_id="A")),
        v1.Instruction(submit=order(post_only=True)),
        v1.Instruction(get_order_book=v1.GetOrderBookRequest(instrument_id="NOPE")),
    ]
    message = v1.Instructions(instructions=kinds * times)
    instructions = list(message.instructions)
    before = [sys.getrefcount(instruction) for instruction in instructions]
    batch = entry.batch(account, message)
    assert [sys.getrefcount(instruction) for instruction in instructions] == before
    await batch.done
