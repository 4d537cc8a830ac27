"""A call may be answered while its client still sends: the rest is not read, and neither is it a fault at once."""

from __future__ import annotations

import pytest
from hyperframe.frame import WindowUpdateFrame

from tests.venues import until
from tests.wire.attacker import Attacker, besieged, message, request
from tests.wire.services import ask
from wire.frames import DATA, END_STREAM, ErrorCode, frame
from wire.lingering import MOST

PATIENCE_S = 60
FRAME_BYTES = 16_000
REFUSED = {
    "no such method": {"method": "Missing"},
    "no gRPC": {"content_type": "text/plain"},
    "too large a head": {"large": "x" * 16_050},
}


def new(nth: int) -> int:
    return 1 + 2 * nth


def piece(stream_id: int, *, end_stream: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end_stream else 0, stream_id, bytes(FRAME_BYTES))


async def send_much(attacker: Attacker, stream_id: int, pieces: int) -> None:
    """Several windows' worth, as fast as the server gives them back."""
    for sent in range(1, pieces + 1):
        await attacker.send(piece(stream_id))
        if sent % 2 == 0:
            await attacker.nudge()


@pytest.mark.parametrize("others", REFUSED.values(), ids=REFUSED)
async def test_a_request_that_is_refused_may_be_sent_to_its_end(others: dict[str, str]) -> None:
    async with besieged(linger_s=PATIENCE_S) as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, **others))
        await attacker.answer(1)
        await send_much(attacker, 1, pieces=20)
        await attacker.send(piece(1, end_stream=True))
        await attacker.nudge()
        assert attacker.resets() == {}
        assert not siege.intruder().core.streams
        assert not siege.intruder().lingering.streams


async def test_a_call_that_its_servicer_ends_early_may_be_sent_to_its_end() -> None:
    async with besieged(linger_s=PATIENCE_S) as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, "Abort") + message(1, ask(code=9), end_stream=False))
        assert (await attacker.answer(1))["grpc-status"] == "9"
        await send_much(attacker, 1, pieces=20)
        await attacker.send(piece(1, end_stream=True))
        await attacker.nudge()
        assert attacker.resets() == {}
        assert not siege.intruder().core.streams


async def test_more_than_a_request_may_be_is_reset() -> None:
    async with besieged(linger_s=PATIENCE_S, receive_limit=5 * FRAME_BYTES) as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, "Missing"))
        await attacker.answer(1)
        await send_much(attacker, 1, pieces=4)
        assert attacker.resets() == {}
        await send_much(attacker, 1, pieces=2)
        assert attacker.resets() == {1: ErrorCode.NO_ERROR}
        assert not siege.intruder().lingering.streams


async def test_a_request_that_never_ends_is_reset_after_a_while() -> None:
    async with besieged(linger_s=0.1) as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, "Missing") + request(3, "Abort") + message(3, ask(code=9), end_stream=False))
        await until(lambda: len(attacker.resets()) == 2)
        assert attacker.resets() == {1: ErrorCode.NO_ERROR, 3: ErrorCode.NO_ERROR}
        assert (attacker.status(1), attacker.status(3)) == ("12", "9")


async def test_those_that_came_first_make_room_for_more() -> None:
    async with besieged(linger_s=PATIENCE_S) as siege, await siege.arrive() as attacker:
        await attacker.flood(lambda n: request(new(n), "Missing"), 3 * MOST)
        await attacker.nudge()
        assert attacker.resets() == dict.fromkeys(range(new(0), new(2 * MOST), 2), ErrorCode.NO_ERROR)
        assert len(siege.intruder().core.streams) == MOST


async def test_what_is_discarded_is_given_back_when_it_ends() -> None:
    """curl 7.88, once it has sent all, takes its answer only when it hears something more."""
    async with besieged(linger_s=PATIENCE_S) as siege, await siege.arrive() as attacker:
        await attacker.send(request(1, "Missing"))
        await attacker.answer(1)
        known = len(attacker.said(WindowUpdateFrame))
        await attacker.send(piece(1, end_stream=True))
        await attacker.nudge()
        assert [said.window_increment for said in attacker.said(WindowUpdateFrame)[known:]] == [FRAME_BYTES]
