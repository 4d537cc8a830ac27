"""What users feel: bots that enter and cancel orders, ask for books and positions, and wait for their events.

Half of them speak gRPC, half REST and WebSocket. Every request is one of Locust's, and so is every event that an
order of one's own causes: its time is from sending the order to hearing of it. A cancel that comes too late, because
the order has traded, is the exchange's right answer; every other refusal is a failure.

    locust -f load/locustfile.py --host http://127.0.0.1:8000        (gRPC at OUTCRY_GRPC, 127.0.0.1:50051)

`python -m load` starts an exchange for it.
"""

from __future__ import annotations

import json
import os
import time
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import gevent
import grpc.experimental.gevent
from locust import FastHttpUser, User, between, task
from locust.user.users import UserMeta
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from load import flows
from outcry import Client, ExchangeError, OrderRejected
from outcry.models import Accepted
from outcry.v1.fixed import to_decimal

grpc.experimental.gevent.init_gevent()
# Each channel waits for its events in a thread of gevent's pool: with fewer threads they would take turns.
gevent.get_hub().threadpool.maxsize = 1_000

GRPC_ADDRESS = os.environ.get("OUTCRY_GRPC", "127.0.0.1:50051")
INSTRUMENT = "AAPL"
TOO_LATE = "CANCEL_FAILED"
ENDLESS = 10**9
USERS = count(1)


class AbstractUser(ABCMeta, UserMeta):
    """Lets a user of Locust's have abstract methods."""


class Trader(User, metaclass=AbstractUser):
    """One account with its orders, and the times at which they were sent. Subclasses say how it speaks."""

    abstract = True
    wait_time = between(0.1, 0.4)

    def on_start(self) -> None:
        self.number = next(USERS)
        self.team = f"load-{self.number}"
        self.orders = flows.orders(self.number, ENDLESS, run=f"{self.team}-")
        self.open: list[int | str] = []
        self.sent_s: dict[str, float] = {}
        self.join()
        self.listening = gevent.spawn(self.listen)

    def on_stop(self) -> None:
        self.listening.kill()

    @contextmanager
    def measured(self, kind: str, name: str) -> Iterator[None]:
        """One request of Locust's; what is raised inside makes it a failure."""
        with self.environment.events.request.measure(kind, name):
            yield

    def heard(self, kind: str, client_order_id: str) -> None:
        """An event says that an order of ours was accepted."""
        if (sent_s := self.sent_s.pop(client_order_id, None)) is not None:
            self.report(kind, (time.perf_counter() - sent_s) * 1_000, None)

    def report(self, kind: str, response_time_ms: float, exception: Exception | None) -> None:
        self.environment.events.request.fire(
            request_type=kind,
            name="order accepted",
            response_time=response_time_ms,
            response_length=0,
            exception=exception,
            context={},
        )

    def next_order(self) -> flows.Enter:
        order = next(self.orders)
        self.sent_s[order.name] = time.perf_counter()
        return order

    @task(5)
    def enter(self) -> None:
        self.submit(self.next_order())

    @task(4)
    def cancel(self) -> None:
        if self.open:
            self.withdraw(self.open.pop(0))

    @abstractmethod
    def join(self) -> None:
        """Register, and take the key."""

    @abstractmethod
    def listen(self) -> None:
        """Report each event of ours, for ever."""

    @abstractmethod
    def submit(self, order: flows.Enter) -> None:
        """Enter the order; keep its id in `open` if it rests."""

    @abstractmethod
    def withdraw(self, order_id: Any) -> None:
        """Cancel the order."""


class GrpcTrader(Trader):
    """A bot on the client library, with a channel of its own."""

    def join(self) -> None:
        stranger = Client(GRPC_ADDRESS)
        with self.measured("gRPC", "Register"):
            self.client = stranger.with_key(stranger.register(self.team).api_key)

    def listen(self) -> None:
        try:
            for report in self.client.executions(from_seq=0):
                if isinstance(report.event, Accepted):
                    self.heard("gRPC feed", report.event.client_order_id)
        except ExchangeError as error:
            self.report("gRPC feed", 0, error)

    def submit(self, order: flows.Enter) -> None:
        side, time_in_force = "buy" if order.buys else "sell", "IOC" if order.aggressive else "GTC"
        quantity, price = to_decimal(order.quantity), to_decimal(order.price)
        with self.measured("gRPC", "SubmitOrder"):
            result = self.client.submit_order(
                INSTRUMENT, side, quantity, price, time_in_force=time_in_force, client_order_id=order.name
            )
            if result.remaining_quantity and not order.aggressive:
                self.open.append(result.order_id)

    def withdraw(self, order_id: int) -> None:
        with self.measured("gRPC", "CancelOrder"):
            try:
                self.client.cancel_order(order_id)
            except OrderRejected as refusal:
                if refusal.code != TOO_LATE:
                    raise

    @task(1)
    def look(self) -> None:
        with self.measured("gRPC", "GetOrderBook"):
            self.client.order_book(INSTRUMENT, depth=10)
        with self.measured("gRPC", "GetPositions"):
            self.client.positions()


class RestTrader(Trader, FastHttpUser):
    """A bot of the documents: REST for what it does, a WebSocket for what happens."""

    def join(self) -> None:
        answer = self.call("POST", "/auth/register", {"team_name": self.team})
        self.key: str = answer["data"]["api_key"]

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, name: str | None = None) -> Any:
        """One request: its ApiResponse. A refusal that is not TOO_LATE is a failure."""
        headers = {"X-API-Key": self.key} if hasattr(self, "key") else {}
        with self.client.request(
            method, path, json=body, headers=headers, name=name or path, catch_response=True
        ) as response:
            answer = json.loads(response.text or "{}")
            if answer.get("success") or (answer.get("error") or {}).get("code") == TOO_LATE:
                response.success()
            else:
                response.failure(f"{response.status_code} {answer.get('error')}")
            return answer

    def listen(self) -> None:
        url = f"{str(self.host).replace('http', 'ws', 1)}/ws?from_seq=0"  # with what happens before it is open
        try:
            with connect(url, additional_headers={"X-API-Key": self.key}) as socket:
                for text in socket:
                    message = json.loads(text)
                    if message["type"] == "new_order_ack":
                        self.heard("WebSocket", message["data"]["client_order_id"])
        except (OSError, WebSocketException) as error:
            self.report("WebSocket", 0, error)

    def submit(self, order: flows.Enter) -> None:
        body = {
            "instrument_id": INSTRUMENT,
            "order_type": "limit",
            "side": "buy" if order.buys else "sell",
            "quantity": str(to_decimal(order.quantity)),
            "price": str(to_decimal(order.price)),
            "time_in_force": "IOC" if order.aggressive else "GTC",
            "client_order_id": order.name,
        }
        answer = self.call("POST", "/exchange/orders", body)
        data = answer.get("data") or {}
        if data.get("remaining_quantity") and not order.aggressive:
            self.open.append(data["order_id"])

    def withdraw(self, order_id: str) -> None:
        self.call("DELETE", f"/exchange/orders/{order_id}", name="/exchange/orders/{id}")

    @task(1)
    def look(self) -> None:
        self.call("GET", f"/exchange/orderbook/{INSTRUMENT}")
        self.call("GET", "/positions")
