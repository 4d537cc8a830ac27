"""The fault proxy itself: each fault does what it says, so that an experiment that uses it has seen that fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.faults.proxy import ANSWERS_LOST, HTTP2_PREFACE, MIX, Fault, FaultProxy, Frames, faulty

ANSWER = b"an answer"


class Server:
    """Answers each line, and notes it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.hears = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            async with self.hears:
                self.heard.append(line)
                self.hears.notify_all()
            writer.write(ANSWER)
        writer.close()

    async def has_heard(self, count: int) -> None:
        async with asyncio.timeout(20), self.hears:
            await self.hears.wait_for(lambda: len(self.heard) == count)


@asynccontextmanager
async def proxied(**options: object) -> AsyncIterator[tuple[Server, FaultProxy]]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    async with listening, faulty(f"{host}:{port}", **options) as proxy:  # type: ignore[arg-type]
        yield server, proxy


async def said(proxy: FaultProxy, *requests: bytes) -> bytes:
    """All that comes back for the requests, one after the other on one connection."""
    reader, writer = await asyncio.open_connection(*proxy.address.split(":"))
    got = b""
    try:
        for request in requests:
            writer.write(request)
            async with asyncio.timeout(20):
                got += await reader.readexactly(len(ANSWER))
    except asyncio.IncompleteReadError as cut:
        got += cut.partial
    except ConnectionError:
        pass
    writer.transport.abort()
    return got


@pytest.mark.parametrize(
    ("fault", "heard", "got"),
    [
        (Fault.NONE, 1, ANSWER),
        (Fault.DELAYED, 1, ANSWER),
        (Fault.REFUSED, 0, b""),
        (Fault.ABANDONED, 1, b""),
        (Fault.LOST, 1, b""),
        (Fault.CUT, 1, ANSWER[: len(ANSWER) // 2]),
    ],
)
async def test_each_fault_lets_through_what_it_says(fault: Fault, heard: int, got: bytes) -> None:
    async with proxied() as (server, proxy):
        proxy.plan.append(fault)
        assert await said(proxy, b"request\n") == got
        await server.has_heard(heard)
        assert proxy.met == {fault: 1}


async def test_a_request_in_two_parts_meets_one_fault_and_the_next_request_the_next() -> None:
    async with proxied() as (server, proxy):
        proxy.plan += (Fault.NONE, Fault.LOST)
        reader, writer = await asyncio.open_connection(*proxy.address.split(":"))
        for part in (b"first, ", b"in two parts\n"):
            writer.write(part)
            await writer.drain()
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        writer.write(b"second\n")
        assert await reader.read() == b""
        await server.has_heard(2)
        assert server.heard == [b"first, in two parts\n", b"second\n"]
        writer.close()


async def test_the_same_seed_gives_the_same_faults() -> None:
    async def met(seed: int) -> list[Fault]:
        async with proxied(seed=seed, mix=MIX) as (_, proxy):
            return [proxy.next_fault() for _ in range(50)]

    assert await met(7) == await met(7) != await met(8)
    assert set(await met(7)) == set(Fault)
    assert set(ANSWERS_LOST) < set(Fault)


def frame(kind: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, 0)) + bytes(4) + payload


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_in_http_2_only_headers_and_data_speak_wherever_the_bytes_are_cut(size: int) -> None:
    settings, ping, headers, data = frame(4, bytes(12)), frame(6, b"\0" * 8), frame(1, b"\1" * 30), frame(0, b"")
    for preface in (True, False):
        for frames, speaks in (((settings, ping), 0), ((settings, headers), 1), ((ping, headers, settings, data), 2)):
            direction = Frames(preface=preface)
            sent = (HTTP2_PREFACE if preface else b"") + b"".join(frames)
            heard = sum(direction.speak(sent[at : at + size]) for at in range(0, len(sent), size))
            assert heard == (min(speaks, 1) if size == 1000 else speaks)
