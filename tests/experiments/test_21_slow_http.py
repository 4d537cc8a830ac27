"""Who sends slowly, sends too much, reads nothing or says nothing is hung up on, and others are served meanwhile.

The bounds are shortened here, so that nobody has to wait; that the real ones are within 10 s is a test of its own. What
each kind of attacker would cost without them is seen at uvicorn's own protocol, which keeps them all.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rest_bridge import connections
from tests.experiments.exchanges import HANG_S, Exchange

WITHIN_S = 10
EACH = 20  # attackers of each kind
PACE_S = 0.01
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /orders HTTP/1.1\r\nHost: a\r\n"

Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def drip(first: bytes, then: bytes) -> Attack:
    """Send something, and then a little for ever."""

    async def attack(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(then)
            await writer.drain()
            await asyncio.sleep(PACE_S)

    return attack


async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def stop_in_the_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GET[:-4])
    await reader.read()


async def stop_in_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(POST + b"Content-Length: 100\r\n\r\nabc")
    await reader.read()


async def stay_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GET)
    await reader.read()


async def never_read(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    while True:
        writer.write(GET)
        await writer.drain()
        await asyncio.sleep(PACE_S)


ATTACKS = [
    say_nothing,
    stop_in_the_head,
    stop_in_the_body,
    stay_for_ever,
    never_read,
    drip(b"GET / HTTP/1.1\r\nA: ", b"x"),
    drip(GET[:-2], b"A: b\r\n"),
    drip(POST + b"Content-Length: 60000\r\n\r\n", b"x"),
    drip(POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    drip(GET + b"GET /", b"x"),
]


async def page(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and answers with a large page."""
    while (await receive()).get("more_body"):
        pass
    body = b"x" * 1_000_000
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served(protocol: type[asyncio.Protocol], **bounds: Any) -> AsyncIterator[int]:
    """The page behind a protocol; its port."""
    options: Any = {"http": protocol, "log_config": None, "lifespan": "off", "timeout_graceful_shutdown": 1, **bounds}
    server = uvicorn.Server(uvicorn.Config(page, "127.0.0.1", 0, **options))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(PACE_S)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def until_hung_up_on(port: int, attack: Attack) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with suppress(ConnectionError):
            await attack(reader, writer)
    finally:
        writer.close()


async def status_of(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET)
    line = await reader.readline()
    writer.close()
    return line


def test_every_bound_of_an_http_connection_is_within_10_s() -> None:
    bounds = [connections.REQUEST_S, connections.KEEP_ALIVE_S, connections.UNREAD_S, connections.LINGER_S]
    assert max(bounds) <= WITHIN_S


async def test_whoever_is_slow_or_silent_is_hung_up_on_and_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("REQUEST_S", "UNREAD_S"):
        monkeypatch.setattr(connections, bound, 0.5)
    async with served(connections.HttpConnection, timeout_keep_alive=1) as port, served(HttpToolsProtocol) as open_port:
        kept = [asyncio.create_task(until_hung_up_on(open_port, attack)) for attack in ATTACKS]
        attackers = [asyncio.create_task(until_hung_up_on(port, attack)) for attack in ATTACKS * EACH]
        async with asyncio.timeout(HANG_S):
            assert await status_of(port) == b"HTTP/1.1 200 OK\r\n"
            await asyncio.gather(*attackers)
        assert not any(task.done() for task in kept)  # the control: without our bounds they stay
        for task in kept:
            task.cancel()
        await asyncio.gather(*kept, return_exceptions=True)


HEAD = POST + b"X-API-Key: %s\r\n"
SENT_BYTES = 256 * 2**20  # by all who send too much
GROWTH_BYTES = SENT_BYTES // 4
SENDERS = 8


async def insist(port: int, head: bytes, piece: bytes) -> bytes:
    """Send the head, and pieces as long as the other side takes them; the status that it answers with."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(reader.read())
    with suppress(ConnectionError):
        writer.write(head)
        for _ in range(SENT_BYTES // SENDERS // len(piece)):
            writer.write(piece)
            await writer.drain()
    writer.close()
    with suppress(ConnectionError):
        return (await answer)[9:12]
    return b""


def resident_bytes(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize()


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    running = Exchange(tmp_path_factory.mktemp("insisted"), "--durability", "write")
    yield running
    running.stop()


async def test_a_body_too_large_is_refused_by_its_length_alone_before_any_of_it_has_come(exchange: Exchange) -> None:
    key, port = exchange.register().encode(), int(exchange.http.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD % key + b"Content-Length: 10000000000\r\n\r\n")
    async with asyncio.timeout(HANG_S):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()


@pytest.mark.parametrize(
    ("status", "more", "piece"),
    [
        (b"431", b"A: ", b"x" * 2**16),
        (b"431", b"", b"A: b\r\n" * 10_000),
        (b"413", b"Content-Length: 10000000000\r\n\r\n", b"x" * 2**16),
        (b"413", b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 2**16 + b"\r\n"),
    ],
    ids=["one header", "many headers", "a body of known length", "a body of chunks"],
)
async def test_what_is_sent_beyond_the_limit_is_not_kept(
    exchange: Exchange, status: bytes, more: bytes, piece: bytes
) -> None:
    key, port = exchange.register().encode(), int(exchange.http.rpartition(":")[2])
    before = resident_bytes(exchange.bridge.popen.pid)
    async with asyncio.timeout(HANG_S):
        statuses = await asyncio.gather(*(insist(port, HEAD % key + more, piece) for _ in range(SENDERS)))
    assert resident_bytes(exchange.bridge.popen.pid) - before < GROWTH_BYTES
    assert status in statuses
    assert set(statuses) <= {status, b""}  # an answer may be lost to those who go on sending
    assert await status_of(port) == b"HTTP/1.1 200 OK\r\n"
