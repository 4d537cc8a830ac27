"""Keys are rotated by their owners and revoked by operators, effective at once: for calls and for streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from outcry import v1
from tests.gateway.test_accounts import refusal
from tests.gateway.test_order_entry import order
from tests.gateway.test_sequencer import StalledDisk
from tests.gateway.test_streams import market_data, session
from tests.venues import Stubs, Venue, until, venue

CODE = grpc.StatusCode
Key = list[tuple[str, str]]


def keyed(key: str) -> Key:
    return [("x-api-key", key)]


def in_file(exchange: Venue, name: str) -> Key:
    """What the key in a file of the venue speaks as."""
    return keyed((exchange.data / "keys" / f"{name}.key").read_text().strip())


async def rotate(exchange: Venue, key: Key) -> Key:
    """Give an account another key; what speaks for it from now on."""
    answer = await exchange.stubs.accounts.RotateKey(v1.RotateKeyRequest(), metadata=key)
    return keyed(answer.api_key)


async def revoke(exchange: Venue, by: Key | None = None, **request: Any) -> v1.RevokeKeyResponse:
    by = exchange.operator if by is None else by
    return await exchange.stubs.operations.RevokeKey(v1.RevokeKeyRequest(**request), metadata=by)


def balances(exchange: Venue, key: Key) -> grpc.aio.UnaryUnaryCall:
    return exchange.stubs.accounts.GetBalances(v1.GetBalancesRequest(), metadata=key)


def feed(channel: grpc.aio.Channel, key: Key) -> Any:
    return Stubs(channel).feed.StreamExecutions(v1.StreamExecutionsRequest(), metadata=key)


async def ending(call: Any) -> grpc.StatusCode:
    """How a stream that was served ends, however many messages come before."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as ended:
        return ended.code()
    return CODE.OK


async def test_a_rotated_key_is_another_for_the_same_account_and_the_old_one_is_unknown_at_once(
    exchange: Venue,
) -> None:
    account, old = await exchange.stubs.register()
    answer = await exchange.stubs.accounts.RotateKey(v1.RotateKeyRequest(), metadata=old)
    assert await refusal(balances(exchange, old)) == CODE.UNAUTHENTICATED
    assert await refusal(exchange.stubs.orders.SubmitOrder(order(), metadata=old)) == CODE.UNAUTHENTICATED
    assert answer.account_id == account
    assert answer.journal_seq == exchange.gateway.sequencer.seq
    placed = await exchange.stubs.orders.SubmitOrder(order(), metadata=keyed(answer.api_key))
    assert placed.status == v1.ORDER_STATUS_NEW


async def test_a_revoked_account_has_no_key_until_an_operator_gives_it_another(exchange: Venue) -> None:
    account, key = await exchange.stubs.register()
    placed = await exchange.stubs.orders.SubmitOrder(order(), metadata=key)
    revoked = await revoke(exchange, account_id=account)
    assert (revoked.account_id, revoked.api_key) == (account, "")
    assert await refusal(balances(exchange, key)) == CODE.UNAUTHENTICATED
    assert await refusal(exchange.stubs.accounts.RotateKey(v1.RotateKeyRequest(), metadata=key)) == CODE.UNAUTHENTICATED
    given = await revoke(exchange, account_id=account, new_key=True)
    listing = await exchange.stubs.accounts.ListOrders(v1.ListOrdersRequest(), metadata=keyed(given.api_key))
    assert [o.order_id for o in listing.orders] == [placed.order_id]


@pytest.mark.parametrize("open_", [feed, market_data, session])
@pytest.mark.parametrize("end", [rotate, revoke])
async def test_the_streams_that_a_key_opened_end_with_it_and_no_others_do(
    exchange: Venue, open_: Callable[..., Any], end: Callable[..., Any]
) -> None:
    account, key = await exchange.stubs.register()
    _, other = await exchange.stubs.register()
    mine, theirs = open_(exchange.channel, key), open_(exchange.channel, other)
    for call in (mine, theirs):
        await call.read()
    if end is rotate:
        await rotate(exchange, key)
    else:
        await revoke(exchange, account_id=account)
    assert await ending(mine.call if open_ is session else mine) == CODE.UNAUTHENTICATED
    assert [stream.ending for stream in exchange.gateway.streams.served.values()] == [None]
    theirs.cancel()


async def test_a_new_key_from_an_operator_ends_the_old_one_s_streams(exchange: Venue) -> None:
    operations, request = exchange.stubs.operations, v1.PutAccountRequest(name="desk", new_key=True)
    first = await operations.PutAccount(request, metadata=exchange.operator)
    call = feed(exchange.channel, keyed(first.api_key))
    await call.read()
    await operations.PutAccount(v1.PutAccountRequest(name="desk", role="retail"), metadata=exchange.operator)
    assert [stream.ending for stream in exchange.gateway.streams.served.values()] == [None]
    await operations.PutAccount(request, metadata=exchange.operator)
    assert await ending(call) == CODE.UNAUTHENTICATED


async def test_a_stream_of_the_new_key_outlives_the_change(exchange: Venue) -> None:
    _, key = await exchange.stubs.register()
    call = feed(exchange.channel, await rotate(exchange, key))
    await call.read()
    exchange.gateway.streams.end_keyless()
    assert [stream.ending for stream in exchange.gateway.streams.served.values()] == [None]
    call.cancel()


async def test_a_rotation_is_carried_through_when_its_caller_has_gone(tmp_path: Path) -> None:
    disk = StalledDisk()
    async with venue(tmp_path / "data", durability="fsync", disk=disk) as synced:
        demo = in_file(synced, "demo")
        call = feed(synced.channel, demo)
        await call.read()
        disk.stall()
        asked = synced.stubs.accounts.RotateKey(v1.RotateKeyRequest(), metadata=demo)
        await disk.reached()
        asked.cancel()
        disk.free.set()
        assert await ending(call) == CODE.UNAUTHENTICATED
        await until(lambda: in_file(synced, "demo") != demo)
        kept = in_file(synced, "demo")
        assert await balances(synced, kept)


async def test_only_an_operator_revokes_and_never_his_own_key(exchange: Venue) -> None:
    account, key = await exchange.stubs.register()
    before = await exchange.digest()
    assert await refusal(revoke(exchange, key, account_id=account)) == CODE.PERMISSION_DENIED
    assert await refusal(revoke(exchange, name="operator")) == CODE.INVALID_ARGUMENT
    assert await refusal(revoke(exchange)) == CODE.NOT_FOUND
    assert await refusal(revoke(exchange, account_id=0)) == CODE.NOT_FOUND
    assert await refusal(revoke(exchange, account_id=999)) == CODE.NOT_FOUND
    assert await refusal(revoke(exchange, name="nobody")) == CODE.NOT_FOUND
    assert await exchange.digest() == before
    assert await balances(exchange, key)


async def test_the_venue_s_own_accounts_keep_across_a_restart_what_their_owners_and_operators_did(
    tmp_path: Path,
) -> None:
    async with venue(tmp_path / "data") as first:
        demo, maker = in_file(first, "demo"), in_file(first, "demo-maker")
        fresh = await rotate(first, demo)
        await revoke(first, name="demo-maker")
    async with venue(tmp_path / "data") as second:
        assert in_file(second, "demo") == fresh
        assert await balances(second, fresh)
        assert await refusal(balances(second, demo)) == CODE.UNAUTHENTICATED
        assert await refusal(balances(second, maker)) == CODE.UNAUTHENTICATED
        given = await revoke(second, name="demo-maker", new_key=True)
    async with venue(tmp_path / "data") as third:
        assert await balances(third, keyed(given.api_key))


async def test_an_account_that_only_shares_a_name_with_the_venue_s_own_does_not_touch_its_file(exchange: Venue) -> None:
    _, key = await exchange.stubs.register("operator")
    await rotate(exchange, key)
    assert in_file(exchange, "operator") == exchange.operator
    assert await exchange.digest()


async def test_a_session_that_is_ended_leaves_what_it_sequenced(exchange: Venue) -> None:
    account, key = await exchange.stubs.register()

    async def requests() -> AsyncIterator[v1.Instructions]:
        yield v1.Instructions(instructions=[v1.Instruction(submit=order(quantity=1, client_order_id="A"))])
        await asyncio.Event().wait()

    call = exchange.stubs.orders.Session(requests(), metadata=key)
    await call.read()
    given = await revoke(exchange, account_id=account, new_key=True)
    assert await ending(call) == CODE.UNAUTHENTICATED
    ask = v1.GetOrderRequest(client_order_id="A")
    found = await exchange.stubs.accounts.GetOrder(ask, metadata=keyed(given.api_key))
    assert found.status == v1.ORDER_STATUS_NEW
