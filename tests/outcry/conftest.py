"""One engine process for all tests of the clients, and both clients behind one face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from outcry import AsyncClient, Client
from tests.venues import EngineProcess, engine_process

NUMBERS = count(1)


class Restarts:
    """An engine that can be killed and started again where it was."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.engine = EngineProcess(data, "--durability", "write")
        self.address = self.engine.address

    def kill(self) -> None:
        self.engine.kill()

    def start(self) -> None:
        self.engine.stop()
        self.engine = EngineProcess(self.data, "--durability", "write", grpc_address=self.address)


class Awaited:
    """The synchronous client with the asynchronous one's manners: each call runs in a thread."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def with_key(self, *args: Any) -> Awaited:
        return Awaited(self.client.with_key(*args))

    def executions(self, *args: Any, **kwargs: Any) -> AwaitedStream:
        return AwaitedStream(self.client.executions(*args, **kwargs))

    def market_data(self, *args: Any, **kwargs: Any) -> AwaitedStream:
        return AwaitedStream(self.client.market_data(*args, **kwargs))

    async def close(self) -> None:
        self.client.close()

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(getattr(self.client, name), *args, **kwargs)

        return call


class AwaitedStream:
    def __init__(self, stream: Iterator[Any]) -> None:
        self.stream = stream

    def __aiter__(self) -> AwaitedStream:
        return self

    async def __anext__(self) -> Any:
        return await asyncio.to_thread(next, self.stream)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    with engine_process(tmp_path_factory.mktemp("engine") / "data", "--durability", "write") as process:
        yield process


def connect(kind: str, address: str, api_key: str | None = None) -> Any:
    """A client of either kind; typed as Any, because the two differ in `await` alone."""
    return AsyncClient(address, api_key) if kind == "async" else Awaited(Client(address, api_key))


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def public(engine: EngineProcess, kind: str) -> AsyncIterator[Any]:
    """A client without a key."""
    client = connect(kind, engine.address)
    yield client
    await client.close()


@pytest.fixture
async def trader(public: Any) -> Any:
    """A client with a fresh account."""
    return public.with_key((await public.register("trader")).api_key)


@pytest.fixture
async def rival(public: Any) -> Any:
    """Another fresh account, on the same channel."""
    return public.with_key((await public.register("rival")).api_key)


@pytest.fixture
def operator(public: Any, engine: EngineProcess) -> Any:
    return public.with_key(engine.operator_key)


@pytest.fixture
async def listed(operator: Any) -> str:
    """An instrument of the test's own, so that no other test is in its book."""
    instrument_id = f"T{next(NUMBERS)}"
    await operator.put_instrument(instrument_id, "0.01", 1, "USD", position_limit=50)
    return instrument_id


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def restarts(data: Path) -> Iterator[Restarts]:
    restarts = Restarts(data)
    yield restarts
    restarts.engine.stop()
