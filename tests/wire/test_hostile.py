"""A hostile peer against a server on a socket: it is told what RFC 9113 says, and nobody else notices.

Each attack is made while a friend's calls go on; in the end the server holds nothing of either.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import h2.config
import h2.connection
import pytest

from tests.venues import until
from tests.wire.attacker import besieged, call, fields, message, request
from tests.wire.cores import data, headers
from tests.wire.services import ask
from wire.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    LARGEST_WINDOW,
    PING,
    PREFACE,
    PRIORITY,
    ErrorCode,
    Setting,
    frame,
    go_away_frame,
    reset_frame,
    settings_frame,
    window_update,
)
from wire.hpack import encode
from wire.limits import Limits
from wire.outbound import OUTBOX_COST

CALM = ErrorCode.ENHANCE_YOUR_CALM
EXHAUSTED, UNIMPLEMENTED, INTERNAL = "8", "12", "13"
LIMITS = Limits()
MALFORMED = headers(1, encode([(b"no-pseudo-header", b"at all")]))
NO_WINDOW = PREFACE + settings_frame({Setting.INITIAL_WINDOW_SIZE: 0})
MEGABYTE = 1 << 20


def new(nth: int) -> int:
    return 2 * nth + 1


def later(nth: int) -> int:
    """The streams after stream 1."""
    return 2 * nth + 3


# What is sent first, and what ten thousand times.
FLOODS: dict[str, tuple[bytes, Callable[[int], bytes]]] = {
    "rapid reset of calls that wait for a message": (b"", lambda n: request(new(n)) + reset_frame(new(n), 8)),
    "rapid reset of calls that run": (b"", lambda n: call(new(n), "Hang") + reset_frame(new(n), 8)),
    "rapid reset of streaming calls": (b"", lambda n: request(new(n), "Duplex") + reset_frame(new(n), 8)),
    "resets of what is closed": (request(1) + reset_frame(1, 8), lambda n: reset_frame(1, 8)),
    "CONTINUATION": (frame(HEADERS, 0, 1, b""), lambda n: frame(CONTINUATION, 0, 1, b"\x82" * 9)),
    "empty CONTINUATION": (frame(HEADERS, 0, 1, b""), lambda n: frame(CONTINUATION, 0, 1)),
    "large CONTINUATION": (frame(HEADERS, 0, 1, b""), lambda n: frame(CONTINUATION, 0, 1, bytes(16_000))),
    "empty DATA": (request(1, "Input"), lambda n: data(1, b"")),
    "DATA of padding": (request(1, "Input"), lambda n: frame(DATA, 0x8, 1, b"\x01\0")),
    "SETTINGS": (b"", lambda n: settings_frame({})),
    "SETTINGS that change the windows": (b"", lambda n: settings_frame({Setting.INITIAL_WINDOW_SIZE: n % 2})),
    "PING": (b"", lambda n: frame(PING, 0, 0, bytes(8))),
    "PRIORITY": (b"", lambda n: frame(PRIORITY, 0, 5, bytes(5))),
    "unknown frames": (b"", lambda n: frame(0xBB, 0, 0)),
    "GOAWAY": (b"", lambda n: go_away_frame(0, 0)),
    "the connection's window byte by byte": (b"", lambda n: window_update(0, 1)),
    "a stream's window byte by byte": (request(1, "Input"), lambda n: window_update(1, 1)),
    "the connection's window": (b"", lambda n: window_update(0, 1_000)),
    "the window of a stream that is closed": (request(1) + reset_frame(1, 8), lambda n: window_update(1, 1_000)),
    "malformed requests": (b"", lambda n: headers(new(n), MALFORMED[9:])),
    "streams without end": (b"", lambda n: request(new(n), "Duplex")),
}


@pytest.mark.parametrize("attack", FLOODS)
async def test_a_flood_is_told_to_calm_down_and_ends(attack: str) -> None:
    """The budgets do not fill up again, so that it ends however slowly it comes."""
    first, piece = FLOODS[attack]
    async with besieged(limits=Limits(nuisance_rate=0, reset_rate=0)) as siege:
        async with await siege.arrive() as attacker:
            await attacker.send(first)
            await attacker.flood(piece)
            await attacker.cut_off()
            assert attacker.farewell() is CALM
        assert siege.most_held < 2 * MEGABYTE


async def test_rapid_reset_by_a_client_that_keeps_to_the_protocol() -> None:
    """The h2 package opens the streams and takes them back: no frame is wrong but for their number."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    connection.initiate_connection()

    def taken_back(nth: int) -> bytes:
        connection.send_headers(new(nth), fields("Duplex"))
        connection.reset_stream(new(nth))
        return connection.data_to_send()

    async with (
        besieged(limits=Limits(resets=1_000, reset_rate=0)) as siege,
        await siege.arrive(connection.data_to_send()) as attacker,
    ):
        await attacker.flood(taken_back)
        await attacker.cut_off()
        assert attacker.farewell() is CALM


async def test_many_connections_that_flood_at_once() -> None:
    async with besieged(limits=Limits(resets=1_000, reset_rate=0)) as siege:
        attackers = [await siege.arrive() for _ in range(20)]
        for attacker in attackers:
            await attacker.flood(lambda n: request(new(n), "Duplex") + reset_frame(new(n), 8), 2_000)
        for attacker in attackers:
            await attacker.cut_off()
            assert attacker.farewell() is CALM
            await attacker.leave()


async def test_small_answers_that_wait_for_a_window_have_their_cost() -> None:
    async with besieged(held=MEGABYTE) as siege, await siege.arrive(NO_WINDOW) as attacker:
        at_once = 100  # begin before the first of them is answered
        for start in range(0, 900, at_once):
            await attacker.send(b"".join(call(new(n)) for n in range(start, start + at_once)))
            await attacker.nudge()
        refused = [n for n in range(900) if attacker.status(new(n)) == EXHAUSTED]
        assert len(refused) >= 900 - MEGABYTE // OUTBOX_COST - at_once


async def test_streams_above_the_limit_are_refused_and_the_others_live() -> None:
    async with besieged() as siege, await siege.arrive() as attacker:
        await attacker.flood(lambda n: request(new(n)), LIMITS.streams + 500)
        await attacker.nudge()
        refused = dict.fromkeys(range(new(LIMITS.streams), new(LIMITS.streams + 500), 2), ErrorCode.REFUSED_STREAM)
        assert attacker.resets() == refused
        assert len(siege.intruder().core.streams) == LIMITS.streams
        await attacker.send(message(1, b"at last"))
        assert (await attacker.answer(1))["grpc-status"] == "0"


# Header fields


def bomb(stream_id: int, entry_bytes: int = 4_000, times: int = 16_000) -> bytes:
    """A large field put into the dynamic table, and named again by a byte each time."""
    rest = entry_bytes - 127
    insertion = b"\x40\x01a\x7f" + bytes([rest & 0x7F | 0x80, rest >> 7]) + b"a" * entry_bytes
    return headers(stream_id, encode(fields()) + insertion + b"\xbe" * (times - len(insertion)))


async def test_a_bomb_of_header_fields_costs_its_stream_and_not_its_connection() -> None:
    async with besieged() as siege, await siege.arrive() as attacker:
        for nth in range(100):
            await attacker.send(bomb(new(nth)))
        for nth in range(100):
            assert (await attacker.answer(new(nth)))["grpc-status"] == EXHAUSTED
        await attacker.send(call(new(100)))
        assert (await attacker.answer(new(100)))["grpc-status"] == "0"
        assert siege.most_held < MEGABYTE


async def test_a_header_list_that_is_too_large_costs_its_stream_and_not_its_connection() -> None:
    block = encode((*fields(), *((b"x-%d" % n, bytes(1_000).replace(b"\0", b"v")) for n in range(30))))
    parts = [block[at : at + 10_000] for at in range(0, len(block), 10_000)]
    async with besieged() as siege, await siege.arrive() as attacker:
        await attacker.send(frame(HEADERS, 0, 1, parts[0]))
        await attacker.send(frame(CONTINUATION, 0, 1, parts[1]) + frame(CONTINUATION, 0, 1, parts[2]))
        await attacker.send(frame(CONTINUATION, END_HEADERS, 1, b"".join(parts[3:])) + call(3))
        assert (await attacker.answer(1))["grpc-status"] == EXHAUSTED
        assert (await attacker.answer(3))["grpc-status"] == "0"


async def test_a_broken_block_ends_the_connection() -> None:
    async with besieged() as siege, await siege.arrive() as attacker:
        await attacker.send(headers(1, b"\xff\xff\xff\xff\xff\xff"))
        await attacker.cut_off()
        assert attacker.farewell() is ErrorCode.COMPRESSION_ERROR


# Requests that are none

NOT_GRPC: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "GET": ({":method": "GET"}, {":status": "405"}),
    "no content-type": ({"content_type": ""}, {":status": "415"}),
    "JSON": ({"content_type": "application/json"}, {":status": "415"}),
    "not quite gRPC": ({"content_type": "application/grpcish"}, {":status": "415"}),
    "gRPC-Web": ({"content_type": "application/grpc-web"}, {":status": "415"}),
    "a timeout without a unit": ({"grpc_timeout": "1"}, {":status": "200", "grpc-status": INTERNAL}),
    "a timeout of nine digits": ({"grpc_timeout": "123456789n"}, {":status": "200", "grpc-status": INTERNAL}),
    "a negative timeout": ({"grpc_timeout": "-1S"}, {":status": "200", "grpc-status": INTERNAL}),
    "an encoding nobody knows": ({"grpc_encoding": "rot13"}, {":status": "200", "grpc-status": UNIMPLEMENTED}),
    "broken base64": ({"x_bin": "!"}, {":status": "200", "grpc-status": INTERNAL}),
    "a method nobody has": ({":path": "/a.B/C"}, {":status": "200", "grpc-status": UNIMPLEMENTED}),
    "a path that is none": ({":path": "*"}, {":status": "200", "grpc-status": UNIMPLEMENTED}),
}


@pytest.mark.parametrize("what", NOT_GRPC)
async def test_what_is_no_request_of_grpc_is_told_so(what: str) -> None:
    sent, expected = NOT_GRPC[what]
    async with besieged() as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, **sent) + message(1) + call(3))
        answer = await attacker.answer(1)
        assert expected == {name: answer[name] for name in expected}
        assert (await attacker.answer(3))["grpc-status"] == "0"


@pytest.mark.parametrize("missing", [":path", ":method", ":scheme"])
async def test_a_malformed_request_is_reset(missing: str) -> None:
    async with besieged() as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, **{missing: ""}) + call(3))
        assert (await attacker.answer(3))["grpc-status"] == "0"
        assert attacker.resets() == {1: ErrorCode.PROTOCOL_ERROR}


GARBAGE = {
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
    "a hello of TLS": bytes.fromhex("16030100050100000000"),
    "noise": bytes(range(255, 0, -1)) * 100,
    "a preface and noise": PREFACE + bytes(range(255, 0, -1)) * 100,
    "a preface and no settings": PREFACE + frame(PING, 0, 0, bytes(8)),
}


@pytest.mark.parametrize("what", GARBAGE)
async def test_what_is_no_http_2_is_closed(what: str) -> None:
    async with besieged() as siege, await siege.arrive(GARBAGE[what]) as attacker:
        await attacker.cut_off()
        assert attacker.farewell() in (ErrorCode.PROTOCOL_ERROR, ErrorCode.FRAME_SIZE_ERROR)


# Messages


def compressed(stream_id: int, payload: bytes) -> bytes:
    body = zlib.compress(payload, wbits=31)
    whole = b"\x01" + len(body).to_bytes(4, "big") + body
    return b"".join(data(stream_id, whole[at : at + 16_000]) for at in range(0, len(whole), 16_000))


async def test_a_message_that_is_too_large_is_refused_by_its_prefix() -> None:
    async with besieged() as siege, await siege.arrive() as attacker:
        for nth, method in enumerate(("Echo", "Duplex", "Input", "Output")):
            await attacker.send(request(new(nth), method) + data(new(nth), b"\0\xff\xff\xff\xff" + bytes(1_000)))
            assert (await attacker.answer(new(nth)))["grpc-status"] == EXHAUSTED
        assert siege.most_held < MEGABYTE


@pytest.mark.parametrize("method", ["Echo", "Duplex"])
async def test_a_bomb_of_gzip_is_refused(method: str) -> None:
    async with besieged(receive_limit=MEGABYTE) as siege, await siege.arrive() as attacker:
        packed = compressed(1, bytes(50 * MEGABYTE))
        await attacker.send(request(1, method, grpc_encoding="gzip") + packed + call(3))
        assert (await attacker.answer(1))["grpc-status"] == EXHAUSTED
        assert (await attacker.answer(3))["grpc-status"] == "0"


# Windows


def of_window(stream_id: int, size: int) -> bytes:
    return call(stream_id, "Unary", ask(size))


async def test_answers_without_a_window_are_bounded_and_the_rest_refused() -> None:
    async with besieged(unsent=8 * MEGABYTE) as siege, await siege.arrive(NO_WINDOW) as attacker:
        await attacker.flood(lambda n: of_window(new(n), MEGABYTE), 100, 10)
        await until(lambda: sum(attacker.status(new(n)) == EXHAUSTED for n in range(100)) >= 90)
        assert siege.intruder().core.queued <= 9 * MEGABYTE
        assert siege.most_held < 10 * MEGABYTE
        assert attacker.data_bytes() == 0


async def test_a_window_that_opens_late_lets_the_answer_out() -> None:
    async with besieged() as siege, await siege.arrive(NO_WINDOW) as attacker:
        await attacker.send(of_window(1, MEGABYTE) + window_update(0, LARGEST_WINDOW - 65_535))
        await attacker.send(b"".join(window_update(1, 1) for _ in range(100)))
        await until(lambda: attacker.data_bytes() == 100)
        await attacker.send(settings_frame({Setting.INITIAL_WINDOW_SIZE: MEGABYTE}))
        assert (await attacker.answer(1))["grpc-status"] == "0"
        assert attacker.data_bytes() == MEGABYTE + 5
        assert siege.intruder().core.queued == 0


async def test_answers_that_wait_for_a_window_go_with_their_deadline() -> None:
    async with besieged() as siege, await siege.arrive(NO_WINDOW) as attacker:
        await attacker.send(request(1, "Unary", grpc_timeout="100m") + message(1, ask(MEGABYTE)))
        await attacker.send(request(3, "Output", grpc_timeout="100m") + message(3, ask(*[MEGABYTE] * 9)))
        await until(lambda: attacker.resets() == dict.fromkeys((1, 3), ErrorCode.CANCEL))
        assert not siege.intruder().core.streams
        assert siege.intruder().core.queued == 0


async def test_windows_beyond_the_largest_are_faults() -> None:
    async with besieged() as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, "Duplex") + window_update(1, LARGEST_WINDOW) + call(3))
        assert (await attacker.answer(3))["grpc-status"] == "0"
        assert attacker.resets() == {1: ErrorCode.FLOW_CONTROL_ERROR}
        await attacker.send(window_update(0, LARGEST_WINDOW))
        await attacker.cut_off()
        assert attacker.farewell() is ErrorCode.FLOW_CONTROL_ERROR


async def test_data_beyond_the_window_is_a_fault() -> None:
    async with besieged() as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, "HangDuplex"))
        await attacker.flood(lambda n: data(1, (b"\0\0\0\x03\xfb" + bytes(1_019)) * 15), 40, 1)
        await attacker.send(call(3))
        assert (await attacker.answer(3))["grpc-status"] == "0"
        assert attacker.resets() == {1: ErrorCode.FLOW_CONTROL_ERROR}
        assert siege.most_held < MEGABYTE
