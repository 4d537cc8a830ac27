"""What the documents' samples use and do not define: a server, an account, `requests` that knows both, a socket.

The samples say `/orders` or `http://localhost:8000/orders`; the server here is on a free port. `Requests` stands in for
the module `requests` and puts the address and the account's key where the sample has none or its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import requests
import websockets

DOCUMENTED_URL = "http://localhost:8000"
GUARD_S = 30.0  # nothing takes so long; it only keeps a test from hanging


class Requests(requests.Session):
    """`requests`, as the samples call it, against one server and with one account's key."""

    RequestException = requests.RequestException

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        super().__init__()
        self.base_url = base_url
        if api_key:
            self.headers["X-API-Key"] = api_key

    def request(self, method: str, url: str, *arguments: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        options.setdefault("timeout", GUARD_S)
        return super().request(method, self.base_url + url.removeprefix(DOCUMENTED_URL), *arguments, **options)


class Account:
    """A registered account, and the few things that a test does with it beside its sample."""

    def __init__(self, base_url: str, team_name: str) -> None:
        registered = Requests(base_url).post("/auth/register", json={"team_name": team_name}).json()
        self.api_key: str = registered["api_key"]
        self.base_url = base_url
        self.requests = Requests(base_url, self.api_key)

    def order(self, side: str, quantity: int, price: float, instrument_id: str = "SPX_4500_CALL") -> str:
        """Enter a limit order, which must be accepted; return its id."""
        body = {"instrument_id": instrument_id, "side": side, "quantity": quantity, "price": price}
        answer = self.requests.post("/exchange/orders", json=body).json()
        assert answer["success"], answer
        return str(answer["order_id"])

    def buy(self, quantity: int, price: float, **instrument: str) -> str:
        return self.order("buy", quantity, price, **instrument)

    def sell(self, quantity: int, price: float, **instrument: str) -> str:
        return self.order("sell", quantity, price, **instrument)

    def orders(self, status: str = "open") -> list[dict[str, Any]]:
        answer = self.requests.get("/exchange/orders", params={"status": status}).json()
        return list(answer["data"]["orders"])

    def leave(self) -> None:
        """Take back what still rests, so that the next test finds an empty book."""
        for order in self.orders():
            self.requests.delete(f"/exchange/orders/{order['order_id']}")
        self.requests.close()

    @asynccontextmanager
    async def feed(self, **wishes: object) -> AsyncIterator[Feed]:
        query = "".join(f"&{name}={value}" for name, value in wishes.items())
        async with websockets.connect(f"{websocket_url(self.base_url)}?api_key={self.api_key}{query}") as connection:
            yield Feed(connection)


def websocket_url(base_url: str) -> str:
    return base_url.replace("http://", "ws://") + "/ws"


class Feed:
    """The messages of a WebSocket, one at a time."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self.connection = connection

    async def next_text(self) -> str:
        async with asyncio.timeout(GUARD_S):
            return await self.connection.recv(decode=True)

    async def next(self) -> dict[str, Any]:
        return dict(json.loads(await self.next_text()))

    async def take(self, count: int) -> list[dict[str, Any]]:
        return [await self.next() for _ in range(count)]

    async def until(self, kind: str) -> dict[str, Any]:
        """The next message of this type; what comes before it is passed over."""
        while (message := await self.next())["type"] != kind:
            pass
        return message

    def drop(self) -> None:
        """Lose the connection, as a cut cable does: no close frame, nothing said."""
        self.connection.transport.abort()


class Up:
    """`outcry up` as a user starts it, on free ports and in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "up.log"
        self.data = folder / "data"
        ports = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        command = [sys.executable, "-m", "outcry", "up", *ports, "--data", str(self.data)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.base_url = self.announced_url()

    def announced_url(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        url = re.search(r"http://[\w.]+:\d+", line)
        if url is None:
            self.stop()
            raise RuntimeError(f"outcry up said {line!r} and logged:\n{self.log.read_text()}")
        return url[0]

    def kill_engine(self) -> None:
        """As a crash does: no warning. The lock of the data folder says which process it is."""
        os.kill(int((self.data / "lock").read_text()), signal.SIGKILL)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.wait(GUARD_S)
