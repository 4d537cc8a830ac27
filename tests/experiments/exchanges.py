"""A real exchange for an experiment: an engine and a bridge, each in a process, that can be killed and started again;
and the ways in which a bot can send it the same order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import httpx

from outcry import v1
from tests.rest_bridge.conftest import Process
from tests.venues import EngineProcess, Stubs

HANG_S = 20
UNIT = 10**9
TEAMS = count(1)

Metadata = list[tuple[str, str]]


class Exchange:
    """An engine, and a bridge before it. The engine keeps its port when it is started again, and so does the bridge."""

    def __init__(self, folder: Path, *engine_flags: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.flags = engine_flags
        self.engine = EngineProcess(self.data, *engine_flags)
        self.grpc = self.engine.address
        self.http = "127.0.0.1:0"
        self.start_bridge()

    def start_bridge(self) -> None:
        self.bridge = self.bridge_before(self.grpc, self.http)
        self.http = self.bridge.address.removeprefix("http://")

    def bridge_before(self, grpc: str, http: str = "127.0.0.1:0") -> Process:
        key = str(self.data / "keys" / "bridge.key")
        return Process(self.folder, "rest_bridge", "--http", http, "--grpc", grpc, "--service-key", key)

    def start_engine(self) -> None:
        self.engine = EngineProcess(self.data, *self.flags, grpc_address=self.grpc)

    def restart_engine(self) -> None:
        """kill -9, and the same again."""
        self.engine.kill()
        self.engine.stop()
        self.start_engine()

    @property
    def ws(self) -> str:
        return f"ws://{self.http}/ws"

    def logs(self) -> str:
        """All that engine and bridge have said."""
        files = [Path(str(self.engine.errors.name)), *self.folder.glob("rest_bridge-*.log")]
        return "".join(file.read_text() for file in files)

    def register(self) -> str:
        """A fresh account's key."""
        with httpx.Client(base_url=f"http://{self.http}", timeout=HANG_S) as client:
            return str(client.post("/auth/register", json={"team_name": f"Team {next(TEAMS)}"}).json()["api_key"])

    def stop(self) -> None:
        self.bridge.kill()
        self.engine.stop()


def metadata(key: str) -> Metadata:
    return [("x-api-key", key)]


class Answer:
    """What a bot is told of its order, by whichever way."""

    def __init__(self, order_id: int, status: str, filled: float, duplicate: bool, code: str = "") -> None:
        self.order_id = order_id
        self.status = status
        self.filled = filled
        self.duplicate = duplicate
        self.code = code  # of a refusal

    @property
    def told(self) -> tuple[int, str, float]:
        return self.order_id, self.status, self.filled


def of_result(result: v1.OrderResult) -> Answer:
    status = v1.OrderStatus.Name(result.status).removeprefix("ORDER_STATUS_").lower()
    code = v1.RejectReason.Name(result.reject.reason) if result.HasField("reject") else ""
    return Answer(result.order_id, status, result.filled_quantity / UNIT, result.duplicate, code)


def of_response(response: httpx.Response) -> Answer:
    body: dict[str, Any] = response.json()
    if not body["success"]:
        return Answer(0, "rejected", 0, False, body["error"]["code"])
    told = body["data"] or body  # /orders has it at the top level
    order_id = int(body["order_id"].removeprefix("ORD_"))
    return Answer(order_id, told["status"], told["filled_quantity"], told["duplicate"])


Order = Mapping[str, Any]  # instrument_id, side, quantity, price: what every way can say
Way = Callable[[str, str, Order, str], Awaitable[Answer]]  # address, key, order, client order id or ""


def new_order(order: Order, client_order_id: str) -> v1.NewOrder:
    return v1.NewOrder(
        instrument_id=order["instrument_id"],
        side=v1.Side.Value(f"SIDE_{order['side'].upper()}"),
        order_type=v1.ORDER_TYPE_LIMIT,
        quantity=order["quantity"] * UNIT,
        price=order["price"] * UNIT,
        client_order_id=client_order_id,
    )


async def unary(address: str, key: str, order: Order, client_order_id: str) -> Answer:
    async with grpc.aio.insecure_channel(address) as channel:
        request = new_order(order, client_order_id)
        return of_result(await Stubs(channel).orders.SubmitOrder(request, metadata=metadata(key), timeout=HANG_S))


async def session(address: str, key: str, order: Order, client_order_id: str) -> Answer:
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(HANG_S):
        stream = Stubs(channel).orders.Session(metadata=metadata(key))
        instruction = v1.Instruction(request_id=1, submit=new_order(order, client_order_id))
        await stream.write(v1.Instructions(instructions=[instruction]))
        results = await stream.read()
        return of_result(results.results[0].order)


def rest(path: str, *, header: bool = False) -> Way:
    """By POST, the client order id in the body or in the header Idempotency-Key."""

    async def submit(address: str, key: str, order: Order, client_order_id: str) -> Answer:
        headers, body = {"X-API-Key": key}, {**order, "order_type": "limit"}
        if client_order_id:
            (headers if header else body)["Idempotency-Key" if header else "client_order_id"] = client_order_id
        async with httpx.AsyncClient(base_url=f"http://{address}", headers=headers, timeout=HANG_S) as client:
            return of_response(await client.post(path, json=body))

    return submit


BY_GRPC: dict[str, Way] = {"unary": unary, "session": session}
BY_REST: dict[str, Way] = {
    "exchange": rest("/exchange/orders"),
    "exchange-key": rest("/exchange/orders", header=True),
    "orders": rest("/orders"),
    "orders-key": rest("/orders", header=True),
}
WAYS = BY_GRPC | BY_REST
LINK_FAILED = (grpc.aio.AioRpcError, httpx.TransportError, asyncio.InvalidStateError)


async def feed(address: str, key: str) -> list[v1.ExecutionReport]:
    """All that ever happened to the account."""
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(HANG_S):
        stream = Stubs(channel).feed.StreamExecutions(v1.StreamExecutionsRequest(from_seq=0), metadata=metadata(key))
        first = await stream.read()
        reports: list[v1.ExecutionReport] = []
        while len(reports) < first.last_seq:
            reports += (await stream.read()).reports
        return reports
