"""Sixty-four clients that go on whatever happens to the engine, and what they were told.

Each enters one order after the other, under a client order id of its own, and sends it again until it is answered. So
what was acknowledged is known, and what was meant: every order once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any

import grpc

import wire
from outcry import v1
from tests.venues import Stubs

WORKERS = 64
ACCOUNTS = 4
UNIT = 10**9
PRICES = range(149, 152)
PATIENCE_S = 5.0  # with one answer
AGAIN_AFTER_S = 0.02
LOOKED_AT = 2 * WORKERS  # of the last orders before a kill, right after it
RECONNECT = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100)]
# After these an order may have been executed, so it is sent again; every other failure is a fault.
INCONCLUSIVE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL}


class Crowd:
    """`results` are what was told of each order that was accepted, by account and client order id."""

    def __init__(self, address: str, seed: int) -> None:
        self.channel = wire.insecure_channel(address, options=RECONNECT)
        self.stubs = Stubs(self.channel)
        self.random = Random(seed)
        self.keys: list[Any] = []
        self.results: dict[tuple[int, str], v1.OrderResult] = {}
        self.answered = 0
        self.recent: list[tuple[int, str]] = []  # acknowledged since somebody looked
        self.is_over = False
        self.enters = asyncio.Event()  # new orders, and not only those that have not been answered
        self.tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        self.keys = [(await self.stubs.register(f"crowd {n}"))[1] for n in range(ACCOUNTS)]
        self.tasks = [asyncio.create_task(self.work(number)) for number in range(WORKERS)]

    async def work(self, number: int) -> None:
        account, count = number % ACCOUNTS, 0
        while not self.is_over:
            await self.enters.wait()
            count += 1
            order = v1.NewOrder(
                instrument_id="AAPL",
                side=self.random.choice((v1.SIDE_BUY, v1.SIDE_SELL)),
                order_type=v1.ORDER_TYPE_LIMIT,
                quantity=UNIT,
                price=self.random.choice(PRICES) * UNIT,
                client_order_id=f"{number}-{count}",
            )
            result = await self.enter(account, order)
            self.answered += 1
            if result.status != v1.ORDER_STATUS_REJECTED:  # who has sold all he had is refused
                self.results[account, order.client_order_id] = result
                self.recent.append((account, order.client_order_id))

    async def enter(self, account: int, order: v1.NewOrder) -> v1.OrderResult:
        """Send an order until it is answered."""
        while True:
            try:
                return await self.stubs.orders.SubmitOrder(  # type: ignore[no-any-return]
                    order, metadata=self.keys[account], timeout=PATIENCE_S, wait_for_ready=True
                )
            except grpc.aio.AioRpcError as error:
                if error.code() not in INCONCLUSIVE:
                    raise
                await asyncio.sleep(AGAIN_AFTER_S)

    async def end(self) -> None:
        """Let each finish the order it is at."""
        self.is_over = True
        self.enters.set()
        await asyncio.gather(*self.tasks)

    def check(self) -> None:
        """Raise what has gone wrong with a client."""
        for task in self.tasks:
            if task.done():
                task.result()

    async def require_recent(self) -> None:
        """What was acknowledged last is there, as it was told; `require_each_once` looks at all in the end."""
        recent, self.recent = self.recent[-LOOKED_AT:], []
        for account, name in recent:
            try:
                order = await self.stubs.accounts.GetOrder(
                    v1.GetOrderRequest(client_order_id=name), metadata=self.keys[account], wait_for_ready=True
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                raise AssertionError(f"lost: order {name} of account {account} was acknowledged") from None
            told = self.results[account, name]
            assert order.order_id == told.order_id, f"executed twice: {name} of account {account}"
            assert order.filled_quantity >= told.filled_quantity, f"lost: a fill of {name} of account {account}"

    async def require_each_once(self) -> None:
        """Every order was accepted once, with the number that was told, and its fills are those of the feed."""
        for account, key in enumerate(self.keys):
            reports = await self.feed(key)
            assert [report.seq for report in reports] == list(range(1, len(reports) + 1)), "the feed has gaps"
            accepted = Counter(r.accepted.client_order_id for r in reports if r.WhichOneof("event") == "accepted")
            assert set(accepted.values()) == {1}, f"executed twice: {accepted.most_common(3)}"
            filled: Counter[int] = Counter()
            for report in reports:
                filled[report.filled.order_id] += report.filled.quantity
            ids = {r.accepted.client_order_id: r.accepted.order_id for r in reports if r.HasField("accepted")}
            for (owner, name), told in self.results.items():
                if owner == account:
                    assert ids.get(name) == told.order_id, f"lost: order {name} of account {account}"
                    assert filled[told.order_id] >= told.filled_quantity, f"lost: a fill of {name}"

    async def feed(self, key: Any) -> list[v1.ExecutionReport]:
        """All that an account's feed has told by now."""
        stream = self.stubs.feed.StreamExecutions(v1.StreamExecutionsRequest(from_seq=0), metadata=key)
        reports: list[v1.ExecutionReport] = []
        last = (await stream.read()).last_seq
        while len(reports) < last:
            reports += (await stream.read()).reports
        stream.cancel()
        return reports

    async def close(self) -> None:
        self.is_over = True
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.channel.close()
