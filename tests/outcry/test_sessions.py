"""Sessions of both clients against a real engine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from outcry import AsyncClient, Client, ExchangeError, Unauthenticated, v1
from outcry.encoding import cancel_request, instruction, new_order
from outcry.models import OrderBook, OrderResult
from tests.venues import EngineProcess


def batch(instrument_id: str) -> list[v1.Instruction]:
    return [
        instruction(1, new_order(instrument_id, "buy", 3, 127)),
        instruction(2, new_order(instrument_id, "buy", 100, 127)),
        instruction(3, v1.GetOrderBookRequest(instrument_id=instrument_id)),
        instruction(4, cancel_request(999_999)),
        instruction(5, v1.GetOrderBookRequest(instrument_id="XYZ")),
    ]


def check(results: list[Any], instrument_id: str) -> None:
    assert [result.request_id for result in results] == [1, 2, 3, 4, 5]
    entered, refused, book, missing, unknown = results
    assert isinstance(entered.outcome, OrderResult)
    assert entered.outcome.status == "new"
    assert isinstance(book.outcome, OrderBook)
    assert [level.quantity for level in book.outcome.bids] == [3]
    errors = [result.error for result in (refused, missing, unknown)]
    assert [error.code for error in errors] == ["POSITION_LIMIT_EXCEEDED", "CANCEL_FAILED", "INVALID_INSTRUMENT"]


@pytest.fixture
async def key(trader: Any) -> str:
    return str((await trader.register("session")).api_key)


@pytest.mark.parametrize("kind", ["async"], indirect=True)
async def test_an_async_session_answers_in_order(engine: EngineProcess, key: str, listed: str) -> None:
    async with AsyncClient(engine.address, key) as client, client.session() as session:
        await session.send(batch(listed))
        results = []
        async for result in session:
            results.append(result)
            if len(results) == 5:
                break
    check(results, listed)


@pytest.mark.parametrize("kind", ["sync"], indirect=True)
async def test_a_sync_session_answers_in_order(engine: EngineProcess, key: str, listed: str) -> None:
    def trade() -> list[Any]:
        with Client(engine.address, key) as client, client.session() as session:
            session.send(batch(listed))
            return next(session.batches())

    check(await asyncio.to_thread(trade), listed)


@pytest.mark.parametrize("kind", ["async"], indirect=True)
async def test_leaving_a_session_waits_until_all_that_was_sent_is_executed(
    engine: EngineProcess, key: str, trader: Any
) -> None:
    async with AsyncClient(engine.address, key) as client:
        async with client.session() as session:
            for _ in range(20):
                await session.send([instruction(1, new_order("AAPL", "buy", 1, 1)) for _ in range(5)])
        assert len(await client.orders()) == 100

    def trade() -> int:
        with Client(engine.address, key) as client:
            with client.session() as session:
                for _ in range(100):
                    session.send([instruction(1, new_order("AAPL", "buy", 1, 1))])
            return len(client.orders())

    assert await asyncio.to_thread(trade) == 200


async def test_a_session_with_a_wrong_key_says_so(engine: EngineProcess) -> None:
    async with AsyncClient(engine.address, "wrong") as client:
        with pytest.raises(Unauthenticated):
            async with client.session() as session:
                await session.receive()

    def trade() -> None:
        with Client(engine.address, "wrong") as client, client.session() as session:
            session.receive()

    with pytest.raises(Unauthenticated):
        await asyncio.to_thread(trade)


async def test_a_session_of_an_engine_that_dies_says_that_the_outcome_is_unknown(data: Any) -> None:
    engine = EngineProcess(data, "--durability", "write")
    key = (data / "keys" / "demo.key").read_text().strip()
    async with AsyncClient(engine.address, key) as client:
        with pytest.raises(ExchangeError) as error:
            await lose(client, engine)
    engine.stop()
    assert error.value.details["outcome"] == "unknown"


async def lose(client: AsyncClient, engine: EngineProcess) -> None:
    async with client.session() as session:
        await session.send([instruction(1, new_order("AAPL", "buy", 1, 1))])
        assert await session.receive() is not None
        engine.kill()
        await session.receive()
