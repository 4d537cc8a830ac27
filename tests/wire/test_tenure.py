"""How long a connection is kept: idle ones, old ones, and those that ask too often whether the server is alive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from hyperframe.frame import GoAwayFrame, SettingsFrame

import wire
from tests.venues import until
from tests.wire.attacker import HOST, NUDGE, Attacker, besieged, call
from tests.wire.services import SERVICE, Context, Service, unary
from tests.wire.transports import CHANNELS, SERVERS
from wire.frames import PING, ErrorCode, frame

LONG_S = 10
PINGS = 4  # the first is free, then come two strikes


async def test_a_connection_that_never_calls_is_asked_to_leave() -> None:
    async with besieged(idle_s=0.1, linger_s=0.2) as siege, await siege.arrive() as attacker:
        await attacker.cut_off()
        assert attacker.farewell() is ErrorCode.NO_ERROR


async def test_a_quiet_stream_keeps_its_connection_and_leaves_it_idle() -> None:
    """Later connections without calls come and go in the meantime."""
    async with besieged(idle_s=0.1, linger_s=0.2) as siege, await siege.arrive() as quiet:
        await quiet.send(call(1, "HangStream", b""))
        await siege.service.entered.wait()
        for _ in range(3):
            async with await siege.arrive() as idle:
                await idle.cut_off()
        assert quiet.farewell() is None
        siege.service.released.set()
        assert (await quiet.answer(1))["grpc-status"] == "0"
        await quiet.cut_off()
        assert quiet.farewell() is ErrorCode.NO_ERROR


async def test_an_old_connection_finishes_its_calls_before_it_closes() -> None:
    async with besieged(age_s=0.1, linger_s=0.2) as siege, await siege.arrive() as attacker:
        await attacker.send(call(1, "HangStream", b""))
        await until(lambda: attacker.farewell() is not None)
        assert attacker.farewell() is ErrorCode.NO_ERROR
        assert not attacker.is_cut_off
        siege.service.released.set()
        assert (await attacker.answer(1))["grpc-status"] == "0"
        await attacker.cut_off()


async def test_a_call_that_outlives_the_grace_of_its_connection_is_ended() -> None:
    async with besieged(age_s=0.1, age_grace_s=0.1) as siege, await siege.arrive() as attacker:
        await attacker.send(call(1, "HangStream", b""))
        assert (await attacker.answer(1))["grpc-status"] == "14"
        await attacker.cut_off()
        await siege.service.cancelled.wait()


@pytest.mark.parametrize("make", CHANNELS.values(), ids=CHANNELS)
async def test_callers_do_not_notice_that_their_connections_grow_old(make: Any) -> None:
    async def peer(request: bytes, context: Context) -> bytes:
        return str(context.peer()).encode()

    server = wire.server(options=[("grpc.max_connection_age_ms", 1), ("grpc.so_reuseport", 0)])
    server.settings = msgspec.structs.replace(server.settings, look_s=0.01)
    server.add_generic_rpc_handlers((Service().handlers({"Peer": unary(peer)}),))
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    peers = set()
    async with make(f"{HOST}:{port}") as channel:
        ask_peer = channel.unary_unary(f"/{SERVICE}/Peer")
        while len(peers) < 5:
            peers.add(await ask_peer(b"", timeout=LONG_S))
    await server.stop(None)


@asynccontextmanager
async def visited(make: Any, **options: int) -> AsyncIterator[Attacker]:
    """A server, and a client of few words at it. `options` by their last names."""
    server = make(options=[("grpc.so_reuseport", 0), *((name.replace("__", "."), options[name]) for name in options)])
    service = Service()
    server.add_generic_rpc_handlers((service.handlers({}),))
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    try:
        async with await Attacker.arrive(port) as attacker:
            await until(lambda: len(attacker.said(SettingsFrame)) == 2)  # its own and what it says to ours
            yield attacker
    finally:
        service.released.set()
        await server.stop(None)


@pytest.mark.parametrize("make", SERVERS.values(), ids=SERVERS)
async def test_who_asks_too_often_whether_the_server_lives_is_sent_away(make: Any) -> None:
    async with visited(make) as attacker:
        for _ in range(PINGS - 1):
            await attacker.nudge()
        assert attacker.farewell() is None
        await attacker.send(frame(PING, 0, 0, NUDGE))
        await attacker.cut_off()
        assert attacker.farewell() is ErrorCode.ENHANCE_YOUR_CALM
        assert attacker.said(GoAwayFrame)[-1].additional_data == b"too_many_pings"


@pytest.mark.parametrize("make", SERVERS.values(), ids=SERVERS)
async def test_who_hears_something_else_between_may_ask(make: Any) -> None:
    async with visited(make) as attacker:
        for nth in range(PINGS):
            await attacker.nudge()
            await attacker.nudge()
            await attacker.send(call(2 * nth + 1))
            await attacker.answer(2 * nth + 1)
        await attacker.nudge()


INTERVAL = {"grpc__http2__min_ping_interval_without_data_ms": 0}
STREAM = {"grpc__keepalive_permit_without_calls": 0} | INTERVAL
IDLE = {"grpc__keepalive_permit_without_calls": 1} | INTERVAL


@pytest.mark.parametrize("make", SERVERS.values(), ids=SERVERS)
async def test_the_options_allow_pings_during_calls_and_without(make: Any) -> None:
    async with visited(make, **IDLE) as attacker:
        for _ in range(3 * PINGS):
            await attacker.nudge()
    async with visited(make, **STREAM) as attacker:
        await attacker.send(call(1, "HangStream"))
        for _ in range(3 * PINGS):
            await attacker.nudge()
    async with visited(make, grpc__http2__max_ping_strikes=0) as attacker:
        for _ in range(3 * PINGS):
            await attacker.nudge()
