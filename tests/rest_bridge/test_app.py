"""The application in this process, where its bounds can be made small and its failures made to happen."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from contextlib import suppress

import httpx
import pytest
from fastapi import FastAPI
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from outcry import AsyncClient
from outcry.encoding import cancel_request, instruction
from rest_bridge import app as app_module
from rest_bridge import calls, connections, sockets
from rest_bridge.answers import answer
from rest_bridge.app import create_app
from rest_bridge.bodies import invalid
from rest_bridge.calls import endpoint
from rest_bridge.docs import models
from rest_bridge.settings import Settings

HANG_S = 30
REFERENCE = re.compile(r"ERR_\d{8}_\d{6}_[0-9a-f]{6}")


def bridge_to(venue, **settings):
    key = venue.data / "keys" / "bridge.key"
    return create_app(Settings(_cli_parse_args=False, grpc=venue.engine.address, service_key=key, **settings))


def web(address):
    return httpx.AsyncClient(base_url=f"http://{address}", timeout=HANG_S)


async def test_a_failure_of_the_bridge_s_own_tells_nothing_but_a_reference_that_is_in_the_log(venue, served, capsys):
    async def broken(call):
        raise RuntimeError("the secret of the house")

    app = bridge_to(venue)
    app.router.add_route("/broken", endpoint(AsyncClient(), broken, needs_key=False))

    async def worse(request):
        raise RuntimeError("the secret of the house")

    app.router.add_route("/worse", worse)
    async with served(app) as address, web(address) as client:
        for path in ("/broken", "/worse"):
            response = await client.get(path, headers={"X-Request-Id": "r-1"})
            assert response.status_code == 500
            models.ErrorResponse.model_validate(response.json())
            assert response.json()["request_id"] == "r-1"
            error = response.json()["error"]
            assert (error["code"], error["message"]) == (
                "INTERNAL_ERROR",
                "Internal system error during order processing",
            )
            assert error["details"]["stage"] == "gateway"
            assert error["details"]["outcome"] == "not_executed"
            assert "secret" not in response.text
            reference = error["details"]["support_reference"]
            assert REFERENCE.fullmatch(reference)
            output = capsys.readouterr()
            assert reference in output.out + output.err


async def test_what_comes_beyond_the_limit_is_shed_at_once_and_told_when_to_come_back(venue, served, monkeypatch):
    monkeypatch.setattr(app_module, "REQUESTS_LIMIT", 1)
    started, may_end = asyncio.Event(), asyncio.Event()

    async def slow(call):
        started.set()
        await may_end.wait()
        return answer(call.request_id)

    app = bridge_to(venue)
    app.router.add_route("/slow", endpoint(AsyncClient(), slow, needs_key=False))
    async with served(app) as address, web(address) as client:
        first = asyncio.create_task(client.get("/slow"))
        await started.wait()
        shed = await client.get("/health")
        assert shed.status_code == 503
        models.ErrorResponse.model_validate(shed.json())
        assert shed.json()["error"]["code"] == "CIRCUIT_BREAKER_OPEN"
        assert int(shed.headers["retry-after"]) >= 1
        may_end.set()
        assert (await first).status_code == 200
        assert (await client.get("/health")).status_code == 200


async def test_asking_about_the_key_alone_leaves_nobody_in_doubt_about_an_order(served, monkeypatch):
    monkeypatch.setattr(calls, "GIVE_UP_S", 0.2)

    async def misfit(call):
        raise invalid("body", "is not JSON")

    app = FastAPI()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # an engine that takes the call and says nothing
        app.router.add_route("/misfit", endpoint(AsyncClient(f"127.0.0.1:{silent.getsockname()[1]}"), misfit))
        async with served(app) as address, web(address) as client:
            refused = await client.get("/misfit", headers={"X-API-Key": "key"})
    assert refused.status_code == 504
    assert refused.json()["error"]["details"]["outcome"] == "not_executed"


async def test_a_body_that_never_ends_keeps_no_stranger_from_the_answer(venue, served, monkeypatch):
    monkeypatch.setattr(calls, "NAMING_S", 0.05)
    async with served(bridge_to(venue)) as address:
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(b"POST /orders HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n{")
        assert b" 401 " in await asyncio.wait_for(reader.readline(), HANG_S)
        writer.close()


@pytest.mark.parametrize(("key", "status"), [("wrong", 401), (None, 504)])
async def test_a_wrong_key_comes_before_a_body_that_never_ends(venue, served, monkeypatch, alice, key, status):
    monkeypatch.setattr(calls, "BODY_S", 0.05)
    async with served(bridge_to(venue)) as address:
        reader, writer = await asyncio.open_connection(*address.split(":"))
        head = f"POST /orders HTTP/1.1\r\nHost: here\r\nX-API-Key: {key or alice.key}\r\nContent-Length: 100\r\n\r\n"
        writer.write(head.encode() + b"{")
        assert b" %d " % status in await asyncio.wait_for(reader.readline(), HANG_S)
        answer = json.loads((await asyncio.wait_for(reader.readuntil(b"}}"), HANG_S)).partition(b"\r\n\r\n")[2] + b"}")
        writer.close()
    if status == 504:
        assert answer["error"]["details"] == {"stage": "gateway", "outcome": "not_executed", "timeout_ms": 5000}


async def test_an_origin_that_the_settings_name_may_use_rest_and_websocket(venue, served, alice):
    page = "https://desk.example"
    async with served(bridge_to(venue, allowed_origins=(page,))) as address, web(address) as client:
        ask = {"Origin": page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
        preflight = await client.options("/orders", headers=ask)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == page
        real = await client.get("/positions", headers={"Origin": page, "X-API-Key": alice.key})
        assert real.headers["access-control-allow-origin"] == page
        stranger = await client.get("/positions", headers={"Origin": "https://evil.example", "X-API-Key": alice.key})
        assert "access-control-allow-origin" not in stranger.headers
        async with connect(f"ws://{address}/ws?api_key={alice.key}", origin=page) as feed:
            assert json.loads(await feed.recv())["type"] == "position_snapshot"


async def test_by_default_no_other_origin_is_let_in(venue, served, alice):
    async with served(bridge_to(venue)) as address, web(address) as client:
        response = await client.get("/positions", headers={"Origin": "https://a.example", "X-API-Key": alice.key})
        assert "access-control-allow-origin" not in response.headers


async def closing(feed):
    await asyncio.wait_for(feed.wait_closed(), HANG_S)
    return feed.close_code, feed.close_reason


async def test_sockets_are_bounded_for_an_account_and_for_all(venue, served, monkeypatch, alice, bob):
    monkeypatch.setattr(sockets, "ACCOUNT_SOCKETS_LIMIT", 1)
    monkeypatch.setattr(sockets, "SOCKETS_LIMIT", 2)
    async with served(bridge_to(venue)) as address:
        url = f"ws://{address}/ws?api_key="
        async with connect(url + alice.key) as first:
            await first.recv()
            async with connect(url + alice.key) as second:
                code, reason = await closing(second)
                assert (code, "of this account" in reason) == (1013, True)
            async with connect(url + bob.key) as other:
                await other.recv()
                async with connect(url + venue.trader().key) as third:
                    assert await closing(third) == (1013, "too many connections")
        async with connect(url + alice.key) as again:
            assert json.loads(await again.recv())["type"] == "position_snapshot"


async def test_strangers_take_neither_sockets_nor_subscriptions_from_key_holders(venue, served, monkeypatch, alice):
    monkeypatch.setattr(sockets, "PUBLIC_SOCKETS_LIMIT", 1)
    monkeypatch.setattr(sockets, "PUBLIC_SUBSCRIPTIONS_LIMIT", 1)
    monkeypatch.setattr(sockets, "SOCKETS_LIMIT", 1)
    monkeypatch.setattr(sockets, "ALL_SUBSCRIPTIONS_LIMIT", 1)
    async with served(bridge_to(venue)) as address, connect(f"ws://{address}/ws/market") as stranger:
        assert (await ask(stranger, "book"))["type"] == "book_snapshot"
        assert (await ask(stranger, "trades"))["data"]["code"] == "CIRCUIT_BREAKER_OPEN"
        async with connect(f"ws://{address}/ws/market") as another:
            assert await closing(another) == (1013, "too many connections without a key")
        async with connect(f"ws://{address}/ws?api_key={alice.key}") as feed:
            assert json.loads(await feed.recv())["type"] == "position_snapshot"
            assert (await ask(feed, "book"))["type"] == "book_snapshot"


async def test_sockets_whose_key_is_not_judged_yet_are_bounded(venue, served, monkeypatch, alice):
    monkeypatch.setattr(sockets, "UNPROVEN_LIMIT", 0)
    async with served(bridge_to(venue)) as address, connect(f"ws://{address}/ws?api_key={alice.key}") as feed:
        assert await closing(feed) == (1013, "too many connections at once")


async def ask(feed, channel):
    """The first book or error after a subscription."""
    await feed.send(json.dumps({"action": "subscribe", "channel": channel, "instrument_id": "AAPL"}))
    while (message := json.loads(await feed.recv()))["type"] not in ("book_snapshot", "error"):
        pass
    return message


async def test_subscriptions_are_bounded_for_a_socket_and_for_all(venue, served, monkeypatch):
    monkeypatch.setattr(sockets, "SUBSCRIPTIONS_LIMIT", 2)
    monkeypatch.setattr(sockets, "PUBLIC_SUBSCRIPTIONS_LIMIT", 1)

    async with served(bridge_to(venue)) as address, connect(f"ws://{address}/ws/market") as feed:
        assert (await ask(feed, "book"))["type"] == "book_snapshot"
        assert (await ask(feed, "trades"))["data"]["code"] == "CIRCUIT_BREAKER_OPEN"
    monkeypatch.setattr(sockets, "PUBLIC_SUBSCRIPTIONS_LIMIT", 10)
    async with served(bridge_to(venue)) as address, connect(f"ws://{address}/ws/market") as feed:
        await ask(feed, "book")
        await feed.send(json.dumps({"action": "subscribe", "channel": "trades", "instrument_id": "AAPL"}))
        refused = await ask(feed, "ticker")
        assert (refused["data"]["code"], refused["data"]["details"]["field"]) == ("INVALID_REQUEST", "channel")


async def history(venue, trader, events):
    """Give the trader this many events, of some 200 bytes each."""
    async with AsyncClient(venue.engine.address, trader.key) as client, client.session() as session:
        batch = [instruction(n, cancel_request(2**60 + n, None, None)) for n in range(1_000)]
        for _ in range(events // len(batch)):
            await session.send(batch)
            await session.receive()


async def test_a_reader_that_takes_nothing_is_closed_with_1013_and_resumes_from_the_number_it_is_told(
    venue, served, monkeypatch, alice
):
    monkeypatch.setattr(sockets, "STALL_S", 0.3)
    monkeypatch.setattr(connections, "LINGER_S", HANG_S)
    events = 40_000
    await history(venue, alice, events)
    ended = asyncio.Event()
    serve = sockets.Sockets.serve

    async def noted(self, socket):
        await serve(self, socket)
        ended.set()

    monkeypatch.setattr(sockets.Sockets, "serve", noted)
    async with served(bridge_to(venue)) as address:
        host, port = address.split(":")
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.connect((host, int(port)))
        url = f"ws://{address}/ws?api_key={alice.key}&from_seq="
        async with connect(url + "0", sock=small, max_queue=1) as frozen:
            await asyncio.wait_for(ended.wait(), HANG_S)  # it reads nothing until the bridge has given up on it
            async with connect(url + f"{events - 1}") as other:
                assert json.loads(await other.recv())["seq"] == events
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            last = 0
            with suppress(ConnectionClosed):
                async for message in frozen:
                    assert json.loads(message)["seq"] == last + 1
                    last += 1
            code, reason = await closing(frozen)
        assert (code, reason) == (1013, f"too slow; the last number sent is {last}")
        assert last < events
        async with connect(url + f"{last}") as resumed:
            assert json.loads(await resumed.recv())["seq"] == last + 1


@pytest.mark.parametrize(("flag", "value"), [("http", "nowhere"), ("workers", 2)])
def test_a_setting_that_does_not_fit_is_refused(flag, value):
    with pytest.raises(ValueError, match=flag):
        Settings(_cli_parse_args=False, **{flag: value})


def test_allowed_origins_are_separated_by_commas():
    settings = Settings(_cli_parse_args=False, allowed_origins="https://a.example, https://b.example")
    assert settings.allowed_origins == ("https://a.example", "https://b.example")
