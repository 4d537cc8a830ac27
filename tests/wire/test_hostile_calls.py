"""Calls that are made to take all there is: of the calls that may be at once, of the time, of the memory."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from tests.venues import until
from tests.wire.attacker import besieged, call, message, request
from tests.wire.services import ask
from wire.frames import PREFACE, ErrorCode, Setting, reset_frame, settings_frame
from wire.servicer_context import ServerCall

LATE, EXHAUSTED = "4", "8"
NO_WINDOW = PREFACE + settings_frame({Setting.INITIAL_WINDOW_SIZE: 0})


def new(nth: int) -> int:
    return 2 * nth + 1


async def test_who_has_few_calls_is_served_where_others_have_all_of_them() -> None:
    async with besieged(concurrent_calls=5, spare_calls=3) as siege, await siege.arrive() as attacker:
        await attacker.flood(lambda n: request(new(n), "HangDuplex"), 100)
        await attacker.nudge()
        await siege.goes_on()
        statuses = [attacker.status(new(n)) for n in range(100)]
        assert statuses.count(EXHAUSTED) >= 94  # one of its five may have been the friend's
        async with await siege.arrive() as late:
            for n in range(4):
                await late.send(request(new(n), "HangDuplex"))
                await late.nudge()
            assert [late.status(new(n)) for n in range(4)] == [None, None, None, EXHAUSTED]


@pytest.mark.parametrize("zero", ["0n", "00000000S"])
async def test_a_call_without_any_time_is_not_made(zero: str) -> None:
    async with besieged() as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, "Hang", grpc_timeout=zero) + message(1))
        assert (await attacker.answer(1))["grpc-status"] == LATE
        assert not siege.service.entered.is_set()


CALLS: dict[str, Callable[[int], bytes]] = {
    "heads": lambda n: request(new(n)),
    "answers that wait": lambda n: call(new(n)),
    "answers that wait, of streams": lambda n: request(new(n), "Duplex") + message(new(n), ask(10)),
    "answers that wait too long": lambda n: request(new(n), grpc_timeout="1m") + message(new(n)),
    "answers that are taken back": lambda n: call(new(n)) + reset_frame(new(n), ErrorCode.CANCEL),
    "methods that hang": lambda n: call(new(n), "Hang"),
    "streams": lambda n: request(new(n), "HangDuplex"),
}


@pytest.mark.parametrize("kind", CALLS)
async def test_no_call_of_who_has_left_waits_for_the_garbage_collector(kind: str) -> None:
    gc.collect()
    gc.disable()
    try:
        async with besieged() as siege:
            async with await siege.arrive(NO_WINDOW) as attacker:
                await attacker.flood(CALLS[kind], 100)
                await attacker.nudge()
                intruder = siege.intruder()
            await until(lambda: not (siege.intruders() or intruder.watched))
        left = [each for each in gc.get_objects() if isinstance(each, ServerCall) and each.connection is intruder]
        assert len(left) == 0
    finally:
        gc.enable()
