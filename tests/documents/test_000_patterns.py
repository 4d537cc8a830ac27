"""Document 000: its implementation patterns and its WebSocket sample, run."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.documents import samples_000
from tests.documents.bots import DOCUMENTED_URL, GUARD_S, Account, Requests
from tests.documents.shapes import ORDER_ID, TIME, assert_fits

ORDER = {"instrument_id": "SPX_4500_CALL", "order_type": "limit", "side": "buy", "quantity": 10, "price": 128.50}
UNKNOWN = {**ORDER, "instrument_id": "INVALID_SYMBOL"}


class OrderSubmissionFailed(Exception):
    pass


@dataclass
class OrderError(Exception):
    code: str
    message: str
    details: dict[str, Any]


@dataclass
class OrderResult:
    order_id: str
    status: str
    filled_quantity: int
    average_price: float | None
    fees: float


def test_synchronous_pattern(bot: Account) -> None:
    accepted: list[Any] = []
    rejected: list[Any] = []
    for order in (ORDER, UNKNOWN):
        samples_000.synchronous_pattern(bot.requests, order, accepted.append, rejected.append)
    assert_fits([{"order_id": ORDER_ID, "status": "new", "filled_quantity": 0}], accepted)
    assert_fits([{"code": "INVALID_INSTRUMENT", "message": str, "details": dict}], rejected)


def test_error_handling_pattern_returns_a_success_and_a_refusal_at_once(bot: Account) -> None:
    submit = samples_000.error_handling_pattern(bot.requests, OrderSubmissionFailed)
    assert submit({**ORDER, "client_order_id": "mine"})["data"]["status"] == "new"
    assert submit(UNKNOWN, max_retries=1)["error"]["code"] == "INVALID_INSTRUMENT"


def test_error_handling_pattern_sent_again_gives_the_first_result_and_one_order(bot: Account, other: Account) -> None:
    other.sell(4, 128.50)
    submit = samples_000.error_handling_pattern(bot.requests, OrderSubmissionFailed)
    order = {**ORDER, "client_order_id": "mine"}
    first, again = submit(order), submit(order)
    assert (first["data"]["duplicate"], again["data"]["duplicate"]) == (False, True)
    same = ("order_id", "status", "filled_quantity", "average_price", "fees")
    assert {name: first["data"][name] for name in same} == {name: again["data"][name] for name in same}
    assert [order["order_id"] for order in bot.orders("all")] == [first["order_id"]]


def test_error_handling_pattern_gives_up_where_nobody_answers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        nobody = Requests(f"http://127.0.0.1:{taken.getsockname()[1]}")
        submit = samples_000.error_handling_pattern(nobody, OrderSubmissionFailed)
        with pytest.raises(OrderSubmissionFailed, match="Max retries exceeded"):
            submit(ORDER, max_retries=1)


def test_response_processing_pattern(bot: Account, other: Account) -> None:
    other.sell(4, 128.50)
    process = samples_000.response_processing_pattern(OrderError, OrderResult)
    result = process(bot.requests.post("/exchange/orders", json=ORDER))
    assert result == OrderResult(result.order_id, "partially_filled", 4, 128.50, 0.12)
    with pytest.raises(OrderError) as refusal:
        process(bot.requests.post("/exchange/orders", json=UNKNOWN))
    assert refusal.value.code == "INVALID_INSTRUMENT"
    assert refusal.value.details["requested_instrument"] == "INVALID_SYMBOL"


def node_command() -> list[str]:
    """node with a global WebSocket: from 22 on it is there, in 20.10 and 21 behind a flag."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("the document's JavaScript needs node, which is not here")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = map(int, version.removeprefix("v").split(".")[:2])
    if (major, minor) < (20, 10):
        pytest.skip(f"the document's JavaScript needs node 20.10 or later for its WebSocket; here is {version.strip()}")
    return [node] if major >= 22 else [node, "--experimental-websocket"]


HANDLERS = """
const tell = (handler) => (message) => console.log(JSON.stringify([handler, message]));
const [handleFill, updatePositions, handleCancellation] = ['fill', 'positions', 'cancellation'].map(tell);
"""


@pytest.fixture
def told(bot: Account, tmp_path: Path) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
    """What the handlers of the JavaScript sample are told, run by node with the bot's address and key."""
    sample = Path(__file__).with_name("sample_000_websocket.js").read_text()
    sample = sample.replace(DOCUMENTED_URL.replace("http", "ws"), bot.base_url.replace("http", "ws"))
    script = tmp_path / "bot.js"
    script.write_text(HANDLERS + re.sub("your_key", bot.api_key, sample))
    with subprocess.Popen([*node_command(), str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield (tuple(json.loads(line)) for line in process.stdout)
        process.kill()
        process.wait(GUARD_S)


def test_javascript_websocket_sample(bot: Account, other: Account, told: Iterator[tuple[str, dict[str, Any]]]) -> None:
    handler, snapshot = next(told)
    assert handler == "positions"
    assert_fits({"type": "position_snapshot", "seq": 0, "timestamp": TIME, "data": {"positions": {}}}, snapshot)
    order_id = bot.buy(20, 127.00)
    other.sell(5, 127.00)
    handler, report = next(told)
    assert handler == "fill"
    fills = [{"price": 127, "quantity": 5, "timestamp": TIME}]  # 127.0, as JavaScript writes it
    assert_fits({"order_id": order_id, "fills": fills, "remaining_quantity": 15}, report)
    bot.requests.delete(f"/exchange/orders/{order_id}")
    handler, acknowledged = next(told)
    assert handler == "cancellation"
    assert_fits({"type": "order_cancel_ack", "order_id": order_id}, acknowledged)
