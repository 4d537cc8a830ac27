"""A bot that loses its socket resumes by number: nothing is missing, nothing comes twice, in either format."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.documents.bots import Account, websocket_url
from tests.documents.in_process import FaultyDisk, exchange
from tests.documents.shapes import TIME, assert_fits
from tests.venues import until

FORMATS = ["default", "flat"]


@pytest.mark.parametrize("form", FORMATS)
async def test_a_dropped_socket_resumes_with_what_was_missed(bot: Account, other: Account, form: str) -> None:
    async with bot.feed(format=form) as feed:
        order_id = bot.buy(20, 126.00)
        acknowledged = await feed.until("new_order_ack")
        feed.drop()
    other.sell(5, 126.00)
    other.sell(5, 126.00)
    async with bot.feed(format=form, from_seq=acknowledged["seq"]) as feed:
        missed = await feed.take(4)
        snapshot = await feed.next()
        other.sell(10, 126.00)
        live = await feed.take(2)
    kinds = ["execution_report", "position_update"]
    assert [message["type"] for message in (*missed, *live)] == kinds * 3
    assert [message["seq"] for message in (*missed, *live)] == [2, 3, 4, 5, 6, 7]
    assert [message["order_id"] for message in (*missed, *live)[::2]] == [order_id] * 3
    positions = {"positions": {"SPX_4500_CALL": 10}}
    there = positions if form == "flat" else {"data": positions}
    assert_fits({"seq": 5, "type": "position_snapshot", "timestamp": TIME, **there}, snapshot)


@pytest.mark.parametrize("form", FORMATS)
async def test_from_seq_0_tells_everything_and_then_the_snapshot(bot: Account, other: Account, form: str) -> None:
    bot.buy(3, 125.00)
    other.sell(3, 125.00)
    async with bot.feed(format=form, from_seq=0) as feed:
        told = await feed.take(4)
    kinds = ["new_order_ack", "execution_report", "position_update", "position_snapshot"]
    assert [(message["seq"], message["type"]) for message in told] == list(zip([1, 2, 3, 3], kinds, strict=True))


async def test_both_formats_give_an_event_the_same_number(bot: Account, other: Account) -> None:
    async with bot.feed() as default, bot.feed(format="flat") as flat:
        order_id = bot.buy(3, 124.00)
        bot.requests.delete(f"/orders/{order_id}")
        wrapped, plain = await default.take(3), await flat.take(3)
    assert [message["seq"] for message in wrapped] == [message["seq"] for message in plain] == [0, 1, 2]
    assert [message["type"] for message in wrapped] == ["position_snapshot", "new_order_ack", "order_cancel_ack"]
    assert [message["type"] for message in plain] == ["position_snapshot", "new_order_ack", "order_cancelled"]


async def test_a_socket_opens_no_sooner_than_its_first_number_is_known(tmp_path: Path) -> None:
    """Or an order that follows the handshake at once could be in the snapshot, and its events never told."""
    disk = FaultyDisk()
    async with exchange(tmp_path / "data", disk) as (_, base_url):
        bot = await asyncio.to_thread(Account, base_url, "bot")
        disk.answers.clear()  # from here on nobody can say what the account's last number is
        ordering = asyncio.create_task(asyncio.to_thread(bot.buy, 1, 120.00))
        await until(lambda: disk.is_asked)
        is_open = asyncio.Event()
        following = asyncio.create_task(first_message(bot, is_open))
        for _ in range(3):
            async with websockets.connect(websocket_url(base_url) + "/market"):  # takes as long, and needs no number
                assert not is_open.is_set()
        disk.answers.set()
        await ordering
        assert (await following)["seq"] == 1


async def first_message(bot: Account, is_open: asyncio.Event) -> dict[str, Any]:
    async with bot.feed() as feed:
        is_open.set()
        return await feed.next()
