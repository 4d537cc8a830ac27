"""The bridge shows its service key, so that strangers at the gateway take nothing from its readers."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect

from outcry import v1
from rest_bridge.app import create_app
from rest_bridge.service_key import ServiceKey
from rest_bridge.settings import Settings
from tests.venues import venue as gateway_here

SUBSCRIBE = {"action": "subscribe", "channel": "book", "instrument_id": "AAPL"}


@asynccontextmanager
async def crowded(tmp_path):
    """A gateway on which a stranger holds all the streams that there are without a key."""
    async with gateway_here(tmp_path / "data") as running:
        streams = running.gateway.streams
        streams.strangers = streams.at_address = 1
        wanted = v1.StreamMarketDataRequest(instruments=["AAPL"], channels=[v1.MARKET_DATA_CHANNEL_BOOK])
        stranger = running.stubs.market.StreamMarketData(wanted)
        await stranger.read()
        yield running
        stranger.cancel()


def bridge_to(running, service_key):
    return create_app(Settings(_cli_parse_args=False, grpc=running.address, service_key=service_key))


async def test_market_data_comes_through_the_bridge_whatever_strangers_hold_at_the_gateway(tmp_path, served):
    async with crowded(tmp_path) as running:
        bridge = bridge_to(running, running.data / "keys" / "bridge.key")
        async with served(bridge) as address, connect(f"ws://{address}/ws/market") as socket:
            await socket.send(json.dumps(SUBSCRIBE))
            types = [json.loads(await socket.recv())["type"] for _ in range(2)]
    assert types == ["subscribed", "book_snapshot"]


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 40, b"two\nlines", b"x" * 300])
def test_a_file_that_holds_no_key_shows_none_and_is_told_of_in_the_log(tmp_path, capsys, content):
    file = tmp_path / "bridge.key"
    if content is not None:
        file.write_bytes(content)
    assert ServiceKey(file).metadata() == ()
    assert "no_service_key" in capsys.readouterr().out
