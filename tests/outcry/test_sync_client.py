"""The synchronous client over grpcio-testing's channel: what goes out, and what each answer becomes.

(Sessions are tested against an engine: this channel cannot say whether a stream is alive.)
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from decimal import Decimal
from threading import Thread
from typing import Any, TypeVar

import grpc
import grpc_testing
import pytest
from grpc_status import rpc_status

from gateway.refusals import Refused, status
from outcry import Client, OrderRejected, OutcomeUnknown, RateLimited, Unauthenticated, Unavailable, v1
from outcry.encoding import new_order
from outcry.v1 import accounts_pb2, executions_pb2, market_data_pb2, operations_pb2, orders_pb2

TIMEOUT_S = 10

Answer = TypeVar("Answer")

FILES = (accounts_pb2, executions_pb2, market_data_pb2, operations_pb2, orders_pb2)
SERVICES = {name: service for file in FILES for name, service in file.DESCRIPTOR.services_by_name.items()}


class Exchange:
    """A client on a testing channel: `call` runs it in a thread, `expect` takes what it sent."""

    def __init__(self) -> None:
        self.channel = grpc_testing.channel(SERVICES.values(), grpc_testing.strict_real_time())
        self.client = Client(channel=self.channel, api_key="key-1")

    def call(self, method: Callable[..., Answer], *args: Any, **kwargs: Any) -> Future[Answer]:
        answer: Future[Answer] = Future()

        def run() -> None:
            try:
                answer.set_result(method(*args, **kwargs))
            except BaseException as error:
                answer.set_exception(error)

        Thread(target=run, daemon=True).start()
        return answer

    def method(self, name: str) -> Any:
        service, method = name.split("/")
        return SERVICES[service].methods_by_name[method]

    def expect(self, name: str) -> tuple[dict[str, str], Any, Any]:
        metadata, request, rpc = self.channel.take_unary_unary(self.method(name))
        rpc.send_initial_metadata(())
        return dict(metadata), request, rpc

    def answer(self, name: str, response: Any) -> tuple[dict[str, str], Any]:
        metadata, request, rpc = self.expect(name)
        rpc.terminate(response, (), grpc.StatusCode.OK, "")
        return metadata, request

    def fail(self, name: str, code: grpc.StatusCode, details: str, trailing: Any = ()) -> None:
        _, _, rpc = self.expect(name)
        rpc.terminate(None, trailing, code, details)


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


def test_an_order_goes_out_with_its_key_and_comes_back_as_a_result(exchange: Exchange) -> None:
    result = exchange.call(exchange.client.buy, "AAPL", 10, "150.25", time_in_force="IOC")
    metadata, request = exchange.answer(
        "OrderEntry/SubmitOrder",
        v1.OrderResult(
            order_id=12,
            client_order_id="mine",
            status=v1.ORDER_STATUS_PARTIALLY_FILLED,
            filled_quantity=4_000_000_000,
            remaining_quantity=6_000_000_000,
            average_price=150_200_000_000,
            fees=-80_000_000,
            liquidity=v1.LIQUIDITY_TAKER,
            fills=[v1.Fill(trade_id=7, price=150_200_000_000, quantity=4_000_000_000, fees=-80_000_000, time_ns=5)],
            seq=3,
            journal_seq=9,
            time_ns=5,
        ),
    )
    assert metadata["x-api-key"] == "key-1"
    assert request.client_order_id
    assert request == new_order(
        "AAPL", "buy", 10, "150.25", {"time_in_force": "IOC", "client_order_id": request.client_order_id}
    )
    answer = result.result(TIMEOUT_S)
    assert (answer.order_id, answer.status, answer.liquidity) == (12, "partially_filled", "taker")
    assert (answer.average_price, answer.fees) == (Decimal("150.2"), Decimal("-0.08"))
    assert [(fill.trade_id, fill.quantity, fill.liquidity) for fill in answer.fills] == [(7, Decimal(4), None)]


def test_a_business_refusal_raises_order_rejected(exchange: Exchange) -> None:
    result = exchange.call(exchange.client.sell, "AAPL", 10)
    reject = v1.Reject(reason=v1.INSUFFICIENT_FUNDS, message="no", details={"available": v1.Detail(amount=10**9)})
    exchange.answer("OrderEntry/SubmitOrder", v1.OrderResult(status=v1.ORDER_STATUS_REJECTED, reject=reject))
    with pytest.raises(OrderRejected) as refusal:
        result.result(TIMEOUT_S)
    assert (refusal.value.code, refusal.value.details) == ("INSUFFICIENT_FUNDS", {"available": Decimal(1)})


def test_a_status_with_the_exchange_s_details_raises_its_own_exception(exchange: Exchange) -> None:
    result = exchange.call(exchange.client.cancel_order, 12)
    rich = rpc_status.to_status(status(Refused(v1.RATE_LIMIT_EXCEEDED, "slow down", {"retry_after": 2})))
    exchange.fail("OrderEntry/CancelOrder", rich.code, rich.details, rich.trailing_metadata)
    with pytest.raises(RateLimited) as refusal:
        result.result(TIMEOUT_S)
    assert refusal.value.details == {"retry_after": 2}


def test_a_deadline_leaves_an_order_unknown_and_a_query_merely_unanswered(exchange: Exchange) -> None:
    order = exchange.call(exchange.client.buy, "AAPL", 10, client_order_id="mine", timeout_s=0.25)
    exchange.fail("OrderEntry/SubmitOrder", grpc.StatusCode.DEADLINE_EXCEEDED, "late")
    with pytest.raises(OutcomeUnknown) as unknown:
        order.result(TIMEOUT_S)
    details = {"timeout_ms": 250, "stage": "gateway", "outcome": "unknown", "client_order_id": "mine"}
    assert unknown.value.details == details
    query = exchange.call(exchange.client.balances)
    exchange.fail("Accounts/GetBalances", grpc.StatusCode.DEADLINE_EXCEEDED, "late")
    with pytest.raises(Unavailable):
        query.result(TIMEOUT_S)


def test_another_key_shares_the_channel_and_adds_its_metadata(exchange: Exchange) -> None:
    other = exchange.client.with_key("key-2", [("x-forwarded-for", "10.0.0.1")])
    balances = exchange.call(other.balances)
    row = v1.Balance(asset="USD", total=5_000_000_000, reserved=1_000_000_000, available=4_000_000_000)
    metadata, _ = exchange.answer("Accounts/GetBalances", v1.Balances(balances=[row], seq=8))
    assert metadata["x-api-key"] == "key-2"
    assert metadata["x-forwarded-for"] == "10.0.0.1"
    assert balances.result(TIMEOUT_S)["USD"].available == 4
    assert balances.result(TIMEOUT_S).seq == 8


def test_without_a_key_none_is_sent(exchange: Exchange) -> None:
    instruments = exchange.call(exchange.client.with_key(None).instruments)
    metadata, _ = exchange.answer("MarketData/ListInstruments", v1.ListInstrumentsResponse())
    assert "x-api-key" not in metadata
    assert instruments.result(TIMEOUT_S) == []


def test_orders_come_in_pages_and_leave_as_one_list(exchange: Exchange) -> None:
    orders = exchange.call(exchange.client.orders, include_closed=True)
    rows = [v1.Order(order_id=1), v1.Order(order_id=5)]
    _, first = exchange.answer("Accounts/ListOrders", v1.ListOrdersResponse(orders=rows, more=True))
    _, second = exchange.answer("Accounts/ListOrders", v1.ListOrdersResponse(orders=[v1.Order(order_id=9)]))
    assert (first.after_order_id, second.after_order_id) == (0, 5)
    assert second.include_closed
    assert [order.order_id for order in orders.result(TIMEOUT_S)] == [1, 5, 9]


def report(seq: int) -> v1.ExecutionReport:
    return v1.ExecutionReport(seq=seq, cancelled=v1.OrderCancelled(order_id=seq, cancelled_quantity=10**9))


def test_executions_go_on_by_number_after_the_stream_was_lost(exchange: Exchange) -> None:
    feed = exchange.client.executions(from_seq=3)
    stream = exchange.method("ExecutionFeed/StreamExecutions")
    seen = exchange.call(lambda: [next(feed).seq, next(feed).seq])
    _, request, rpc = exchange.channel.take_unary_stream(stream)
    assert request.from_seq == 3
    rpc.send_initial_metadata(())
    rpc.send_response(v1.ExecutionReports(reports=[report(4), report(5)], last_seq=5))
    assert seen.result(TIMEOUT_S) == [4, 5]
    rpc.terminate((), grpc.StatusCode.UNAVAILABLE, "Socket closed")
    resumed = exchange.call(next, feed)
    _, request, rpc = exchange.channel.take_unary_stream(stream)
    assert request.from_seq == 5
    rpc.send_initial_metadata(())
    rpc.send_response(v1.ExecutionReports(reports=[report(5), report(6)], last_seq=6))
    assert resumed.result(TIMEOUT_S).seq == 6
    refused = exchange.call(next, feed)
    rpc.terminate((), grpc.StatusCode.UNAUTHENTICATED, "the key was revoked")
    with pytest.raises(Unauthenticated):
        refused.result(TIMEOUT_S)
