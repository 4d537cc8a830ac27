"""How often one may ask: buckets of tokens, and an account that is held to its rates while others notice nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from engine.instrument import RateLimit
from gateway.limits import TokenBuckets
from gateway.refusals import Refused
from outcry import AsyncClient, Client, RateLimited, models, v1
from outcry.channels import rate_limits
from tests.gateway.test_order_entry import CALL, order
from tests.gateway.test_sequencer import rejects
from tests.venues import Venue, venue

CODE = grpc.StatusCode
SECOND_NS = 1_000_000_000
Key = list[tuple[str, str]]
Take = Callable[[str, int], Any]


def bucket(limit: int, window_s: int = 60, kept: int = 10) -> tuple[TokenBuckets, Take]:
    buckets, rate = TokenBuckets(kept), RateLimit(limit, window_s)
    return buckets, lambda owner, now_ns: buckets.take(owner, "things", rate, now_ns, "Too many things")


def refusal(call: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as refused:
        call()
    return refused.value


# Buckets


def test_a_bucket_gives_its_limit_at_once_and_no_more_and_each_owner_has_his_own() -> None:
    _, take = bucket(600)
    for _ in range(600):
        take("a", 5)
    refused = refusal(lambda: take("a", 5))
    assert refused.reason == v1.RATE_LIMIT_EXCEEDED
    assert refused.details == {"limit": 600, "window": 60, "retry_after": 1}
    take("b", 5)


def test_a_bucket_fills_steadily_and_never_over() -> None:
    _, take = bucket(6)
    for _ in range(6):
        take("a", 0)
    assert refusal(lambda: take("a", 1)).details["retry_after"] == 10
    assert refusal(lambda: take("a", 9 * SECOND_NS)).details["retry_after"] == 1
    take("a", 10 * SECOND_NS)
    assert refusal(lambda: take("a", 10 * SECOND_NS)).details["retry_after"] == 10
    for _ in range(6):
        take("a", 1_000 * SECOND_NS)
    assert refusal(lambda: take("a", 1_000 * SECOND_NS)).details["retry_after"] == 10


def test_a_refusal_takes_no_token() -> None:
    _, take = bucket(1)
    take("a", 0)
    for second in range(1, 60):
        assert refusal(partial(take, "a", second * SECOND_NS)).details["retry_after"] == 60 - second
    take("a", 60 * SECOND_NS)


def test_the_buckets_that_are_remembered_are_bounded_and_the_idle_go_first() -> None:
    buckets, take = bucket(2, kept=3)
    for owner in ("a", "b", "c", "a", "d"):
        take(owner, 0)
    assert [owner for owner, _ in buckets.full_at_ns] == ["c", "a", "d"]
    assert refusal(lambda: take("a", 1)).reason == v1.RATE_LIMIT_EXCEEDED


def test_another_rate_begins_with_a_full_bucket() -> None:
    buckets, slow, quick = TokenBuckets(2), RateLimit(1, 3_600), RateLimit(10, 1)
    buckets.take("a", "things", slow, 0, "")
    for _ in range(10):
        buckets.take("a", "things", quick, 0, "")
    assert refusal(lambda: buckets.take("a", "things", quick, 0, "")).details["retry_after"] == 1


def test_what_is_left_is_said_in_the_header_fields_of_the_ietf_s_draft() -> None:
    _, take = bucket(3)
    said = [dict(take("a", now * SECOND_NS)) for now in (0, 0, 10)]
    assert {fields["ratelimit-policy"] for fields in said} == {'"things";q=3;w=60'}
    assert [fields["ratelimit"] for fields in said] == ['"things";r=2;t=20', '"things";r=1;t=40', '"things";r=0;t=50']
    refused = dict(refusal(lambda: take("a", 11 * SECOND_NS)).fields)
    assert refused == {"ratelimit-policy": '"things";q=3;w=60', "ratelimit": '"things";r=0;t=9'}


# Accounts


class Clock:
    """The time of an exchange's buckets: it passes when the test says so."""

    def __init__(self, exchange: Venue) -> None:
        self.now_ns = 1_000 * SECOND_NS
        exchange.gateway.streams.access.limits.monotonic = lambda: self.now_ns

    def pass_time(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND_NS)


@pytest.fixture
def clock(exchange: Venue) -> Clock:
    return Clock(exchange)


async def limited(exchange: Venue, name: str = "limited", **rates: tuple[int, int]) -> Key:
    """An account that is held to rates: how many, and in how many seconds."""
    wanted = {field: v1.RateLimit(limit=limit, window_s=window_s) for field, (limit, window_s) in rates.items()}
    operations, by = exchange.stubs.operations, exchange.operator
    await operations.PutRiskProfile(v1.PutRiskProfileRequest(name=name, **wanted), metadata=by)
    made = await operations.PutAccount(v1.PutAccountRequest(name=name, risk_profile=name), metadata=by)
    return [("x-api-key", made.api_key)]


async def too_many(call: grpc.aio.UnaryUnaryCall) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert refused.value.code() == CODE.RESOURCE_EXHAUSTED
    (reject,) = rejects(refused.value)
    assert reject.reason == v1.RATE_LIMIT_EXCEEDED
    return refused.value


def retry_s(error: grpc.aio.AioRpcError) -> int:
    """After how many seconds google.rpc.RetryInfo says to come back."""
    status, retry = rpc_status.from_call(error), error_details_pb2.RetryInfo()
    assert status is not None
    assert any(detail.Unpack(retry) for detail in status.details)
    return int(retry.retry_delay.seconds)


async def test_experiment_23_one_key_at_ten_times_its_limit_is_refused_with_a_time_to_come_back_and_others_are_not(
    exchange: Venue, clock: Clock
) -> None:
    greedy = await limited(exchange, order_rate=(10, 1))
    _, other = await exchange.stubs.register()
    submit, served = exchange.stubs.orders.SubmitOrder, 0
    for _ in range(3):
        before = exchange.gateway.sequencer.seq
        calls = [submit(order(quantity=1, price=1), metadata=greedy) for _ in range(100)]
        theirs = [submit(order(quantity=1, price=1), metadata=other) for _ in range(10)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        served += len(answers) - len(refused)
        assert [answer.status for answer in await asyncio.gather(*theirs)] == [v1.ORDER_STATUS_NEW] * 10
        assert {(error.code(), rejects(error)[0].reason) for error in refused} == {
            (CODE.RESOURCE_EXHAUSTED, v1.RATE_LIMIT_EXCEEDED)
        }
        assert {retry_s(error) for error in refused} == {1}
        assert exchange.gateway.sequencer.seq == before + 20  # what is refused has no number
        clock.pass_time(1)
    listing = await exchange.stubs.accounts.ListOrders(v1.ListOrdersRequest(), metadata=greedy)
    assert (served, len(listing.orders), listing.seq) == (30, 30, 30)  # and is no event


async def test_orders_cancels_and_queries_have_buckets_of_their_own(exchange: Venue, clock: Clock) -> None:
    key = await limited(exchange, order_rate=(3, 60), cancel_rate=(3, 60), query_rate=(3, 60))
    orders, accounts = exchange.stubs.orders, exchange.stubs.accounts
    placed = await orders.SubmitOrder(order(quantity=2), metadata=key)
    await orders.ReplaceOrder(v1.ReplaceRequest(order_id=placed.order_id, quantity=10**9), metadata=key)
    await orders.SubmitOrder(order(quantity=1), metadata=key)
    await too_many(orders.SubmitOrder(order(), metadata=key))
    await too_many(orders.ReplaceOrder(v1.ReplaceRequest(order_id=placed.order_id, quantity=1), metadata=key))
    assert (await orders.CancelOrder(v1.CancelRequest(order_id=placed.order_id), metadata=key)).journal_seq
    assert (await orders.CancelAll(v1.CancelAllRequest(), metadata=key)).order_ids
    await orders.CancelAll(v1.CancelAllRequest(), metadata=key)
    await too_many(orders.CancelOrder(v1.CancelRequest(order_id=1), metadata=key))
    await too_many(orders.CancelAll(v1.CancelAllRequest(), metadata=key))
    questions = [
        lambda: orders.ValidateOrder(order(), metadata=key),
        lambda: accounts.GetOrder(v1.GetOrderRequest(order_id=placed.order_id), metadata=key),
        lambda: accounts.ListOrders(v1.ListOrdersRequest(), metadata=key),
        lambda: accounts.GetPositions(v1.GetPositionsRequest(), metadata=key),
        lambda: accounts.GetBalances(v1.GetBalancesRequest(), metadata=key),
    ]
    for ask in questions[:3]:
        await ask()
    for ask in questions:
        await too_many(ask())


async def test_the_instructions_of_a_session_count_one_each_and_the_stream_survives(
    exchange: Venue, clock: Clock
) -> None:
    key = await limited(exchange, order_rate=(2, 1), cancel_rate=(1, 1), query_rate=(1, 1))
    submit = v1.Instruction(submit=order(quantity=1, price=1))
    cancel_all = v1.Instruction(cancel_all=v1.CancelAllRequest())
    book = v1.Instruction(get_order_book=v1.GetOrderBookRequest(instrument_id=CALL))
    message = v1.Instructions(instructions=[submit, submit, submit, cancel_all, cancel_all, book, book])
    call = exchange.stubs.orders.Session(metadata=key)
    for _ in range(2):
        await call.write(message)
        results = (await call.read()).results
        refused = [results[2].order.reject, results[4].cancel_all.reject, results[6].reject]
        assert [reject.reason for reject in refused] == [v1.RATE_LIMIT_EXCEEDED] * 3
        assert [reject.details["retry_after"].count for reject in refused] == [1] * 3
        assert [results[at].order.status for at in (0, 1)] == [v1.ORDER_STATUS_NEW] * 2
        assert len(results[3].cancel_all.order_ids) == 2
        assert results[5].order_book.instrument_id == CALL
        clock.pass_time(1)
    call.cancel()


async def test_who_is_held_to_a_limit_is_told_what_is_left_with_every_answer_and_nobody_else_is(
    exchange: Venue, clock: Clock
) -> None:
    key = await limited(exchange, order_rate=(2, 10))
    _, other = await exchange.stubs.register()

    async def said(call: grpc.aio.UnaryUnaryCall) -> dict[str, str]:
        try:
            await call
        except grpc.aio.AioRpcError as refused:
            return rate_limits(refused.trailing_metadata())
        return rate_limits(await call.trailing_metadata())

    submit = exchange.stubs.orders.SubmitOrder
    told = [await said(submit(order(quantity=1), metadata=key)) for _ in range(3)]
    assert [fields["ratelimit"] for fields in told] == ['"orders";r=1;t=5', '"orders";r=0;t=10', '"orders";r=0;t=5']
    assert {fields["ratelimit-policy"] for fields in told} == {'"orders";q=2;w=10'}
    assert await said(submit(order(quantity=1), metadata=other)) == {}
    assert await said(exchange.stubs.accounts.GetBalances(v1.GetBalancesRequest(), metadata=key)) == {}


async def test_who_registers_is_told_how_often_the_address_may(tmp_path: Path) -> None:
    async with venue(tmp_path / "data", registrations_per_minute=2) as running:
        call = running.stubs.accounts.Register(v1.RegisterRequest(team_name="A"))
        await call
        assert rate_limits(await call.trailing_metadata()) == {
            "ratelimit-policy": '"registrations";q=2;w=60',
            "ratelimit": '"registrations";r=1;t=30',
        }


async def test_an_operator_s_change_of_the_rates_holds_from_then_on(exchange: Venue, clock: Clock) -> None:
    key = await limited(exchange, order_rate=(1, 60))
    submit = exchange.stubs.orders.SubmitOrder
    await submit(order(quantity=1), metadata=key)
    await too_many(submit(order(quantity=1), metadata=key))
    free = v1.PutRiskProfileRequest(name="limited")
    await exchange.stubs.operations.PutRiskProfile(free, metadata=exchange.operator)
    for _ in range(3):
        assert (await submit(order(quantity=1), metadata=key)).order_id


@pytest.mark.parametrize("rate", [(0, 1), (-1, 1), (1, 0), (1, -1), (1_000_001, 1), (1, 86_401)])
async def test_a_rate_that_is_none_is_refused(exchange: Venue, rate: tuple[int, int]) -> None:
    before = await exchange.digest()
    wanted = v1.PutRiskProfileRequest(name="odd", order_rate=v1.RateLimit(limit=rate[0], window_s=rate[1]))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await exchange.stubs.operations.PutRiskProfile(wanted, metadata=exchange.operator)
    assert refused.value.code() == CODE.INVALID_ARGUMENT
    assert await exchange.digest() == before


VENUE = """
[fee_schedules.standard]
maker = 0
taker = 0
[risk_profiles.slow]
cancel_rate = { limit = 1, window_s = 3600 }
[roles.trader]
fee_schedule = "standard"
risk_profile = "slow"
[roles.operator]
fee_schedule = "standard"
risk_profile = "slow"
open_to_registration = false
[accounts.operator]
role = "operator"
key = "operator"
"""


async def test_the_venue_s_file_gives_a_role_its_rates_and_a_restart_keeps_them(tmp_path: Path) -> None:
    file = tmp_path / "venue.toml"
    file.write_text(VENUE)
    for _ in range(2):
        async with venue(tmp_path / "data", venue=file) as running:
            _, key = await running.stubs.register()
            cancel = partial(running.stubs.orders.CancelAll, v1.CancelAllRequest(), metadata=key)
            await cancel()
            await too_many(cancel())


async def test_the_clients_raise_rate_limited_and_know_what_is_left(exchange: Venue, clock: Clock) -> None:
    (_, operator_key), *_ = exchange.operator
    async with AsyncClient(exchange.address, operator_key) as operator:
        await operator.put_risk_profile("few", query_rate=models.RateLimit(1, 30))
        made = await operator.put_account("few", risk_profile="few")
        client = operator.with_key(made.api_key)
        await client.positions()
        assert client.rate_limits == {"ratelimit-policy": '"queries";q=1;w=30', "ratelimit": '"queries";r=0;t=30'}
        with pytest.raises(RateLimited) as refused:
            await client.balances()
        assert refused.value.details == {"limit": 1, "window": 30, "retry_after": 30}
        assert operator.rate_limits == {}
    clock.pass_time(30)
    with Client(exchange.address, made.api_key) as plain:
        await asyncio.to_thread(plain.positions)
        assert plain.rate_limits["ratelimit"] == '"queries";r=0;t=30'
        with pytest.raises(RateLimited):
            await asyncio.to_thread(plain.positions)
