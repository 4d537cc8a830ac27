"""Many connections that hold a bit too much each: the server as a whole has a bound, and serves others below it."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.venues import until
from tests.wire.attacker import Attacker, Siege, besieged, call, message, request
from tests.wire.cores import data
from tests.wire.services import ask
from wire.frames import LARGEST_WINDOW, PREFACE, Setting, settings_frame, window_update
from wire.limits import QUEUED_BYTES
from wire.messages import message_bytes
from wire.server_call import REQUEST_COST
from wire.server_connection import WRITE_BUFFER

MEGABYTE = 1 << 20
HELD = 4 * MEGABYTE
MANY = 20
EXHAUSTED = "8"
CLOSED_WINDOWS = PREFACE + settings_frame({Setting.INITIAL_WINDOW_SIZE: 0})
OPEN_WINDOWS = (
    PREFACE + settings_frame({Setting.INITIAL_WINDOW_SIZE: LARGEST_WINDOW}) + window_update(0, LARGEST_WINDOW - 65_535)
)
ANSWER = 50_000
HALF = b"\0\0\x10\0\0" + bytes(16_000)
SHARES = MANY * (QUEUED_BYTES + ANSWER)


async def crowd(siege: Siege, stack: AsyncExitStack, opening: bytes, *, deaf: bool = False) -> list[Attacker]:
    return [await stack.enter_async_context(await siege.arrive(opening, deaf=deaf)) for _ in range(MANY)]


def refusals(attackers: list[Attacker]) -> int:
    return sum(answer.get("grpc-status") == EXHAUSTED for each in attackers for answer in each.answers.values())


async def relieved(siege: Siege) -> None:
    """Nothing stays on the books."""
    await until(lambda: siege.server.burden.size == 0)


async def test_many_who_give_their_answers_no_window_are_bounded_together() -> None:
    async with besieged(held=HELD) as siege:
        async with AsyncExitStack() as stack:
            attackers = await crowd(siege, stack, CLOSED_WINDOWS)
            for attacker in attackers:
                await attacker.send(b"".join(call(2 * n + 1, "Unary", ask(ANSWER)) for n in range(40)))
                await attacker.nudge()
            assert HELD < siege.server.burden.size < HELD + SHARES
            assert refusals(attackers) > 20
            assert siege.most_held < HELD + SHARES
            late = await stack.enter_async_context(await siege.arrive())
            await late.send(call(1, "Unary", ask(ANSWER)))
            assert (await late.answer(1))["grpc-status"] == "0"
            await siege.goes_on()
        await relieved(siege)


async def test_many_who_do_not_finish_their_requests_are_bounded_together() -> None:
    async with besieged(held=HELD) as siege:
        async with AsyncExitStack() as stack:
            attackers = await crowd(siege, stack, OPEN_WINDOWS)
            for attacker in attackers:
                await attacker.send(b"".join(request(2 * n + 1) + data(2 * n + 1, HALF) for n in range(50)))
                await attacker.nudge()
            assert HELD < siege.server.burden.size < HELD + SHARES
            assert refusals(attackers) > 20
            await siege.goes_on()
        await relieved(siege)


WINDOWS = {  # nearly full
    "plain": ("identity", message_bytes(bytes(15_000))),
    "gzip": ("gzip", message_bytes(bytes(4 * MEGABYTE), gzip=True) * 3),
}


@pytest.mark.parametrize("kind", WINDOWS)
async def test_many_whose_requests_nobody_reads_are_bounded_together(kind: str) -> None:
    encoding, piece = WINDOWS[kind]
    async with besieged(held=HELD) as siege:
        async with AsyncExitStack() as stack:
            attackers = await crowd(siege, stack, OPEN_WINDOWS)
            for attacker in attackers:
                for n in range(1, 41, 2):
                    await attacker.send(request(n, "HangDuplex", grpc_encoding=encoding) + data(n, piece) * 4)
                await attacker.nudge()
            assert HELD < siege.server.burden.size < HELD + SHARES
            assert refusals(attackers) > 20
            assert siege.most_held < HELD + SHARES
            late = await stack.enter_async_context(await siege.arrive())
            await late.send(request(1, "Input") + message(1, ask(0)))
            assert (await late.answer(1))["grpc-status"] == "0"
            await siege.goes_on()
        await relieved(siege)


@pytest.mark.parametrize("size", [0, 10_000])
async def test_many_who_send_heads_alone_are_bounded_together(size: int) -> None:
    """A head has its cost, and so has the metadata in it; those who have sent few of them are served."""
    heads = [request(2 * n + 1, x_large="x" * size) for n in range(999)]
    enough = 4 * HELD // MANY // (REQUEST_COST + size)
    few = range(1, 21, 2)
    async with besieged(held=HELD) as siege:
        async with AsyncExitStack() as stack:
            attackers = await crowd(siege, stack, OPEN_WINDOWS)
            for attacker in attackers:
                await attacker.send(b"".join(heads[:enough]))
                await attacker.nudge()
            assert HELD < siege.server.burden.size < HELD + SHARES
            assert refusals(attackers) > enough
            late = await stack.enter_async_context(await siege.arrive())
            await late.send(b"".join(map(request, few)))
            await late.nudge()
            await late.send(b"".join(map(message, few)))
            assert [(await late.answer(n))["grpc-status"] for n in few] == ["0"] * len(few)
            await siege.goes_on()
        await relieved(siege)


async def test_many_who_do_not_read_their_sockets_are_bounded_together() -> None:
    async with besieged(held=HELD, stalled_s=600) as siege:
        async with AsyncExitStack() as stack:
            for attacker in await crowd(siege, stack, OPEN_WINDOWS, deaf=True):
                await attacker.send(b"".join(call(2 * n + 1, "Unary", ask(ANSWER)) for n in range(400)))
                await siege.goes_on(1)
            await siege.goes_on()
            assert siege.most_held < HELD + SHARES + MANY * WRITE_BUFFER  # what may wait for the kernel is not counted
        await relieved(siege)
