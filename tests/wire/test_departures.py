"""How our server leaves its clients: in two steps (RFC 9113, section 6.8), so that no call is lost on the way."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any

import grpc
import grpc.aio
from hyperframe.frame import GoAwayFrame, PingFrame

import wire
from tests.venues import until
from tests.wire.attacker import HOST, Attacker, besieged, call
from tests.wire.cores import CLIENT_OPENING
from tests.wire.services import SERVICE, Service
from wire.frames import ACK, LARGEST_STREAM_ID, PING, frame
from wire.server import Server
from wire.server_connection import ServerConnection

GRACE_S = 30
RESTARTS, CHANNELS, CALLS_AT_ONCE, CALLS_BETWEEN = 12, 4, 8, 200
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)
QUICK_BACKOFF = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100)]


def farewells(attacker: Attacker) -> list[int]:
    """The last stream that each GOAWAY lets in."""
    return [said.last_stream_id for said in attacker.said(GoAwayFrame)]


async def test_a_call_that_crosses_the_farewell_is_served() -> None:
    async with besieged(linger_s=GRACE_S) as siege, await siege.arrive() as attacker:
        await attacker.nudge()
        await siege.part()
        stopping = asyncio.create_task(siege.server.stop(GRACE_S))
        await until(lambda: bool(attacker.said(GoAwayFrame)))
        await attacker.send(call(1))
        assert (await attacker.answer(1))["grpc-status"] == "0"
        assert farewells(attacker) == [LARGEST_STREAM_ID]
        await attacker.send(frame(PING, ACK, 0, attacker.said(PingFrame)[-1].opaque_data))
        await attacker.cut_off()
        assert farewells(attacker) == [LARGEST_STREAM_ID, 1]
        await attacker.leave()
        await stopping


async def test_a_client_that_does_not_say_that_it_has_read_the_farewell_begins_no_calls_for_ever() -> None:
    async with besieged(linger_s=0.1) as siege, await siege.arrive() as attacker:
        await attacker.send(call(1, "Hang"))
        await siege.service.entered.wait()
        await siege.part()
        stopping = asyncio.create_task(siege.server.stop(GRACE_S))
        await until(lambda: len(farewells(attacker)) == 2)
        assert farewells(attacker) == [LARGEST_STREAM_ID, 1]
        await attacker.send(call(3))
        await attacker.nudge()
        assert attacker.status(3) is None
        siege.service.released.set()
        assert (await attacker.answer(1))["grpc-status"] == "0"
        await stopping


async def test_a_connection_that_is_made_while_the_server_stops_is_left_like_the_others() -> None:
    async with besieged() as siege, await siege.arrive() as attacker:
        await attacker.send(call(1, "Hang"))
        await siege.service.entered.wait()
        await siege.part()
        stopping = asyncio.create_task(siege.server.stop(GRACE_S))
        await until(lambda: bool(farewells(attacker)))
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: ServerConnection(siege.server), ours)
        async with Attacker(theirs, deaf=False) as late:
            await late.send(CLIENT_OPENING)
            await until(lambda: bool(farewells(late)))
        siege.service.released.set()
        await stopping


# grpcio's channels, while servers follow one another


async def started(port: int) -> tuple[Server, int]:
    server = wire.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Service().handlers({}),))
    port = server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    return server, port


async def test_servers_that_follow_one_another_lose_no_call_of_grpcio_s() -> None:
    """Its channels begin a call again that a GOAWAY has refused; but only once, and it may be refused twice."""
    ends: Counter[Any] = Counter()
    is_over = False
    server, port = await started(0)

    async def keep_calling(channel: grpc.aio.Channel) -> None:
        echo: Any = channel.unary_unary(f"/{SERVICE}/Echo")
        while not is_over:
            try:
                ends[await echo(b"x", wait_for_ready=True)] += 1
            except grpc.aio.AioRpcError as error:
                ends[error.code(), error.details()] += 1

    channels = [
        grpc.aio.insecure_channel(f"{HOST}:{port}", options=[OWN_CONNECTION, *QUICK_BACKOFF]) for _ in range(CHANNELS)
    ]
    users = [asyncio.create_task(keep_calling(channel)) for channel in channels for _ in range(CALLS_AT_ONCE)]
    for _ in range(RESTARTS):
        enough = ends.total() + CALLS_BETWEEN
        await until(lambda enough=enough: ends.total() >= enough)  # type: ignore[misc]
        await server.stop(GRACE_S)
        server, _ = await started(port)
    is_over = True
    await asyncio.gather(*users)
    for channel in channels:
        await channel.close()
    await server.stop(None)
    assert set(ends) == {b"x"}
