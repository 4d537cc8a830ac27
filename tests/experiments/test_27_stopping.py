"""Experiment 27: SIGTERM under load. What is under way is answered, what is acknowledged is kept, and the status is 0.

So after a stop that was asked for nobody has to wonder: an order is there if and only if its sender was told so. The
control stops with SIGKILL, and leaves its clients not knowing. The engine itself gives up after eight seconds and the
supervisor after ten, and then the status is another one.
"""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import wire
from outcry import AsyncClient, ExchangeError, OutcomeUnknown, Unavailable, v1
from outcry.encoding import instruction, new_order
from tests.documents.bots import GUARD_S
from tests.documents.in_process import FaultyDisk
from tests.experiments.exchanges import HANG_S
from tests.venues import engine_process, until, venue

CALLERS = 8
SESSIONS = 4
AHEAD = 3  # batches of a session that wait for their answer
BATCH = 5
ENOUGH = 200  # orders acknowledged before it stops
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Told:
    """What the senders know of their orders, by client order id."""

    def __init__(self) -> None:
        self.names = (f"order {number}" for number in count(1))
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()  # certainly not executed
        self.unknown: set[str] = set()


async def call(client: AsyncClient, told: Told) -> None:
    """Enter one order after the other, until the exchange is gone."""
    for name in told.names:
        try:
            await client.buy("AAPL", 1, 1, client_order_id=name, timeout_s=HANG_S)
        except Unavailable:
            told.refused.add(name)
            return
        except OutcomeUnknown:
            told.unknown.add(name)
            return
        told.acknowledged.add(name)


async def converse(client: AsyncClient, told: Told) -> None:
    """Enter orders in batches, a few of them ahead of the answers, until the exchange is gone."""
    unanswered: deque[list[str]] = deque()
    room = asyncio.Semaphore(AHEAD)

    async def send() -> None:
        with suppress(ExchangeError):
            while True:
                await room.acquire()
                unanswered.append([next(told.names) for _ in range(BATCH)])
                orders = [new_order("AAPL", "buy", 1, 1, {"client_order_id": name}) for name in unanswered[-1]]
                await session.send(instruction(number, order) for number, order in enumerate(orders))

    left = told.unknown
    with suppress(ExchangeError):
        async with client.session() as session:
            sending = asyncio.create_task(send())
            try:
                while (results := await session.receive()) is not None:
                    for name, result in zip(unanswered.popleft(), results.results, strict=True):
                        (told.refused if result.order.HasField("reject") else told.acknowledged).add(name)
                    room.release()
            except Unavailable:  # all that was executed has been answered
                left = told.refused
            finally:
                sending.cancel()
    left.update(name for names in unanswered for name in names)


async def watch(channel: Any, statuses: list[int]) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    with suppress(grpc.aio.AioRpcError):
        async for response in stub.Watch(health_pb2.HealthCheckRequest()):
            statuses += [response.status]


async def executed(address: str, key: str) -> set[str]:
    async with AsyncClient(address, key) as client:
        return {order.client_order_id for order in await client.orders(include_closed=True)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "control-SIGKILL"])
async def test_an_engine_that_is_told_to_stop_answers_what_is_under_way_and_keeps_what_it_acknowledged(
    transport: str, tmp_path: Path, number: signal.Signals
) -> None:
    told, statuses = Told(), list[int]()
    with engine_process(tmp_path / "data") as engine:
        async with AsyncClient(engine.address) as public, wire.insecure_channel(engine.address) as channel:
            key = (await public.register("load")).api_key
            watching = asyncio.create_task(watch(channel, statuses))
            clients = [AsyncClient(engine.address, key) for _ in range(CALLERS + SESSIONS)]
            work = [asyncio.create_task(call(client, told)) for client in clients[:CALLERS]]
            work += [asyncio.create_task(converse(client, told)) for client in clients[CALLERS:]]
            await until(lambda: len(told.acknowledged) >= ENOUGH)
            engine.process.send_signal(number)
            status = await asyncio.to_thread(engine.process.wait, GUARD_S)
            await asyncio.wait_for(asyncio.gather(watching, *work), HANG_S)
            for client in clients:
                await client.close()
    with engine_process(tmp_path / "data") as engine:
        there = await executed(engine.address, key)
    assert told.acknowledged <= there
    assert not told.refused & there
    stopped = number is signal.SIGTERM
    assert (status == 0, statuses[-1] == NOT_SERVING) == (stopped, stopped)
    assert (told.acknowledged == there) or not stopped
    if (
        transport == "native" or not stopped
    ):  # grpcio says nothing to a call that crosses its farewell: it is not executed
        assert bool(told.unknown) != stopped


async def test_watchers_of_health_are_told_before_their_streams_end(transport: str, tmp_path: Path) -> None:
    """In this process, where nothing else gives them the time."""
    heard: list[list[int]] = [[] for _ in range(20)]
    async with venue(tmp_path / "data", transport=transport) as running:
        watching = [asyncio.create_task(watch(running.channel, statuses)) for statuses in heard]
        await until(lambda: all(heard))
        await running.gateway.stop()
        await asyncio.wait_for(asyncio.gather(*watching), HANG_S)
    assert [(statuses[0], statuses[-1]) for statuses in heard] == [(SERVING, NOT_SERVING)] * len(heard)


async def test_what_a_session_has_sequenced_is_answered_before_it_ends(transport: str, tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with venue(tmp_path / "data", durability="fsync", disk=disk, transport=transport) as running:
        _, key = await running.stubs.register()
        session = running.stubs.orders.Session(metadata=key)
        disk.answers.clear()
        before = running.gateway.sequencer.seq
        for number in range(3):
            await session.write(v1.Instructions(instructions=[instruction(number, new_order("AAPL", "buy", 1, 1))]))
        await until(lambda: running.gateway.sequencer.seq >= before + 3)
        stopping = asyncio.create_task(running.gateway.stop())
        await until(lambda: all(stream.ending for stream in running.gateway.streams.served.values()))
        disk.answers.set()
        answered = [(await session.read()).results[0].request_id for _ in range(3)]
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await session.read()
        await stopping
    assert answered == [0, 1, 2]
    assert (ended.value.code(), ended.value.details()) == (grpc.StatusCode.UNAVAILABLE, "The engine is stopping")
