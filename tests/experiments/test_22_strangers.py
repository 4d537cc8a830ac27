"""Experiment 22: nobody sees or touches what is another's, on no route and by no RPC.

Another account's ids get the answer that ids get that never were. No key, a wrong one or one that has been replaced get
the answer of strangers, whatever else is wrong with the request, and no key is in any log. The control asks with the
owner's key, and the answers differ.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import httpx
import pytest
import websockets
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

import wire
from outcry import AsyncClient
from tests.experiments.contract import KEYLESS_ROUTES, answer, methods, needs_key, requests, routes, without
from tests.experiments.exchanges import HANG_S, Exchange, Metadata, metadata

NEVER = {
    "order_id": 10**15,
    "after_order_id": 10**15,
    "client_order_id": "never was",
    "account_id": 10**6,
    "name": "nobody",
}
GARBAGE = b"\xff\xff\xff"
BODIES: Mapping[str, Any] = {
    "post": {"instrument_id": "AAPL", "side": "buy", "quantity": 1, "price": 100},
    "patch": {"quantity": 1},
}


class Owner:
    """An account with an order that rests."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.key = exchange.register()

    async def enter(self) -> None:
        async with AsyncClient(self.exchange.grpc, self.key) as client:
            self.order_id = (await client.buy("AAPL", 1, 99, client_order_id="of the owner")).order_id

    @property
    def ids(self) -> dict[str, object]:
        named = {"order_id": self.order_id, "client_order_id": "of the owner", "after_order_id": self.order_id - 1}
        return {**NEVER, **named, "account_id": 1, "name": "demo"}

    async def state(self) -> object:
        async with AsyncClient(self.exchange.grpc, self.key) as client:
            return await client.order(self.order_id), (await client.positions()).seq


@pytest.fixture
async def owner(exchange: Exchange) -> Owner:
    owner = Owner(exchange)
    await owner.enter()
    return owner


@pytest.fixture
async def channel(exchange: Exchange) -> AsyncIterator[grpc.aio.Channel]:
    async with wire.insecure_channel(
        exchange.grpc
    ) as channel:  # grpcio's fails of itself when it writes to a refused call
        yield channel


@pytest.mark.parametrize("control", [False, True], ids=["a-stranger", "control-the-owner"])
async def test_another_account_s_ids_are_answered_by_every_rpc_as_ids_that_never_were(
    exchange: Exchange, owner: Owner, channel: grpc.aio.Channel, control: bool
) -> None:
    before = await owner.state()
    key = owner.key if control else exchange.register()
    compared, differing = set(), set()
    for method in filter(needs_key, await methods(channel)):
        named = requests(method.input_type, owner.ids), requests(method.input_type, NEVER)
        for foreign, never in zip(*named, strict=True):
            if foreign != never:
                compared.add(method.name)
                told = [
                    await asked(channel, method, key, foreign, owner.ids),
                    await asked(channel, method, key, never, NEVER),
                ]
                differing |= {method.name} if told[0] != told[1] else set()
    assert {"SubmitOrder", "CancelOrder", "ReplaceOrder", "Session", "GetOrder"} <= compared
    assert bool(differing) == control, differing
    assert (await owner.state() != before) == control


async def asked(
    channel: grpc.aio.Channel, method: MethodDescriptor, key: str, request: Message, ids: Mapping[str, object]
) -> str:
    """The answer, but for the names that were asked for."""
    words = await answer(channel, method, request.SerializeToString(), metadata(key))
    return without(words, f"ORD_{ids['order_id']}", ids["client_order_id"])


async def test_every_operation_needs_an_operator_s_key(exchange: Exchange, channel: grpc.aio.Channel) -> None:
    key = exchange.register()
    operations = [m for m in await methods(channel) if m.containing_service.full_name == "outcry.v1.Operations"]
    assert operations
    for method in operations:
        for request in requests(method.input_type, NEVER):
            told = await answer(channel, method, request.SerializeToString(), metadata(key))
            assert "This needs an operator's key" in told, method.full_name


# Keys


async def replaced_key(exchange: Exchange) -> str:
    """A key that was good."""
    key = exchange.register()
    async with AsyncClient(exchange.grpc, key) as client:
        await client.rotate_key()
    return key


async def wrong_keys(exchange: Exchange) -> list[str]:
    good = exchange.register()
    return ["", "x", "outcry_" + "A" * 43, good[:-1], good + "A", good.upper(), "A" * 256, await replaced_key(exchange)]


async def strangers(exchange: Exchange) -> list[Metadata]:
    """Metadata by which nobody is known."""
    good = exchange.register()
    return [
        [],
        *([("x-api-key", key)] for key in await wrong_keys(exchange)),
        *([("authorization", f"Bearer {key}")] for key in await wrong_keys(exchange)),
        [("authorization", f"Basic {good}")],
        [("authorization", good)],
        [("x-api-key", "A" * 300)],
        [("x-service-key", (exchange.data / "keys" / "bridge.key").read_text().strip())],
    ]


async def test_every_rpc_answers_all_strangers_alike_even_where_the_request_is_garbage(
    exchange: Exchange, channel: grpc.aio.Channel
) -> None:
    unknown = await strangers(exchange)
    told = set()
    for method in filter(needs_key, await methods(channel)):
        request = next(requests(method.input_type, NEVER)).SerializeToString()
        for content in (request, GARBAGE):
            told |= {(method.full_name, await answer(channel, method, content, who)) for who in unknown}
    assert {words.split()[0] for _, words in told} == {"StatusCode.UNAUTHENTICATED"}
    assert len({words for _, words in told}) == 1


async def test_a_good_key_is_no_stranger_to_any_rpc(exchange: Exchange, channel: grpc.aio.Channel) -> None:
    for method in filter(needs_key, await methods(channel)):
        request = next(requests(method.input_type, NEVER)).SerializeToString()
        for who in ("x-api-key", exchange.register()), ("authorization", f"Bearer {exchange.register()}"):
            told = await answer(channel, method, request, [who])
            assert "UNAUTHENTICATED" not in told, method.full_name


# The bridge


async def rest_answer(bot: httpx.AsyncClient, method: str, path: str, key: str | None, body: Any = None) -> str:
    """Status and body, but for the request's name and the time."""
    headers = {} if key is None else {"X-API-Key": key}
    content = body if isinstance(body, bytes | None) else json.dumps(body)
    response = await bot.request(method.upper(), path, headers=headers, content=content)
    told = response.json()
    del told["request_id"], told["timestamp"]
    return f"{response.status_code} {json.dumps(told, sort_keys=True)}"


@pytest.fixture
async def bot(exchange: Exchange) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{exchange.http}", timeout=HANG_S) as client:
        yield client


def paths(order_id: str) -> list[tuple[str, str]]:
    """Every route, with the order in its place and the ways to ask for one by its client order id."""
    filled = [
        (m, p.format(order_id=order_id, instrument_id="AAPL")) for m, p in routes() if (m, p) not in KEYLESS_ROUTES
    ]
    return [(method, path) for method, path in filled]


@pytest.mark.parametrize("control", [False, True], ids=["a-stranger", "control-the-owner"])
async def test_another_account_s_ids_are_answered_by_every_route_as_ids_that_never_were(
    exchange: Exchange, owner: Owner, bot: httpx.AsyncClient, control: bool
) -> None:
    before = await owner.state()
    key = owner.key if control else exchange.register()
    told: dict[str, list[str]] = {}
    for order_id, name in (
        (f"ORD_{owner.order_id}", "of the owner"),
        ("ORD_1000000000000", "never was"),
        ("ORD_x", "nor"),
    ):
        queries = [("get", f"{path}?client_order_id={name}") for path in ("/orders", "/exchange/orders")]
        asked = [(m, p) for m, p in paths(order_id) if order_id in p] + queries
        assert len(asked) >= 8
        words = [await rest_answer(bot, method, path, key, BODIES.get(method)) for method, path in asked]
        told[order_id] = [without(answer, order_id, name) for answer in words]
    foreign, never, malformed = told.values()
    assert never == malformed
    assert (foreign == never) != control
    assert (await owner.state() != before) == control


async def test_every_route_answers_all_strangers_alike_even_where_the_body_is_garbage(
    exchange: Exchange, bot: httpx.AsyncClient
) -> None:
    told = set()
    for method, path in paths("ORD_1"):
        for key in (None, *await wrong_keys(exchange)):
            for body in (BODIES.get(method), b"{"):
                words = await rest_answer(bot, method, path, key, body)
                told.add(without(words, '"status": "rejected", ', ', "status": "rejected"'))
    assert {words.split()[0] for words in told} == {"401"}
    assert len({words.replace("ASKED", "").replace('"ORD_1"', "null") for words in told}) == 1


async def test_the_socket_answers_all_strangers_alike(exchange: Exchange) -> None:
    told = set()
    for key in await wrong_keys(exchange):
        for query in (f"?api_key={key}", f"?api_key={key}&from_seq=0", f"?api_key={key}&from_seq=x"):
            async with asyncio.timeout(HANG_S), websockets.connect(exchange.ws + query) as socket:
                with pytest.raises(websockets.ConnectionClosed):
                    await socket.recv()
                told.add((socket.close_code, socket.close_reason))
    assert len(told) == 1
    assert told.pop()[0] == 1008


# Logs


async def test_no_key_is_in_any_log(own_exchange: Exchange) -> None:
    exchange = own_exchange
    good = [exchange.register(), await replaced_key(exchange)]
    keys = [*good, "secret-" + "k" * 40]
    async with httpx.AsyncClient(base_url=f"http://{exchange.http}", timeout=HANG_S) as bot:

        async def try_all() -> None:
            for key in keys:
                for method, path in paths("ORD_1"):
                    await rest_answer(bot, method, f"{path}?api_key={key}", key, BODIES.get(method))
                    await rest_answer(bot, method, path, key, b"{")

        await try_all()
        for key in keys:
            async with websockets.connect(f"{exchange.ws}?api_key={key}") as socket:
                if key == good[0]:
                    await asyncio.wait_for(socket.recv(), HANG_S)
        async with wire.insecure_channel(exchange.grpc) as channel:
            for method in await methods(channel):
                for key in keys:
                    for who in [("x-api-key", key)], [("authorization", f"Bearer {key}")], [("x-api-key", f"{key} ")]:
                        await answer(channel, method, GARBAGE, who)
        await asyncio.to_thread(exchange.engine.kill)
        await try_all()
    exchange.bridge.stop()
    files = [(exchange.data / "keys" / f"{name}.key").read_text().strip() for name in ("operator", "bridge", "demo")]
    logs = exchange.logs()
    assert "serving" in logs
    assert [key for key in (*keys, *files) if key in logs] == []
