"""Registration, keys, what an account sees of itself, and what operators may, over a real socket."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest

from outcry import v1
from tests.gateway.test_order_entry import AAPL, CALL, UNIT, order
from tests.venues import Venue, venue

CODE = grpc.StatusCode


async def refusal(call: grpc.aio.UnaryUnaryCall) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code()


async def test_a_new_account_opens_with_the_venue_s_balances(exchange: Venue) -> None:
    _, key = await exchange.stubs.register("Alpha")
    balances = await exchange.stubs.accounts.GetBalances(v1.GetBalancesRequest(), metadata=key)
    assert {b.asset: b.total // UNIT for b in balances.balances} == {
        "AAPL": 1_000,
        "BTC": 10,
        "USD": 1_000_000,
        "USDT": 1_000_000,
    }


async def test_no_role_means_trader_and_names_need_not_be_unique(exchange: Venue) -> None:
    request = v1.RegisterRequest(team_name="Alpha")
    first, second = [await exchange.stubs.accounts.Register(request) for _ in range(2)]
    assert (first.role, first.team_name) == ("trader", "Alpha")
    assert second.account_id == first.account_id + 1
    assert first.api_key != second.api_key


@pytest.mark.parametrize("bad", [{"team_name": ""}, {"team_name": "x" * 65}, {"team_name": "a\nb"}, {"role": "king"}])
async def test_a_registration_that_does_not_fit_is_refused(exchange: Venue, bad: dict[str, str]) -> None:
    before = await exchange.digest()
    request = v1.RegisterRequest(**{"team_name": "Alpha", **bad})
    assert await refusal(exchange.stubs.accounts.Register(request)) == CODE.INVALID_ARGUMENT
    assert await exchange.digest() == before


async def test_nobody_registers_as_an_operator(exchange: Venue) -> None:
    request = v1.RegisterRequest(team_name="Alpha", role="operator")
    assert await refusal(exchange.stubs.accounts.Register(request)) in (CODE.PERMISSION_DENIED, CODE.INVALID_ARGUMENT)


async def test_closed_registration_admits_nobody(tmp_path: Path) -> None:
    async with venue(tmp_path / "data", registration="closed") as closed:
        request = v1.RegisterRequest(team_name="Alpha")
        assert await refusal(closed.stubs.accounts.Register(request)) == CODE.PERMISSION_DENIED


async def test_an_invite_admits_one_registration(tmp_path: Path) -> None:
    async with venue(tmp_path / "data", registration="invite") as exclusive:
        operations, accounts = exclusive.stubs.operations, exclusive.stubs.accounts
        made = await operations.CreateInvite(v1.CreateInviteRequest(), metadata=exclusive.operator)
        assert await refusal(accounts.Register(v1.RegisterRequest(team_name="A"))) == CODE.PERMISSION_DENIED
        request = v1.RegisterRequest(team_name="A", invite=made.invite)
        assert (await accounts.Register(request)).account_id
        assert await refusal(accounts.Register(request)) == CODE.PERMISSION_DENIED


async def test_registrations_from_one_address_are_limited(tmp_path: Path) -> None:
    async with venue(tmp_path / "data", registrations_per_minute=2) as limited:
        for _ in range(2):
            await limited.stubs.register()
        request = v1.RegisterRequest(team_name="Alpha")
        assert await refusal(limited.stubs.accounts.Register(request)) == CODE.RESOURCE_EXHAUSTED
        service = (limited.data / "keys" / "bridge.key").read_text().strip()
        forwarded = [("x-service-key", service), ("x-forwarded-for", "203.0.113.9")]
        assert (await limited.stubs.accounts.Register(request, metadata=forwarded)).account_id
        forged = [("x-service-key", "guess"), ("x-forwarded-for", "203.0.113.10")]
        assert await refusal(limited.stubs.accounts.Register(request, metadata=forged)) == CODE.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("metadata", [[], [("x-api-key", "wrong" * 10)], [("authorization", "Bearer " + "x" * 40)]])
async def test_without_a_valid_key_nothing_is_done(exchange: Venue, metadata: list[tuple[str, str]]) -> None:
    accounts, orders = exchange.stubs.accounts, exchange.stubs.orders
    calls = [
        orders.SubmitOrder(order(), metadata=metadata),
        orders.CancelOrder(v1.CancelRequest(order_id=1), metadata=metadata),
        orders.ReplaceOrder(v1.ReplaceRequest(order_id=1, quantity=UNIT), metadata=metadata),
        orders.CancelAll(v1.CancelAllRequest(), metadata=metadata),
        orders.ValidateOrder(order(), metadata=metadata),
        accounts.GetOrder(v1.GetOrderRequest(order_id=1), metadata=metadata),
        accounts.ListOrders(v1.ListOrdersRequest(), metadata=metadata),
        accounts.GetPositions(v1.GetPositionsRequest(), metadata=metadata),
        accounts.GetBalances(v1.GetBalancesRequest(), metadata=metadata),
        exchange.stubs.operations.GetStateDigest(v1.GetStateDigestRequest(), metadata=metadata),
    ]
    assert {await refusal(call) for call in calls} == {CODE.UNAUTHENTICATED}


async def test_operations_need_an_operator_s_key(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    operations = exchange.stubs.operations
    calls = [
        operations.PutInstrument(v1.PutInstrumentRequest(), metadata=key),
        operations.PutAccount(v1.PutAccountRequest(name="A"), metadata=key),
        operations.PutRiskProfile(v1.PutRiskProfileRequest(name="A"), metadata=key),
        operations.CreateInvite(v1.CreateInviteRequest(), metadata=key),
        operations.GetStateDigest(v1.GetStateDigestRequest(), metadata=key),
    ]
    assert {await refusal(call) for call in calls} == {CODE.PERMISSION_DENIED}


async def test_an_operator_makes_an_instrument_and_an_account_without_a_position_limit(exchange: Venue) -> None:
    operations, by = exchange.stubs.operations, exchange.operator
    listing = v1.Instrument(
        instrument_id="GOOG", tick_size=100_000, lot_size=UNIT, quote_asset="USD", position_limit=5 * UNIT
    )
    await operations.PutInstrument(v1.PutInstrumentRequest(instrument=listing), metadata=by)
    await operations.PutRiskProfile(v1.PutRiskProfileRequest(name="free", no_position_limit=True), metadata=by)
    made = await operations.PutAccount(v1.PutAccountRequest(name="whale", risk_profile="free"), metadata=by)
    free, (_, bound) = [("x-api-key", made.api_key)], await exchange.stubs.register()
    big = order(instrument_id="GOOG", quantity=6)
    assert (await exchange.stubs.orders.SubmitOrder(big, metadata=free)).status == v1.ORDER_STATUS_NEW
    refused = await exchange.stubs.orders.SubmitOrder(big, metadata=bound)
    assert refused.reject.reason == v1.POSITION_LIMIT_EXCEEDED


@pytest.mark.parametrize(
    "bad", [{"tick_size": 0}, {"lot_size": -1}, {"instrument_id": ""}, {"tick_size": 1, "lot_size": 1}]
)
async def test_an_instrument_whose_prices_cannot_be_exact_is_refused(exchange: Venue, bad: dict[str, object]) -> None:
    listing = {"instrument_id": "X", "tick_size": 100_000, "lot_size": UNIT, "quote_asset": "USD", **bad}
    request = v1.PutInstrumentRequest(instrument=v1.Instrument(**listing))
    call = exchange.stubs.operations.PutInstrument(request, metadata=exchange.operator)
    assert await refusal(call) == CODE.INVALID_ARGUMENT


async def test_an_account_s_new_key_ends_the_old_one(exchange: Venue) -> None:
    operations, by = exchange.stubs.operations, exchange.operator
    first = await operations.PutAccount(v1.PutAccountRequest(name="desk"), metadata=by)
    same = await operations.PutAccount(v1.PutAccountRequest(name="desk"), metadata=by)
    second = await operations.PutAccount(v1.PutAccountRequest(name="desk", new_key=True), metadata=by)
    assert (same.account_id, same.api_key, second.account_id) == (first.account_id, "", first.account_id)
    ask = exchange.stubs.accounts.GetBalances
    assert await refusal(ask(v1.GetBalancesRequest(), metadata=[("x-api-key", first.api_key)])) == CODE.UNAUTHENTICATED
    assert await ask(v1.GetBalancesRequest(), metadata=[("x-api-key", second.api_key)])


async def test_what_open_orders_need_is_reserved_and_released(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()

    async def usd() -> tuple[int, int]:
        balances = await exchange.stubs.accounts.GetBalances(v1.GetBalancesRequest(), metadata=key)
        (found,) = [b for b in balances.balances if b.asset == "USD"]
        return found.reserved // UNIT, found.available // UNIT

    placed = await exchange.stubs.orders.SubmitOrder(order(instrument_id=AAPL, quantity=10, price=150), metadata=key)
    assert await usd() == (1_500, 998_500)
    await exchange.stubs.orders.CancelOrder(v1.CancelRequest(order_id=placed.order_id), metadata=key)
    assert await usd() == (0, 1_000_000)


async def test_orders_are_listed_oldest_first_in_pages(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    placed = [await exchange.stubs.orders.SubmitOrder(order(quantity=1, price=p), metadata=key) for p in (3, 1, 2)]
    await exchange.stubs.orders.CancelOrder(v1.CancelRequest(order_id=placed[1].order_id), metadata=key)
    ask = exchange.stubs.accounts.ListOrders
    open_ones = await ask(v1.ListOrdersRequest(), metadata=key)
    first = await ask(v1.ListOrdersRequest(include_closed=True, limit=2), metadata=key)
    rest = await ask(
        v1.ListOrdersRequest(include_closed=True, limit=2, after_order_id=first.orders[-1].order_id), metadata=key
    )
    assert [o.order_id for o in open_ones.orders] == [placed[0].order_id, placed[2].order_id]
    assert [o.order_id for o in (*first.orders, *rest.orders)] == [p.order_id for p in placed]
    assert (first.more, rest.more) == (True, False)


async def test_positions_name_the_event_they_are_true_at(exchange: Venue) -> None:
    _, buyer = await exchange.stubs.register()
    _, seller = await exchange.stubs.register()
    await exchange.stubs.orders.SubmitOrder(order(quantity=3), metadata=buyer)
    await exchange.stubs.orders.SubmitOrder(order(v1.SIDE_SELL, 2), metadata=seller)
    positions = await exchange.stubs.accounts.GetPositions(v1.GetPositionsRequest(), metadata=buyer)
    assert positions.seq == 3
    (position,) = positions.positions
    assert (position.instrument_id, position.position, position.open_buy_quantity) == (CALL, 2 * UNIT, UNIT)


async def test_a_new_key_leaves_an_operator_an_operator_and_outlives_a_restart(tmp_path: Path) -> None:
    async with venue(tmp_path / "data") as first:
        request = v1.PutAccountRequest(name="operator", new_key=True)
        made = await first.stubs.operations.PutAccount(request, metadata=first.operator)
        old, fresh = first.operator, [("x-api-key", made.api_key)]
        ask = first.stubs.operations.GetStateDigest
        assert (await ask(v1.GetStateDigestRequest(), metadata=fresh)).digest
        assert await refusal(ask(v1.GetStateDigestRequest(), metadata=old)) == CODE.UNAUTHENTICATED
    async with venue(tmp_path / "data") as second:
        assert second.operator == fresh
        ask = second.stubs.operations.GetStateDigest
        assert (await ask(v1.GetStateDigestRequest(), metadata=fresh)).digest
        assert await refusal(ask(v1.GetStateDigestRequest(), metadata=old)) == CODE.UNAUTHENTICATED


async def test_a_new_key_that_the_disk_does_not_take_is_not_told(
    exchange: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    request = v1.PutAccountRequest(name="operator", new_key=True)
    call = exchange.stubs.operations.PutAccount(request, metadata=exchange.operator)
    assert await refusal(call) == CODE.INTERNAL
