"""Channels for what lasts: as many as its sockets need, and none with more streams than the engine serves on it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack

from websockets.asyncio.client import connect

from gateway import service
from outcry import AsyncClient
from rest_bridge import app, links
from rest_bridge.links import Links
from rest_bridge.settings import Settings
from tests.rest_bridge.test_app import HANG_S, ask
from tests.venues import venue as gateway


def test_another_channel_is_opened_once_none_has_a_place_left(monkeypatch):
    monkeypatch.setattr(links, "STREAMS_PER_CHANNEL", 2)
    feeds = Links(AsyncClient)
    with ExitStack() as held:
        first, second = (held.enter_context(feeds.one()) for _ in range(2))
        with feeds.one() as third:
            assert first is second is not third
        with feeds.one() as again:
            assert again is third
    with feeds.one() as freed:
        assert freed is first


def test_the_engine_serves_more_streams_on_a_connection_than_the_bridge_puts_there():
    assert links.STREAMS_PER_CHANNEL < service.STREAMS_PER_CONNECTION


async def test_more_sockets_than_one_connection_has_room_for_are_served(tmp_path, served, monkeypatch):
    monkeypatch.setattr(service, "STREAMS_PER_CONNECTION", 2)
    monkeypatch.setattr(links, "STREAMS_PER_CHANNEL", 2)
    async with gateway(tmp_path / "data") as running, AsyncExitStack() as held, asyncio.timeout(HANG_S):
        _, ((_, key),) = await running.stubs.register()
        bridge = app.create_app(Settings(_cli_parse_args=False, grpc=running.address))
        address = await held.enter_async_context(served(bridge))
        for _ in range(5):
            feed = await held.enter_async_context(connect(f"ws://{address}/ws?api_key={key}"))
            assert (await ask(feed, "book"))["type"] == "book_snapshot"
