"""Experiment 27 for `outcry up`: SIGTERM under load stops bridge and engine in order, and loses nothing."""

from __future__ import annotations

import asyncio
import json
import signal
from itertools import count
from pathlib import Path

import httpx
import websockets

from tests.documents.bots import GUARD_S, Account, Up
from tests.experiments.exchanges import HANG_S
from tests.venues import until

BOTS = 8
ENOUGH = 50  # orders acknowledged before it stops
SERVICE_RESTART = 1012


class Told:
    """What the bots know of their orders, by client order id."""

    def __init__(self) -> None:
        self.names = (f"order {number}" for number in count(1))
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()
        self.unknown: set[str] = set()


async def trade(url: str, key: str, told: Told) -> None:
    """Enter one order after the other, until the exchange is gone."""
    async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": key}, timeout=HANG_S) as bot:
        for name in told.names:
            body = {"instrument_id": "AAPL", "side": "buy", "quantity": 1, "price": 1, "client_order_id": name}
            try:
                answer = await bot.post("/exchange/orders", json=body)
            except httpx.TransportError:
                told.unknown.add(name)
                return
            if answer.status_code == 200:
                told.acknowledged.add(name)
                continue
            assert answer.status_code in (503, 504), answer.text
            known = answer.json()["error"]["details"]["outcome"] == "not_executed"
            (told.refused if known else told.unknown).add(name)


async def follow(url: str, key: str) -> tuple[int | None, list[int]]:
    """The numbers that a socket is sent until it is closed, and the code that it is closed with."""
    numbers = []
    async with websockets.connect(f"{url.replace('http', 'ws', 1)}/ws?api_key={key}&from_seq=0") as socket:
        try:
            while message := json.loads(await socket.recv()):
                if message["type"] != "position_snapshot":
                    numbers.append(message["seq"])
        except websockets.ConnectionClosed:
            return socket.close_code, numbers


async def test_outcry_up_that_is_told_to_stop_answers_what_is_under_way_and_keeps_what_it_acknowledged(
    transport: str, tmp_path: Path
) -> None:
    told = Told()
    up = await asyncio.to_thread(Up, tmp_path)
    try:
        account = await asyncio.to_thread(Account, up.base_url, "load")
        following = asyncio.create_task(follow(up.base_url, account.api_key))
        trading = [asyncio.create_task(trade(up.base_url, account.api_key, told)) for _ in range(BOTS)]
        await until(lambda: len(told.acknowledged) >= ENOUGH)
        up.process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(up.process.wait, GUARD_S)
        await asyncio.wait_for(asyncio.gather(*trading), HANG_S)
        code, numbers = await asyncio.wait_for(following, HANG_S)
    finally:
        await asyncio.to_thread(up.stop)
    assert (status, code) == (0, SERVICE_RESTART)
    assert numbers == list(range(1, len(numbers) + 1))

    up = await asyncio.to_thread(Up, tmp_path)
    try:
        account.requests.base_url = up.base_url
        there = {order["client_order_id"] for order in await asyncio.to_thread(account.orders, "all")}
    finally:
        await asyncio.to_thread(up.stop)
    assert there == told.acknowledged
    assert not there & (told.refused | told.unknown)
