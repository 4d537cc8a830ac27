"""Our channel against servers that do what grpcio's does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from grpc import ChannelConnectivity, StatusCode

import wire
from tests.venues import until
from tests.wire.cores import ANSWER, in_parts
from tests.wire.test_channel import ECHO, SOON, refusal
from wire.channel import Channel
from wire.client_call import REFUSED_PAUSE_S
from wire.connection import Connection
from wire.events import DataReceived, Event, HeadersReceived, StreamReset
from wire.frames import PING, SETTINGS, ErrorCode, Setting, frame, settings_frame, window_update
from wire.hpack import encode
from wire.messages import message_bytes


class Scripted(asyncio.Protocol):
    """A server that answers each event with what a test says; `seen` counts the requests of all its connections."""

    def __init__(self, script: Callable[[Scripted, Event], None]) -> None:
        self.script = script
        self.core = Connection(is_client=False)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.core.start()

    def data_received(self, data: bytes) -> None:
        for event in in_parts(self.core.receive(data, 0.0)):
            self.script(self, event)
        self.transport.write(self.core.take())

    def answer(self, event: Any, message: bytes = b"answer") -> None:
        self.core.respond(event.stream, ANSWER, message_bytes(message))
        self.transport.write(self.core.take())


@asynccontextmanager
async def scripted(script: Callable[[Scripted, Event], None], options: Any = ()) -> AsyncIterator[Channel]:
    server = await asyncio.get_running_loop().create_server(lambda: Scripted(script), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with wire.insecure_channel(f"127.0.0.1:{port}", options=[*SOON, *options]) as channel:
        yield channel
    server.close()


def reset(server: Scripted, event: HeadersReceived) -> None:
    server.core.reset(event.stream, ErrorCode.REFUSED_STREAM)


def go_away(server: Scripted, event: HeadersReceived) -> None:
    server.core.go_away(0, ErrorCode.NO_ERROR)


class RefusedOnce:
    """A script: the first call is refused in this way, the others are answered."""

    def __init__(self, refuse: Callable[[Scripted, HeadersReceived], None]) -> None:
        self.refuse = refuse
        self.calls = 0

    def __call__(self, server: Scripted, event: Event) -> None:
        if isinstance(event, HeadersReceived):
            self.calls += 1
            if self.calls == 1:
                self.refuse(server, event)
            else:
                server.answer(event)


@pytest.mark.parametrize("refuse", [reset, go_away])
async def test_a_call_that_the_server_has_not_looked_at_is_made_once_more(
    refuse: Callable[[Scripted, HeadersReceived], None],
) -> None:
    script = RefusedOnce(refuse)
    async with scripted(script) as channel:
        assert await asyncio.wait_for(channel.unary_unary(ECHO)(b"x"), 5) == b"answer"
        assert script.calls == 2


async def test_a_server_that_says_hello_and_farewell_in_one_breath_is_dialed_again() -> None:
    """Where the machine stalls, a connection may have grown old before its first call."""
    met: list[Scripted] = []

    def script(server: Scripted, event: Event) -> None:
        if server not in met:
            met.append(server)
            if len(met) < 3:
                server.core.go_away(0, ErrorCode.NO_ERROR)
        if isinstance(event, HeadersReceived):
            server.answer(event)

    async with scripted(script) as channel:
        assert await asyncio.wait_for(channel.unary_unary(ECHO)(b"x"), 5) == b"answer"
        assert len(met) == 3


async def test_a_server_that_refuses_a_call_gets_a_moment_before_it_is_asked_again() -> None:
    """Its count of streams may lag behind what it has sent: asked at once, it would refuse for the second time."""
    settled = asyncio.Event()
    loop = asyncio.get_running_loop()

    def script(server: Scripted, event: Event) -> None:
        if isinstance(event, HeadersReceived):
            if settled.is_set():
                server.answer(event)
            else:
                server.core.reset(event.stream, ErrorCode.REFUSED_STREAM)
                loop.call_later(REFUSED_PAUSE_S / 4, settled.set)  # before the call's own timer, which is set later

    async with scripted(script) as channel:
        assert await asyncio.wait_for(channel.unary_unary(ECHO)(b"x"), 5) == b"answer"


async def test_a_call_that_is_refused_twice_fails() -> None:
    def script(server: Scripted, event: Event) -> None:
        if isinstance(event, HeadersReceived):
            server.core.reset(event.stream, ErrorCode.REFUSED_STREAM)

    async with scripted(script) as channel:
        assert await refusal(channel.unary_unary(ECHO)(b"x")) is StatusCode.UNAVAILABLE


@pytest.mark.parametrize("grace", [None, 5])
async def test_closing_lets_a_refused_call_be_made_once_more_as_far_as_there_is_grace(grace: float | None) -> None:
    """It is under way all the time, though it has no stream for a moment."""
    async with scripted(RefusedOnce(reset)) as channel, asyncio.timeout(5):
        call = channel.unary_unary(ECHO)(b"x")
        while not call.retried:
            await asyncio.sleep(0)
        await channel.close(grace)
        assert await call.code() is (StatusCode.OK if grace else StatusCode.CANCELLED)


async def test_goaway_lets_what_has_begun_end_and_sends_what_is_new_elsewhere() -> None:
    ends: list[Callable[[], None]] = []
    servers: list[Scripted] = []

    def script(server: Scripted, event: Event) -> None:
        if server not in servers:
            servers.append(server)
        if isinstance(event, DataReceived):
            if server is servers[0]:
                server.core.go_away(event.stream.id, ErrorCode.NO_ERROR)
                ends.append(lambda: server.answer(event, b"old"))
            else:
                server.answer(event, b"new")

    async with scripted(script) as channel:
        old = channel.unary_unary(ECHO)(b"x")
        while channel.get_state() is not ChannelConnectivity.READY:
            await channel.wait_for_state_change(channel.get_state())
        await asyncio.wait_for(channel.wait_for_state_change(ChannelConnectivity.READY), 5)
        assert await asyncio.wait_for(channel.unary_unary(ECHO)(b"y"), 5) == b"new"
        ends[0]()
        assert await asyncio.wait_for(old, 5) == b"old"


async def test_a_silent_server_is_given_up_by_keepalive() -> None:
    def script(server: Scripted, event: Event) -> None:
        if isinstance(event, DataReceived):
            server.core.receive = lambda data, now: []  # type: ignore[method-assign]  # deaf from now on

    options = [("grpc.keepalive_time_ms", 50), ("grpc.keepalive_timeout_ms", 50)]
    async with scripted(script, options) as channel:
        call = channel.unary_unary(ECHO)(b"x")
        assert await asyncio.wait_for(refusal(call), 5) is StatusCode.UNAVAILABLE
        assert "watchdog" in await call.details()


async def test_keepalive_asks_again_as_soon_as_its_time_has_passed_and_not_that_of_a_failure_too() -> None:
    pings: list[bytes] = []

    def script(server: Scripted, event: Event) -> None:
        if isinstance(event, HeadersReceived):
            answer_ping = server.core.readers[PING]
            server.core.readers[PING] = lambda *frame: (pings.append(frame[2]), answer_ping(*frame))[1]

    options = [("grpc.keepalive_time_ms", 10), ("grpc.keepalive_timeout_ms", 60_000)]
    async with scripted(script, options) as channel:
        call = channel.unary_unary(ECHO)(b"x")
        await until(lambda: len(pings) >= 5)
        call.cancel()


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", frame(SETTINGS, 0, 1), b""])
async def test_what_is_no_http2_server_is_a_failure_to_connect(said: bytes) -> None:
    class Other(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(said)
            if not said:
                transport.close()

    server = await asyncio.get_running_loop().create_server(Other, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with wire.insecure_channel(f"127.0.0.1:{port}", options=SOON) as channel:
        assert await asyncio.wait_for(refusal(channel.unary_unary(ECHO)(b"x")), 5) is StatusCode.UNAVAILABLE
    server.close()


async def test_an_answer_that_is_not_grpc_is_told_by_its_http_status() -> None:
    def script(server: Scripted, event: Event) -> None:
        if isinstance(event, HeadersReceived):
            server.core.send_headers(event.stream, encode([(b":status", b"503")]), end_stream=True)

    async with scripted(script) as channel:
        assert await refusal(channel.unary_unary(ECHO)(b"x")) is StatusCode.UNAVAILABLE


REFUSED_HEADS = {
    "status": [(b":status", b"503")],
    "content type": [(b":status", b"200"), (b"content-type", b"text/html")],
    "metadata": [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"a-bin", b"no base64!")],
}


@pytest.mark.parametrize("why", REFUSED_HEADS)
async def test_an_answer_that_is_refused_for_its_head_is_cancelled(why: str) -> None:
    """The server is told that nobody reads on."""
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def script(server: Scripted, event: Event) -> None:
        if isinstance(event, HeadersReceived):
            server.core.send_headers(event.stream, encode(REFUSED_HEADS[why]))
        elif isinstance(event, StreamReset):
            told.set_result(event.code)

    async with scripted(script) as channel:
        await refusal(channel.unary_unary(ECHO)(b"x"))
        assert await asyncio.wait_for(told, 5) == ErrorCode.CANCEL


async def test_a_limit_of_streams_that_shrinks_is_kept() -> None:
    """Of ten calls on a connection that allows one at a time, no two are open at once."""
    most = 0

    def script(server: Scripted, event: Event) -> None:
        nonlocal most
        if isinstance(event, DataReceived):
            most = max(most, len(server.core.streams))
            server.answer(event)
            server.core.out.append(settings_frame({Setting.MAX_CONCURRENT_STREAMS: 1}))

    async with scripted(script) as channel:
        echo = channel.unary_unary(ECHO)
        await echo(b"first")
        assert await asyncio.gather(*(echo(b"x") for _ in range(10))) == [b"answer"] * 10
        assert most == 1


async def test_a_server_that_gives_its_window_back_in_crumbs_is_borne() -> None:
    """As grpcio's does under load."""

    def script(server: Scripted, event: Event) -> None:
        if isinstance(event, DataReceived):
            server.core.out += [window_update(0, 5)] * 5_000
            server.answer(event)

    async with scripted(script) as channel:
        assert await channel.unary_unary(ECHO)(b"x") == b"answer"
        assert channel.get_state() is ChannelConnectivity.READY
