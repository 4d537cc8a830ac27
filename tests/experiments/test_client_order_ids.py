"""What a client order id stands for: one content, on every way, among the open orders and the last closed ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from gateway.codec import NOT_BUILT_YET
from gateway.venue import BUILT_IN
from outcry import AsyncClient, NotFound, v1
from rest_bridge.bodies import SUBMISSION
from tests.experiments.exchanges import HANG_S, UNIT, WAYS, Answer, Exchange, feed, metadata, of_response, of_result
from tests.venues import Stubs

NO_CONTENT = {"client_order_id", "attempt", "channel", "valid_until_ns"}
NO_CONTENT_OF_JSON = {"client_order_id", "request_id"}
FAR_NS = 4 * 10**18
ORDER: dict[str, Any] = {
    "instrument_id": "AAPL",
    "side": v1.SIDE_BUY,
    "order_type": v1.ORDER_TYPE_LIMIT,
    "time_in_force": v1.TIME_IN_FORCE_GTD,
    "quantity": 2 * UNIT,
    "price": 100 * UNIT,
    "expires_at_ns": FAR_NS,
}
OTHER: dict[str, Any] = {
    "instrument_id": "SPX_4500_CALL",
    "side": v1.SIDE_SELL,
    "order_type": v1.ORDER_TYPE_MARKET,
    "time_in_force": v1.TIME_IN_FORCE_GTC,
    "quantity": UNIT,
    "price": 101 * UNIT,
    "expires_at_ns": FAR_NS + 1,
}
BODY: dict[str, Any] = {
    "instrument_id": "AAPL",
    "side": "buy",
    "order_type": "limit",
    "time_in_force": "gtd",
    "quantity": 2,
    "price": 100,
    "expires_at": "2090-01-01T00:00:00Z",
}
OTHER_BODY: dict[str, Any] = {
    "instrument_id": "SPX_4500_CALL",
    "side": "sell",
    "order_type": "market",
    "time_in_force": "gtc",
    "quantity": 1,
    "price": 101,
    "expires_at": "2091-01-01T00:00:00Z",
}
CONTENT = [field.name for field in v1.NewOrder.DESCRIPTOR.fields if field.name not in NO_CONTENT | NOT_BUILT_YET]
CONTENT_OF_JSON = sorted(set(SUBMISSION) - NO_CONTENT_OF_JSON - NOT_BUILT_YET)


async def by_grpc(exchange: Exchange, key: str, **fields: object) -> Answer:
    async with grpc.aio.insecure_channel(exchange.grpc) as channel:
        return of_result(await Stubs(channel).orders.SubmitOrder(v1.NewOrder(**fields), metadata=metadata(key)))  # type: ignore[arg-type]


async def by_rest(exchange: Exchange, key: str, path: str, body: dict[str, Any], **headers: str) -> Answer:
    async with httpx.AsyncClient(base_url=f"http://{exchange.http}", timeout=HANG_S) as client:
        return of_response(await client.post(path, json=body, headers={"X-API-Key": key, **headers}))


@pytest.mark.parametrize("field", CONTENT)
async def test_another_content_under_the_same_id_is_refused_whatever_field_it_differs_in(
    exchange: Exchange, field: str
) -> None:
    key = exchange.register()
    first = await by_grpc(exchange, key, **ORDER, client_order_id="mine")
    other = await by_grpc(exchange, key, **{**ORDER, field: OTHER[field]}, client_order_id="mine")
    assert (first.code, other.code) == ("", "DUPLICATE_CLIENT_ORDER_ID")


@pytest.mark.parametrize("path", ["/exchange/orders", "/orders"])
@pytest.mark.parametrize("way", ["body", "header"])
@pytest.mark.parametrize("field", CONTENT_OF_JSON)
async def test_another_body_under_the_same_id_is_refused_whatever_field_it_differs_in(
    exchange: Exchange, field: str, path: str, way: str
) -> None:
    key = exchange.register()
    name = {"client_order_id": "mine"} if way == "body" else {}
    headers = {"Idempotency-Key": "mine"} if way == "header" else {}
    first = await by_rest(exchange, key, path, {**BODY, **name}, **headers)
    other = await by_rest(exchange, key, path, {**BODY, field: OTHER_BODY[field], **name}, **headers)
    assert (first.code, other.code) == ("", "DUPLICATE_CLIENT_ORDER_ID")


@pytest.mark.parametrize("first", WAYS)
@pytest.mark.parametrize("again", WAYS)
async def test_another_content_is_refused_on_whichever_way_it_comes(exchange: Exchange, first: str, again: str) -> None:
    key = exchange.register()
    order = {"instrument_id": "AAPL", "side": "buy", "quantity": 1, "price": 100}
    address = {way: exchange.grpc if way in ("unary", "session") else exchange.http for way in WAYS}
    assert (await WAYS[first](address[first], key, order, "mine")).code == ""
    refused = await WAYS[again](address[again], key, {**order, "quantity": 2}, "mine")
    assert refused.code == "DUPLICATE_CLIENT_ORDER_ID"
    again_same = await WAYS[again](address[again], key, order, "mine")
    assert again_same.duplicate


async def test_attempt_channel_deadline_and_request_id_are_no_content(exchange: Exchange) -> None:
    key = exchange.register()
    first = await by_grpc(exchange, key, **ORDER, client_order_id="mine")
    later = {"attempt": 3, "channel": 2, "valid_until_ns": FAR_NS}
    assert set(later) == NO_CONTENT - {"client_order_id"}
    for name, value in later.items():
        again = await by_grpc(exchange, key, **ORDER, client_order_id="mine", **{name: value})
        assert (again.order_id, again.duplicate) == (first.order_id, True), name
    body = {**BODY, "client_order_id": "other"}
    first = await by_rest(exchange, key, "/exchange/orders", {**body, "request_id": "1"})
    again = await by_rest(exchange, key, "/exchange/orders", {**body, "request_id": "2"}, **{"X-Request-Id": "3"})
    assert (again.order_id, again.duplicate) == (first.order_id, True)


async def test_the_same_id_of_another_account_is_another_order(exchange: Exchange) -> None:
    answers = [await by_grpc(exchange, exchange.register(), **ORDER, client_order_id="mine") for _ in range(2)]
    assert [answer.duplicate for answer in answers] == [False, False]
    assert answers[0].order_id != answers[1].order_id


async def test_a_refused_order_does_not_use_up_its_id(exchange: Exchange) -> None:
    key = exchange.register()
    order = {**ORDER, "quantity": 1_000_000 * UNIT}
    answers = [await by_grpc(exchange, key, **order, client_order_id="mine") for _ in range(2)]
    assert [answer.code for answer in answers] == ["INSUFFICIENT_FUNDS"] * 2
    assert (await by_grpc(exchange, key, **ORDER, client_order_id="mine")).status == "new"


# How long a closed order's id is kept


def venue_that_keeps(folder: Path, closed: int) -> Path:
    built_in = BUILT_IN.read_text()
    path = folder / f"keeps{closed}.toml"
    path.write_text(built_in.replace("kept_closed_orders = 100000", f"kept_closed_orders = {closed}"))
    assert path.read_text() != built_in
    return path


@pytest.fixture(params=[3, 0])
def forgetful(request: pytest.FixtureRequest, transport: str, tmp_path: Path) -> Iterator[tuple[Exchange, int]]:
    kept: int = request.param
    running = Exchange(tmp_path, "--venue", str(venue_that_keeps(tmp_path, kept)))
    yield running, kept
    running.stop()


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
async def test_the_last_closed_ids_are_kept_and_older_ones_are_judged_anew(
    forgetful: tuple[Exchange, int], restarted: bool
) -> None:
    exchange, kept = forgetful
    key = exchange.register()
    resting = await by_grpc(exchange, key, **ORDER, client_order_id="resting")
    closing = {**ORDER, "order_type": v1.ORDER_TYPE_MARKET, "time_in_force": v1.TIME_IN_FORCE_IOC}
    del closing["price"], closing["expires_at_ns"]
    names = [f"closed {number}" for number in range(5)]
    ids = {name: (await by_grpc(exchange, key, **closing, client_order_id=name)).order_id for name in names}
    if restarted:
        await asyncio.to_thread(exchange.restart_engine)
    last = names[len(names) - kept :]
    for name in last:
        again = await by_grpc(exchange, key, **closing, client_order_id=name)
        assert (again.order_id, again.duplicate) == (ids[name], True)
    for name in names:
        if name not in last:
            anew = await by_grpc(exchange, key, **closing, client_order_id=name)
            assert not anew.duplicate
            assert anew.order_id not in ids.values()
    again = await by_grpc(exchange, key, **ORDER, client_order_id="resting")
    assert (again.order_id, again.duplicate) == (resting.order_id, True)  # an open order is never forgotten
    accepted = [report for report in await feed(exchange.grpc, key) if report.HasField("accepted")]
    assert len(accepted) == 1 + len(names) + (len(names) - kept)


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
async def test_a_forgotten_order_is_as_unknown_as_one_that_never_was(
    forgetful: tuple[Exchange, int], restarted: bool
) -> None:
    exchange, kept = forgetful
    key = exchange.register()
    fleeting = {**ORDER, "time_in_force": v1.TIME_IN_FORCE_IOC}
    del fleeting["expires_at_ns"]
    names = [f"closed {number}" for number in range(5)]
    for name in names:
        assert (await by_grpc(exchange, key, **fleeting, client_order_id=name)).status == "cancelled"
    if restarted:
        await asyncio.to_thread(exchange.restart_engine)
    async with AsyncClient(exchange.grpc, key) as client:
        found = [name for name in names if await is_known(client, name)]
    assert found == names[len(names) - kept :]


async def is_known(client: AsyncClient, client_order_id: str) -> bool:
    try:
        return (await client.order(client_order_id=client_order_id)).client_order_id == client_order_id
    except NotFound:
        return False
