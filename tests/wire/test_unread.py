"""Requests that nobody reads: against a server on a socket, which holds no more of them than it must."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from tests.venues import until
from tests.wire.attacker import besieged, call, held, message, request
from tests.wire.cores import data
from tests.wire.services import Context, Requests, ask, both_streams
from tests.wire.transports import Pair
from wire.frames import PREFACE, ErrorCode, Setting, reset_frame, settings_frame, window_update
from wire.limits import QUEUED_BYTES
from wire.messages import message_bytes

EXHAUSTED, INTERNAL = "8", "13"
MEGABYTE = 1 << 20
PAIR = Pair("grpcio", "native")
LONG_S = 10


async def test_requests_that_nobody_reads_wait_with_the_client() -> None:
    """An answer that cannot leave keeps a stream half open: what comes on it is dropped."""
    opening = PREFACE + settings_frame({Setting.INITIAL_WINDOW_SIZE: 0})
    async with besieged() as siege, await siege.arrive(opening) as attacker:
        await attacker.send(request(1, "Output") + message(1, ask(10, 10), end_stream=False))
        await until(lambda: any(intruder.unread for intruder in siege.intruders()))
        for _ in range(70):  # within its window each time
            await attacker.flood(lambda n: data(1, b"\0\0\x10\0\0" + bytes(16_000)), 3, 1)
            await attacker.nudge()
        await attacker.send(window_update(1, 100))
        assert (await attacker.answer(1))["grpc-status"] == "0"
        assert siege.most_held < MEGABYTE


CRUMBS = {
    "empty": (bytes(16_000), bytes(16_000)),
    "small": (b"\0\0\0\0\x01x" * 2_500, b"\0\0\0\0\x01x" * 2_500),
    "cut across": (bytes(16_000) + b"\0\0\0\0\x02x", b"x" + bytes(16_000) + b"\0\0\0\0\x02x"),
}


@pytest.mark.parametrize("crumb", CRUMBS)
async def test_messages_that_nobody_reads_wait_with_the_client_however_small(crumb: str) -> None:
    """To hold a message costs more than its bytes; and half of one at a frame's end is no excuse."""
    first, more = CRUMBS[crumb]
    async with besieged() as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, "HangDuplex"))
        await siege.service.entered.wait()
        await attacker.flood(lambda n: data(1, more if n else first), 100, 1)
        await attacker.send(call(3))
        assert (await attacker.answer(3))["grpc-status"] == "0"
        assert attacker.resets() == {1: ErrorCode.FLOW_CONTROL_ERROR}


BOMB = message_bytes(bytes(4 * MEGABYTE), gzip=True)  # of the largest size that is taken


async def test_gzip_that_nobody_reads_is_held_as_small_as_it_was_sent() -> None:
    async with besieged() as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, "HangDuplex", grpc_encoding="gzip") + data(1, BOMB * 3) * 5)
        await attacker.nudge()
        assert len(BOMB) * 14 < held(siege.intruder()) < QUEUED_BYTES
        assert len(BOMB) * 14 < siege.intruder().unfinished == siege.server.burden.size
        await attacker.send(reset_frame(1, ErrorCode.CANCEL))
        await attacker.nudge()
        assert siege.intruder().unfinished == 0


async def test_requests_that_nobody_reads_are_bounded_and_their_calls_refused() -> None:
    """Those who serve them are told."""
    async with besieged(unfinished=MEGABYTE) as siege, await siege.arrive() as attacker:
        for n in range(1, 101, 2):
            await attacker.send(request(n, "HangDuplex") + message(n, bytes(15_000), end_stream=False) * 4)
        await attacker.nudge()
        refused = [n for n in range(1, 101, 2) if attacker.status(n) == EXHAUSTED]
        assert len(refused) >= 50 - MEGABYTE // 60_000
        assert siege.most_held < 2 * MEGABYTE
        await until(lambda: len(siege.server.tasks) <= 50 - len(refused))


@pytest.mark.parametrize("method", ["HangStream", "HangDuplex"])
async def test_a_call_that_its_client_spoils_does_not_go_on(method: str) -> None:
    async with besieged() as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, method) + message(1, end_stream=False))
        await siege.service.entered.wait()
        await attacker.send(data(1, b"\2\0\0\0\0"))
        assert (await attacker.answer(1))["grpc-status"] == INTERNAL
        await until(siege.service.cancelled.is_set)


async def test_a_gzip_stream_that_is_read_slowly_comes_through_whole() -> None:
    """Far more than the windows hold, as it is sent and all the more as it is read."""
    sent = [random.Random(nth).randbytes(20_000) * 50 for nth in range(12)]
    may_read = asyncio.Event()

    async def method(requests: Requests, context: Context) -> AsyncIterator[bytes]:
        await may_read.wait()
        async for each in requests:
            yield each

    async with PAIR.serving({"Slow": both_streams(method)}, channel={"compression": grpc.Compression.Gzip}) as link:
        call = link.both_streams("Slow")(timeout=LONG_S)
        writing = asyncio.create_task(write(call, sent))
        await until(lambda: link.server.burden.size > QUEUED_BYTES)
        assert link.server.burden.size < 3 * QUEUED_BYTES
        may_read.set()
        assert [answer async for answer in call] == sent
        await writing
        assert link.server.burden.size == 0


async def write(call: Any, messages: list[bytes]) -> None:
    for each in messages:
        await call.write(each)
    await call.done_writing()
