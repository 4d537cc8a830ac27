"""Requests that ask for another protocol: a WebSocket's handshake gets it, any other is an ordinary request."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from rest_bridge import connections
from tests.rest_bridge.test_connections import HANG_S, exchange

WEBSOCKET = b"Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
KEY = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
H2C = b"Host: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def told(request: Request) -> Response:
    """What arrived: method, path and body."""
    body = (await request.body()).decode()
    return Response(f"<{request.method} {request.url.path} {body}>")


async def silent(websocket):
    await asyncio.Event().wait()


async def denied(websocket):
    await websocket.send_denial_response(Response("no", 404))


APP = Starlette(
    routes=[
        WebSocketRoute("/silent", silent),
        WebSocketRoute("/denied", denied),
        Route("/{path:path}", told, methods=["GET", "POST", "DELETE"]),
    ]
)


def bodies(answers):
    """The marked bodies in a stream of answers."""
    return [piece.partition(">")[0] for piece in answers.decode().split("<")[1:]]


@pytest.mark.parametrize("upgrade", [WEBSOCKET, WEBSOCKET + KEY, H2C])
@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE"])
@pytest.mark.parametrize(
    "body",
    [
        (b"Content-Length: 4\r\n\r\n", b"{  }"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\n{ \r\n2\r\n }\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
async def test_a_body_makes_it_an_ordinary_request_and_is_its_body(served, upgrade, method, body, apart):
    head, content = method + b" /x HTTP/1.1\r\n" + upgrade + body[0], body[1]
    async with served(APP) as address:
        answers = await exchange(address, *((head, content, LAST) if apart else (head + content + LAST,)))
    assert bodies(answers) == [f"{method.decode()} /x {{  }}", "GET /last "]


async def test_a_body_that_is_told_and_never_comes_is_hung_up_on(served, monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_S", 0.2)
    async with served(APP) as address:
        sent = b"GET /x HTTP/1.1\r\n" + WEBSOCKET + KEY + b"Content-Length: 2\r\n\r\n"
        assert await exchange(address, sent) == b""


async def test_a_body_that_reads_like_a_request_is_none(served):
    inner = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    head = b"POST /x HTTP/1.1\r\n" + H2C + b"Content-Length: %d\r\n\r\n" % len(inner)
    async with served(APP) as address:
        for pieces in ((head, inner, LAST), (head + inner + LAST,)):
            assert bodies(await exchange(address, *pieces)) == [f"POST /x {inner.decode()}", "GET /last "]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/1.1\r\n" + WEBSOCKET,
        b"GET /x HTTP/1.1\r\n" + WEBSOCKET + KEY.replace(b"13", b"8"),
        b"GET /x HTTP/1.1\r\n" + WEBSOCKET + KEY.replace(b"dGhl", b"!!!!"),
        b"GET /x HTTP/1.1\r\n" + WEBSOCKET + KEY + b"A: " + b"x" * 9_000 + b"\r\n",
        b"GET /x HTTP/1.1\r\n" + WEBSOCKET + KEY + b"A: b\r\n" * 200,
        b"GET /x HTTP/1.1\r\n" + H2C,
    ],
)
async def test_what_is_no_handshake_is_an_ordinary_request(served, head):
    async with served(APP) as address:
        assert bodies(await exchange(address, head + b"\r\n" + LAST)) == ["GET /x ", "GET /last "]


async def test_a_handshake_behind_an_unanswered_request_does_not_get_before_its_answer(served):
    async with served(APP) as address:
        sent = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\n" + WEBSOCKET + KEY + b"\r\n" + LAST
        assert bodies(await exchange(address, sent)) == ["GET /first ", "GET /x ", "GET /last "]


async def test_thousands_of_wishes_in_one_packet_are_served(served):
    async with served(APP) as address:
        sent = (b"GET /x HTTP/1.1\r\n" + H2C + b"\r\n") * 2_000
        assert bodies(await exchange(address, sent + LAST)) == ["GET /x "] * 2_000 + ["GET /last "]


async def test_connect_is_refused_and_hung_up_on(served):
    async with served(APP) as address:
        answer = await exchange(address, b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", LAST)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "INVALID_REQUEST"


async def test_a_handshake_that_the_application_never_answers_is_hung_up_on(served, monkeypatch):
    monkeypatch.setattr(connections, "HANDSHAKE_S", 0.2)
    async with served(APP) as address:
        assert await exchange(address, b"GET /silent HTTP/1.1\r\n" + WEBSOCKET + KEY + b"\r\n") == b""


async def test_a_handshake_that_is_refused_is_nothing_to_log(served, caplog):
    async with served(APP) as address:
        with caplog.at_level(logging.WARNING), pytest.raises(InvalidStatus):
            await asyncio.wait_for(connect(f"ws://{address}/denied").__aenter__(), HANG_S)
    assert caplog.records == []
