"""Connections that would wait for ever elsewhere are ended here: slow, endless, unread."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from rest_bridge import connections
from rest_bridge.docs import models

HANG_S = 30


async def echo(scope, receive, send):
    """Answers with the length of the body, or with a body as long as the path says."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        size += len(message["body"])
        more = message["more_body"]
    wanted = scope["path"].removeprefix("/")
    body = b"x" * int(wanted) if wanted else str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def exchange(address, *pieces):
    """Send the pieces and return everything that comes until the other side hangs up."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), HANG_S)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def error_of(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    models.ErrorResponse.model_validate(json.loads(body))
    return int(head.split()[1]), json.loads(body)["error"]["code"]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
    ],
)
async def test_a_request_that_never_ends_is_hung_up_on(served, monkeypatch, sent):
    monkeypatch.setattr(connections, "REQUEST_S", 0.2)
    async with served(echo) as address:
        assert await exchange(address, sent) == b""


async def test_a_second_request_that_never_ends_is_hung_up_on_too(served, monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_S", 0.2)
    async with served(echo) as address:
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n0")
        writer.write(b"GET / HT")
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), HANG_S) == b""
        writer.close()


async def test_connections_are_bounded(served, monkeypatch):
    monkeypatch.setattr(connections, "CONNECTIONS_LIMIT", 1)
    async with served(echo) as address:
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await exchange(address) == b""
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_an_idle_connection_is_closed(served):
    async with served(echo, timeout_keep_alive=0) as address:
        assert (await exchange(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).endswith(b"0")


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 40_000 + b"\r\n\r\n"],
        [b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000 + b"\r\n"],
        [b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n"],
        [b"GET / HTTP/1.1\r\nA: ", *[b"x" * 1_000] * 100],
        [b"POST / HTTP/1.1\r\nA: " + b"x" * 40_000 + b"\r\nContent-Length: 5\r\n\r\nabcde"],
    ],
)
async def test_a_head_beyond_its_limit_is_refused_before_it_is_kept(served, pieces):
    async with served(echo) as address:
        assert error_of(await exchange(address, *pieces)) == (431, "PAYLOAD_TOO_LARGE")


async def test_a_head_below_its_limit_is_served_and_its_body_does_not_count(served):
    async with served(echo, timeout_keep_alive=0) as address:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 30_000 + b"\r\nContent-Length: 60000\r\n\r\n"
        assert (await exchange(address, head, b"x" * 60_000)).endswith(b"\r\n\r\n60000")


async def test_what_is_not_http_is_an_api_response(served):
    async with served(echo) as address:
        assert error_of(await exchange(address, b"\x16\x03\x01 hello\r\n\r\n")) == (400, "INVALID_REQUEST")


async def test_an_answer_that_is_never_read_costs_the_connection(served, monkeypatch):
    monkeypatch.setattr(connections, "UNREAD_S", 0.2)
    gone = asyncio.Event()
    lost = connections.HttpConnection.connection_lost

    def noted(self, exc):
        lost(self, exc)
        gone.set()

    monkeypatch.setattr(connections.HttpConnection, "connection_lost", noted)
    async with served(echo) as address:
        host, port = address.split(":")
        client = socket.create_connection((host, int(port)))
        client.sendall(b"GET /100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.wait_for(gone.wait(), HANG_S)
        client.close()


async def flood(scope, receive, send):
    """A WebSocket that sends without end, as fast as it is read."""
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        await send({"type": "websocket.send", "text": "x" * 10_000})


async def mute(scope, receive, send):
    """A WebSocket that says nothing and listens."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def unread(address, monkeypatch, send=b""):
    """Open a WebSocket by hand, send, and read nothing; returns when the server has given up on it."""
    gone = asyncio.Event()
    lost = connections.WebSocketConnection.connection_lost

    def noted(self, exc):
        lost(self, exc)
        gone.set()

    monkeypatch.setattr(connections.WebSocketConnection, "connection_lost", noted)
    host, port = address.split(":")
    client = socket.create_connection((host, int(port)))
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    key = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    await loop.sock_sendall(client, b"GET /ws HTTP/1.1\r\nHost: a\r\n" + key + b"Sec-WebSocket-Version: 13\r\n\r\n")
    assert (await loop.sock_recv(client, 4096)).startswith(b"HTTP/1.1 101 ")
    sending = asyncio.create_task(loop.sock_sendall(client, send))
    await asyncio.wait_for(gone.wait(), HANG_S)
    sending.cancel()
    client.close()


async def test_a_websocket_that_is_never_read_costs_the_connection(served, monkeypatch):
    monkeypatch.setattr(connections, "SOCKET_UNREAD_S", 0.2)
    async with served(flood) as address:
        await unread(address, monkeypatch)


async def test_pings_whose_answers_are_never_read_do_not_pile_up(served, monkeypatch):
    monkeypatch.setattr(connections, "SOCKET_UNREAD_S", 2)
    sizes = [0]
    received = connections.WebSocketConnection.data_received

    def noted(self, data):
        received(self, data)
        sizes.append(self.transport.get_write_buffer_size())

    monkeypatch.setattr(connections.WebSocketConnection, "data_received", noted)
    ping = b"\x89\xfd" + b"mask" + b"x" * 125
    async with served(mute) as address:
        await unread(address, monkeypatch, ping * 200_000)
    assert 0 < max(sizes) < 1_000_000


async def test_an_oversize_message_is_answered_with_1009_however_much_of_it_comes(served):
    async with served(mute) as address, connect(f"ws://{address}/ws") as client:
        with suppress(ConnectionClosed):  # before all of it had left
            await client.send("x" * 10_000_000)
        await client.wait_closed()
        assert client.close_code == 1009
