"""A real engine and a real bridge, each in a process of its own, and traders who reach them over real sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
import select
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from outcry import Client

ROOT = Path(__file__).parents[2]
HANG_S = 30
names = itertools.count(1)


class Process:
    """One of our processes, ready when it says so; its log is in a file."""

    def __init__(self, folder: Path, module: str, *flags: str) -> None:
        self.log = folder / f"{module}-{next(names)}.log"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", module, *flags], cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.address = self.ready().partition("=")[2]

    def ready(self) -> str:
        assert self.popen.stdout is not None
        if select.select([self.popen.stdout], [], [], HANG_S)[0]:
            line = self.popen.stdout.readline().strip()
            if line.startswith("ready "):
                return line
        self.stop()
        raise AssertionError(f"not ready: {self.log.read_text()}")

    def stop(self) -> int:
        self.popen.terminate()
        return self.wait()

    def kill(self) -> None:
        self.popen.kill()
        self.wait()

    def wait(self) -> int:
        try:
            return self.popen.wait(HANG_S)
        finally:
            self.popen.kill()
            if self.popen.stdout is not None:
                self.popen.stdout.close()


class Venue:
    """An engine, a bridge in front of it, and the operator's way in."""

    def __init__(self, folder: Path, *bridge_flags: str, grpc: str = "127.0.0.1:0") -> None:
        self.folder = folder
        self.data = folder / "data"
        self.bridge_flags = bridge_flags
        self.engine = self.start_engine(grpc)
        self.bridge = self.start_bridge(self.engine.address)
        self.http = httpx.Client(base_url=self.bridge.address, timeout=HANG_S)
        self.operator = Client(self.engine.address, (self.data / "keys" / "operator.key").read_text().strip())

    def start_engine(self, grpc: str) -> Process:
        return Process(self.folder, "gateway", "--grpc", grpc, "--data", str(self.data), "--durability", "write")

    def start_bridge(self, grpc: str) -> Process:
        key = str(self.data / "keys" / "bridge.key")
        flags = ("--http", "127.0.0.1:0", "--grpc", grpc, "--service-key", key, *self.bridge_flags)
        return Process(self.folder, "rest_bridge", *flags)

    @property
    def ws(self) -> str:
        return self.bridge.address.replace("http", "ws", 1)

    def digest(self) -> str:
        return self.operator.state_digest().digest

    def instrument(self, **options: object) -> str:
        """A fresh instrument with a tick of 0.01, a lot of 1 and a position limit of 50, where not said otherwise."""
        name = f"TEST_{next(names)}"
        wishes = {"tick_size": "0.01", "lot_size": "1", "quote_asset": "USD", "position_limit": 50} | options
        self.operator.put_instrument(name, **wishes)
        return name

    def trader(self) -> Trader:
        answer = self.http.post("/auth/register", json={"team_name": f"Team {next(names)}"})
        assert answer.status_code == 200, answer.text
        return Trader(self, answer.json()["api_key"])

    def stop(self) -> None:
        self.http.close()
        self.operator.close()
        self.bridge.kill()
        self.engine.kill()


class Trader:
    """An account at the bridge."""

    def __init__(self, venue: Venue, key: str) -> None:
        self.venue = venue
        self.key = key

    def call(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        return self.venue.http.request(method, path, content=content, headers={"X-API-Key": self.key, **headers})

    def order(self, instrument_id: str, side: str, quantity: object, price: object = None, **rest: object) -> dict:
        """Enter an order at /exchange, which must accept it; its `data`."""
        body = {"instrument_id": instrument_id, "side": side, "quantity": quantity, "price": price, **rest}
        answer = self.call("POST", "/exchange/orders", body)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    @contextmanager
    def socket(self, query: str = "", path: str = "/ws", **options: object) -> Iterator[Socket]:
        url = f"{self.venue.ws}{path}?api_key={self.key}{query}"
        with connect(url, open_timeout=HANG_S, close_timeout=1, **options) as connection:
            yield Socket(connection)


class Socket:
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def next(self) -> dict:
        return json.loads(self.connection.recv(HANG_S))

    def take(self, count: int) -> list[dict]:
        return [self.next() for _ in range(count)]

    def until(self, type_: str) -> dict:
        while (message := self.next())["type"] != type_:
            pass
        return message

    def say(self, message: object) -> None:
        self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))


@pytest.fixture(scope="session")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    venue = Venue(tmp_path_factory.mktemp("venue"))
    yield venue
    venue.stop()


@pytest.fixture
def own_venue(tmp_path: Path) -> Iterator[Venue]:
    """A venue of the test's own, to break."""
    venue = Venue(tmp_path)
    yield venue
    venue.stop()


@pytest.fixture
def instrument(venue: Venue) -> str:
    return venue.instrument()


@pytest.fixture
def alice(venue: Venue) -> Trader:
    return venue.trader()


@pytest.fixture
def bob(venue: Venue) -> Trader:
    return venue.trader()


@asynccontextmanager
async def served_here(app: object, **settings: object) -> AsyncIterator[str]:
    """An application behind the bridge's own connections, in this loop; its HOST:PORT."""
    import uvicorn

    from rest_bridge.connections import HttpConnection, WebSocketConnection

    config = uvicorn.Config(
        app,
        http=HttpConnection,
        ws=WebSocketConnection,
        log_config=None,
        ws_max_size=65_536,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
        **settings,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        host, port = listener.getsockname()
        try:
            yield f"{host}:{port}"
        finally:
            server.should_exit = True
            await serving


@pytest.fixture
def served() -> Callable[..., AbstractAsyncContextManager[str]]:
    return served_here
