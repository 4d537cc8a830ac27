"""Peers that do nothing, or only half of it, or leave at the worst moment: against a server on a socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import product
from typing import Any

import pytest
import trustme
from hyperframe.frame import PingFrame

import wire
from tests.venues import until
from tests.wire.attacker import HOST, Attacker, Siege, besieged, call, message, request
from tests.wire.cores import CLIENT_OPENING, data
from tests.wire.services import Asking, ask
from wire.frames import (
    CONTINUATION,
    END_HEADERS,
    HEADER_BYTES,
    HEADERS,
    LARGEST_WINDOW,
    PREFACE,
    ErrorCode,
    Setting,
    frame,
    go_away_frame,
    reset_frame,
    settings_frame,
    window_update,
)
from wire.server_call import REQUEST_COST
from wire.server_connection import WRITE_BUFFER

LATE, EXHAUSTED, INTERNAL = "4", "8", "13"
MEGABYTE = 1 << 20
OPEN_WINDOWS = (
    PREFACE + settings_frame({Setting.INITIAL_WINDOW_SIZE: LARGEST_WINDOW}) + window_update(0, LARGEST_WINDOW - 65_535)
)


# Slow readers


async def gone(siege: Siege) -> None:
    await until(lambda: not siege.intruders())


async def test_a_reader_who_never_reads_a_stream_is_dropped() -> None:
    async with besieged() as siege, await siege.arrive(OPEN_WINDOWS, deaf=True) as attacker:
        await attacker.send(call(1, "WriteOutput", ask(*[60_000] * 4_000)))
        await until(lambda: any(intruder.paused for intruder in siege.intruders()))
        await gone(siege)
        assert siege.most_held < 4 * WRITE_BUFFER


async def test_a_reader_who_never_reads_its_answers_is_dropped_and_holds_no_more_than_the_bound() -> None:
    async with besieged(unsent=8 * MEGABYTE) as siege, await siege.arrive(OPEN_WINDOWS, deaf=True) as attacker:
        await attacker.send(b"".join(call(2 * n + 1, "Unary", ask(MEGABYTE)) for n in range(500)))
        await gone(siege)
        assert siege.most_held < 10 * MEGABYTE


async def fill(siege: Siege, attacker: Attacker) -> None:
    """Ask for answers until the kernel takes no more of them."""
    for nth in range(1_000):
        await attacker.send(call(2 * nth + 1, "Unary", ask(60_000)))
        await siege.goes_on()
        if siege.intruder().transport.get_write_buffer_size():
            return
    raise AssertionError("the kernel takes everything")


async def test_a_reader_who_never_reads_cannot_outlive_its_fault() -> None:
    """What is said last would wait for it for ever."""
    async with (
        besieged(stalled_s=60, linger_s=0.2) as siege,
        await siege.arrive(OPEN_WINDOWS, deaf=True) as attacker,
    ):
        await fill(siege, attacker)
        await attacker.send(frame(HEADERS, END_HEADERS, 0, b""))
        await gone(siege)


async def test_a_reader_who_never_reads_cannot_outlive_its_own_farewell() -> None:
    async with (
        besieged(stalled_s=60, linger_s=0.2) as siege,
        await siege.arrive(OPEN_WINDOWS, deaf=True) as attacker,
    ):
        await fill(siege, attacker)
        attacker.socket.shutdown(socket.SHUT_WR)
        await gone(siege)


async def test_a_reader_who_never_reads_does_not_hold_up_the_end_of_the_server() -> None:
    async with (
        besieged(stalled_s=60, linger_s=0.2) as siege,
        await siege.arrive(OPEN_WINDOWS, deaf=True) as attacker,
    ):
        await fill(siege, attacker)
        await siege.part()
        async with asyncio.timeout(10):
            await siege.server.stop(0.1)
        assert not siege.server.connections


# Slow writers

HELLOS = {
    "nothing": b"",
    "half a preface": PREFACE[:11],
    "a preface": PREFACE,
    "a preface and half of the settings": PREFACE + settings_frame({Setting.INITIAL_WINDOW_SIZE: 1})[:12],
    "half a block of header fields": CLIENT_OPENING + frame(HEADERS, 0, 1, b"\x82"),
}


@pytest.mark.parametrize("hello", HELLOS)
async def test_who_does_not_finish_the_hello_is_dropped(hello: str) -> None:
    async with besieged() as siege, await siege.arrive(HELLOS[hello]) as attacker:
        await attacker.cut_off()


async def test_a_block_that_comes_in_crumbs_for_ever_is_dropped() -> None:
    """Not even a frame now and then keeps it."""
    async with besieged() as siege, await siege.arrive(CLIENT_OPENING + frame(HEADERS, 0, 1, b"\x82")) as attacker:
        while await attacker.send(frame(9, 0, 1)):
            await siege.goes_on()
        await attacker.cut_off()


DRIPS = {
    "HEADERS": frame(HEADERS, END_HEADERS, 1, bytes(16_000))[:HEADER_BYTES],
    "CONTINUATION": frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1, bytes(16_000))[:HEADER_BYTES],
}


@pytest.mark.parametrize("start", DRIPS)
async def test_a_block_that_drips_is_dropped(start: str) -> None:
    """Not even a byte now and then keeps it."""
    async with besieged() as siege, await siege.arrive(CLIENT_OPENING + DRIPS[start]) as attacker:
        for _ in range(1_000):
            if not await attacker.send(b"\0"):
                break
            await siege.goes_on(1)
        assert attacker.is_cut_off
        assert attacker.farewell() is None


HALVES = {
    "half a frame": data(1, bytes(1_000))[:500],
    "half a frame's header": data(1, b"")[:4],
    "half a message": data(1, b"\0\0\0\0\x09half"),
    "half a prefix": data(1, b"\0\0"),
    "nothing": b"",
}


@pytest.mark.parametrize("half", HALVES)
async def test_who_falls_silent_in_the_middle_is_asked_and_dropped(half: str) -> None:
    async with besieged(keepalive_s=0.1, keepalive_timeout_s=0.1) as siege, await siege.arrive() as attacker:
        await attacker.send(request(1) + HALVES[half])
        await attacker.cut_off()


async def test_who_is_idle_and_answers_stays() -> None:
    async with besieged(keepalive_s=0.05, keepalive_timeout_s=60) as siege, await siege.arrive() as attacker:
        for count in range(1, 4):
            await until(lambda count=count: len(pings(attacker)) >= count)  # type: ignore[misc]
            await attacker.send(frame(6, 1, 0, pings(attacker)[-1].opaque_data))
        await attacker.send(call(1))
        assert (await attacker.answer(1))["grpc-status"] == "0"


def pings(attacker: Attacker) -> list[PingFrame]:
    return attacker.said(PingFrame)


async def test_halves_of_messages_are_bounded_and_the_rest_refused() -> None:
    piece = b"\0\0\x10\0\0" + bytes(16_000)
    async with besieged(unfinished=4 * MEGABYTE) as siege, await siege.arrive() as attacker:
        await attacker.flood(lambda n: request(2 * n + 1) + data(2 * n + 1, piece), 900)
        await attacker.nudge()
        refused = [n for n in range(900) if attacker.status(2 * n + 1) == EXHAUSTED]
        assert len(refused) > 600
        assert siege.most_held < 5 * MEGABYTE
        for n in range(900):
            await attacker.send(reset_frame(2 * n + 1, ErrorCode.CANCEL))
        await attacker.nudge()
        assert siege.intruder().unfinished == 0


INTERCEPTORS = pytest.mark.parametrize("interceptors", [(), (Asking(),)], ids=["alone", "intercepted"])


@INTERCEPTORS
async def test_heads_alone_take_no_calls_from_others(interceptors: Sequence[Any]) -> None:
    heads = b"".join(request(n, "Hang" if n & 2 else "Output") for n in range(1, 31, 2))
    async with besieged(None, interceptors, concurrent_calls=20) as siege, AsyncExitStack() as stack:
        for _ in range(4):
            attacker = await stack.enter_async_context(await siege.arrive())
            await attacker.send(heads)
            await attacker.nudge()
        await siege.goes_on()
        assert siege.server.calls <= 1
        await attacker.send(message(1, ask(9)))
        assert (await attacker.answer(1))["grpc-status"] == "0"
        await attacker.send(reset_frame(5, ErrorCode.CANCEL))


@INTERCEPTORS
async def test_calls_count_once_their_requests_are_whole(interceptors: Sequence[Any]) -> None:
    ids = range(1, 11, 2)
    async with besieged(None, interceptors, concurrent_calls=3) as siege, await siege.arrive() as attacker:
        await siege.part()
        for n in ids:
            await attacker.send(request(n, "Hang"))
            await attacker.nudge()  # one by one, because interceptors are at work for a moment, in which a call counts
        await attacker.send(b"".join(map(message, ids)))
        for n in ids[3:]:
            answer = await attacker.answer(n)
            assert (answer["grpc-status"], answer["grpc-message"]) == (EXHAUSTED, "Concurrent RPC limit exceeded!")
        await until(lambda: siege.server.calls == 3)
        siege.service.released.set()
        for n in ids[:3]:
            assert (await attacker.answer(n))["grpc-status"] == "0"
        assert siege.server.calls == 0


@INTERCEPTORS
async def test_heads_alone_have_deadlines_and_cost_nothing_after(interceptors: Sequence[Any]) -> None:
    ids = range(1, 11, 2)
    async with besieged(None, interceptors) as siege, await siege.arrive() as attacker:
        await siege.part()
        await attacker.send(b"".join(request(n, grpc_timeout="50m") for n in ids))
        for n in ids:
            assert (await attacker.answer(n))["grpc-status"] == LATE
        assert (siege.server.calls, siege.server.burden.size) == (0, 0)


async def test_heads_alone_are_bounded_and_the_rest_refused() -> None:
    async with besieged(unfinished=MEGABYTE) as siege, await siege.arrive() as attacker:
        await attacker.flood(lambda n: request(2 * n + 1), 900)
        await attacker.nudge()
        refused = [n for n in range(900) if attacker.status(2 * n + 1) == EXHAUSTED]
        assert len(refused) >= 900 - MEGABYTE // REQUEST_COST
        assert siege.intruder().unfinished < MEGABYTE + 2 * REQUEST_COST


FIRST_REQUESTS = {
    "message": message(1, b"", end_stream=False),
    "message and end": message(1, b""),
    "end": data(1, b"", end_stream=True),
}


@pytest.mark.parametrize("first", FIRST_REQUESTS)
async def test_a_stream_is_refused_when_its_first_request_has_come(first: str) -> None:
    async with besieged(first_request_s=60) as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, "RefuseDuplex"))
        await siege.service.entered.wait()
        await attacker.nudge()
        assert attacker.answers == {}
        await attacker.send(FIRST_REQUESTS[first])
        assert (await attacker.answer(1))["grpc-status"] == EXHAUSTED


async def test_a_stream_on_which_nothing_comes_is_refused_all_the_same() -> None:
    async with besieged(first_request_s=0.01) as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, "RefuseDuplex"))
        assert (await attacker.answer(1))["grpc-status"] == EXHAUSTED


async def test_a_message_that_ends_in_its_middle_is_an_error() -> None:
    async with besieged() as siege, await siege.arrive() as attacker:
        for nth, method in enumerate(("Echo", "Duplex", "Input", "Output")):
            stream_id = 2 * nth + 1
            await attacker.send(request(stream_id, method) + data(stream_id, b"\0\0\0\0\x09half", end_stream=True))
            assert (await attacker.answer(stream_id))["grpc-status"] == INTERNAL


# Connections


@pytest.fixture(scope="module")
def credentials() -> object:
    certificate = trustme.CA().issue_cert(HOST)
    pair = certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes()
    return wire.ssl_server_credentials([pair])


@pytest.mark.parametrize("hello", [b"", bytes.fromhex("1603010200010001fc0303"), PREFACE])
async def test_a_handshake_of_tls_that_never_ends_is_dropped(credentials: object, hello: bytes) -> None:
    async with besieged(credentials) as siege, await siege.arrive(hello) as attacker:
        await attacker.cut_off()


async def test_connections_above_the_limit_are_closed_at_once_and_make_room_when_they_leave() -> None:
    async with besieged(connections=3) as siege:
        inside = [await siege.arrive() for _ in range(2)]
        for attacker in inside:
            await attacker.nudge()
        for _ in range(50):
            async with await siege.arrive() as outside:
                await outside.cut_off()
        assert len(siege.intruders()) == 2
        await inside.pop().leave()
        await until(lambda: len(siege.intruders()) == 1)
        async with await siege.arrive() as late:
            await late.nudge()
        await inside.pop().leave()


# Phases of a call: what was sent so far, and how the client goes away

METHODS = ("Echo", "Hang", "Output", "HangStream", "Input", "Duplex", "HangDuplex")
PHASES = {
    "head": request,
    "half a message": lambda n, method: request(n, method) + data(n, b"\0\0\0\0\x09half"),
    "message": lambda n, method: request(n, method) + message(n, ask(9), end_stream=False),
    "end": lambda n, method: call(n, method, ask(9)),
}
ENDS = {
    "RST_STREAM": lambda n: reset_frame(n, ErrorCode.CANCEL),
    "GOAWAY": lambda n: go_away_frame(0, ErrorCode.INTERNAL_ERROR),
    "a fault": lambda n: frame(HEADERS, END_HEADERS, 0, b""),
    "close": None,
    "a reset of TCP": None,
}


@pytest.mark.parametrize(("phase", "end"), list(product(PHASES, ENDS)))
async def test_a_client_that_goes_away_leaves_nothing_behind(phase: str, end: str) -> None:
    async with besieged() as siege:
        for method in METHODS:
            async with await siege.arrive() as attacker:
                await attacker.send(PHASES[phase](1, method))
                await attacker.nudge()
                last = ENDS[end]
                if last is not None:
                    await attacker.send(last(1))
                    await siege.goes_on(1)
                await attacker.leave(rudely=end == "a reset of TCP")
        await until(lambda: not siege.intruders() and siege.server.calls <= 1)
