"""Experiment 20: bytes, numbers and texts that nobody meant, by gRPC, JSON and WebSocket.

Each is answered with an error of the closed list, in the contract's form; nothing else is said, nothing stops, and the
state is as it was. The control sends what is meant, and the state is another.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from random import Random

import grpc
import httpx
import pytest
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from outcry import v1
from tests.experiments.exchanges import HANG_S, UNIT, Exchange, metadata

FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
# Nothing goes wrong, and nothing is refused for coming too often.
CODES = set(v1.RejectReason.keys()) - {"REJECT_REASON_UNSPECIFIED", "INTERNAL_ERROR", "RATE_LIMIT_EXCEEDED"}
# All that take what one account says; but for those that make a new key out of nothing at all.
SERVICES = {
    "OrderEntry": ["SubmitOrder", "CancelOrder", "ReplaceOrder", "CancelAll", "ValidateOrder"],
    "Accounts": ["GetOrder", "ListOrders", "GetPositions", "GetBalances"],
    "MarketData": ["ListInstruments", "GetOrderBook"],
    "Operations": ["PutInstrument", "PutAccount", "PutRiskProfile", "RevokeKey", "CreateInvite", "GetStateDigest"],
}
METHODS = [f"/outcry.v1.{service}/{name}" for service, names in SERVICES.items() for name in names]
REPLIES = {"SubmitOrder", "CancelOrder", "ReplaceOrder", "ValidateOrder"}
ORDER = v1.NewOrder(instrument_id="AAPL", side=1, order_type=1, quantity=UNIT, price=100 * UNIT, client_order_id="x")

ODD_NUMBERS = ["NaN", "-NaN", "Infinity", "-Infinity", "1e308", "-1e308", "1e-400", "1e999999999", "-0", "-0.0", "0e5"]
ODD_NUMBERS += [
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551616",
    "9" * 400,
    "0." + "0" * 400 + "1",
]
ODD_NUMBERS += ["1e-10", "01", "+1", "0x10", "1_0", ".5", "5.", "1e", "--1", "true", "null", "[]", "{}", '"one"', '""']
ODD_TEXTS = [
    "",
    "\x00",
    "\x00AAPL",
    "\ud800",
    "\udfff\ud800",
    "\u202eLPAA",
    "ＡＡＰＬ",
    "A" * 100_000,
    "\U0010ffff",
    "é",
]
ODD_TEXTS += [
    "aapl",
    " AAPL",
    "AAPL\n",
    "%00",
    "../../etc/passwd",
    "${x}",
    "'; --",
    "\ufeff",
    "🂡" * 300,
    "1",
    "\x7f\x1b[2J",
]
ODD_BODIES = [b"", b"\x00", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"null", b"1", b'"x"', b"[]", b"{}"]
PATHS = ["/exchange/orders", "/orders", "/orders/validate"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def key(exchange: Exchange) -> str:
    return exchange.register()


def digest(exchange: Exchange) -> str:
    with grpc.insecure_channel(exchange.grpc) as channel:
        key = metadata(exchange.engine.operator_key)
        stub = v1.OperationsStub(channel)
        return str(stub.GetStateDigest(v1.GetStateDigestRequest(), metadata=key, timeout=HANG_S).digest)


def refused_by_grpc(channel: grpc.Channel, key: str, path: str, request: bytes) -> None:
    """A refusal of the closed list, or an answer that changes nothing."""
    call = channel.unary_unary(path).future(request, metadata=metadata(key), timeout=HANG_S)
    if call.exception() is None:
        rejects = []
        if path.rpartition("/")[2] in REPLIES:
            result = v1.OrderResult.FromString(call.result())
            rejects = [result.reject] if result.HasField("reject") else []
    else:
        status = rpc_status.from_call(call)
        assert status is not None, (path, request, call)
        rejects = [v1.Reject.FromString(any_.value) for any_ in status.details if any_.Is(v1.Reject.DESCRIPTOR)]
        assert len(rejects) == 1, (path, request, call)
    assert {v1.RejectReason.Name(reject.reason) for reject in rejects} <= CODES, (path, request, call)


@st.composite
def spoilt_orders(draw: st.DrawFn) -> bytes:
    """An order of which some bytes are others, more or fewer; it is not one that could be meant."""
    data = bytearray(ORDER.SerializeToString())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


@pytest.mark.parametrize("path", METHODS)
def test_random_bytes_by_grpc_are_refused_or_change_nothing(exchange: Exchange, key: str, path: str) -> None:
    before = digest(exchange)
    with grpc.insecure_channel(exchange.grpc) as channel:

        @FUZZ
        @given(st.binary(max_size=200))
        def fuzz(request: bytes) -> None:
            refused_by_grpc(channel, key, path, request)

        fuzz()
    assert digest(exchange) == before


def test_spoilt_orders_by_grpc_get_a_typed_answer(exchange: Exchange, key: str) -> None:
    """Some of them are orders, by chance; so only their answers are judged, and dry runs change nothing."""
    before = digest(exchange)
    with grpc.insecure_channel(exchange.grpc) as channel:

        @FUZZ
        @given(spoilt_orders())
        def fuzz(request: bytes) -> None:
            refused_by_grpc(channel, key, "/outcry.v1.OrderEntry/ValidateOrder", request)

        fuzz()
    assert digest(exchange) == before


def test_numbers_at_the_ends_of_their_range_by_grpc_are_refused(exchange: Exchange, key: str) -> None:
    before, ends = digest(exchange), (0, -1, 1, 2**31, 2**63 - 1, -(2**63))
    with grpc.insecure_channel(exchange.grpc) as channel:
        stub = v1.OrderEntryStub(channel)
        for field, odd in [(field, odd) for field in ("quantity", "price") for odd in ends]:
            order = v1.NewOrder()
            order.CopyFrom(ORDER)
            setattr(order, field, odd)
            result = stub.SubmitOrder(order, metadata=metadata(key), timeout=HANG_S)
            assert v1.RejectReason.Name(result.reject.reason) in CODES, (field, odd)
        for field in ("side", "order_type", "time_in_force"):
            order.CopyFrom(ORDER)
            setattr(order, field, 2**31 - 1)
            result = stub.SubmitOrder(order, metadata=metadata(key), timeout=HANG_S)
            assert v1.RejectReason.Name(result.reject.reason) in CODES, field
    assert digest(exchange) == before


def refused_by_rest(client: httpx.Client, path: str, body: bytes) -> None:
    response = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert 400 <= response.status_code < 500, (path, body[:200], response.text)
    told = response.json()
    assert told["success"] is False
    assert told["error"]["code"] in CODES, (path, body[:200], told)


def rest(exchange: Exchange, key: str) -> httpx.Client:
    return httpx.Client(base_url=f"http://{exchange.http}", headers={"X-API-Key": key}, timeout=HANG_S)


def body(**odd: str) -> bytes:
    """An order with these fields as they stand, whether or not that is JSON."""
    fields = {"instrument_id": '"AAPL"', "side": '"buy"', "quantity": "1", "order_type": '"limit"', "price": "100"}
    text = ", ".join(f'"{name}": {value}' for name, value in (fields | odd).items())
    return f"{{{text}}}".encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("path", PATHS)
def test_odd_numbers_and_texts_in_json_are_refused(exchange: Exchange, key: str, path: str) -> None:
    before = digest(exchange)
    with rest(exchange, key) as client:
        for number in ODD_NUMBERS:
            for field in ("quantity", "price") if number != "null" else ("quantity",):
                refused_by_rest(client, path, body(**{field: number}))
        for text in ODD_TEXTS:
            for field in ("instrument_id", "side", "order_type", "time_in_force"):
                if (field, text) != ("time_in_force", ""):
                    refused_by_rest(client, path, body(**{field: json.dumps(text, ensure_ascii=False)}))
                    refused_by_rest(client, path, body(**{field: json.dumps(text)}))
        for whole in ODD_BODIES:
            refused_by_rest(client, path, whole)
    assert digest(exchange) == before


@pytest.mark.parametrize("path", PATHS)
def test_random_json_and_random_bytes_are_refused(exchange: Exchange, key: str, path: str) -> None:
    before = digest(exchange)
    with rest(exchange, key) as client:

        @FUZZ
        @given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
        def fuzz(content: bytes) -> None:
            refused_by_rest(client, path, content)

        fuzz()
    assert digest(exchange) == before


def test_whatever_a_websocket_is_sent_it_answers_with_an_error_or_ends_with_a_code(
    exchange: Exchange, key: str
) -> None:
    before, chance = digest(exchange), Random(20)
    messages: list[str | bytes] = [chance.randbytes(chance.randrange(100)) for _ in range(100)]
    messages += [text for text in ODD_TEXTS if not any("\ud800" <= character <= "\udfff" for character in text)]
    messages += [f'{{"action": "subscribe", "channel": "book", "instrument_id": {odd}}}' for odd in ODD_NUMBERS]
    messages += [f'{{"action": {odd}}}' for odd in ODD_NUMBERS] + ["[" * 60_000, "{}", "null"]
    for message in messages:
        talk(exchange, key, message)
    assert digest(exchange) == before


def talk(exchange: Exchange, key: str, message: str | bytes) -> None:
    with connect(f"ws://{exchange.http}/ws?api_key={key}", open_timeout=HANG_S, compression=None) as socket:
        assert json.loads(socket.recv(HANG_S))["type"] == "position_snapshot"
        told = []
        with suppress(ConnectionClosed):
            socket.send(message)
            told.append(json.loads(socket.recv(HANG_S)))
    assert [answer["type"] for answer in told] == ["error"] or socket.close_code not in (1006, 1011), (message, told)


async def test_control_an_order_that_is_meant_changes_the_state(exchange: Exchange, key: str) -> None:
    before = digest(exchange)
    with grpc.insecure_channel(exchange.grpc) as channel:
        stub = v1.OrderEntryStub(channel)
        result = await asyncio.to_thread(stub.SubmitOrder, ORDER, metadata=metadata(key), timeout=HANG_S)
        assert result.status == v1.ORDER_STATUS_NEW
    assert await asyncio.to_thread(digest, exchange) != before
