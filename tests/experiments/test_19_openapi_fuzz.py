"""Whatever a documented call is sent, its answer is a documented one, and a request that is refused changes nothing.

The document is the one that the bridge serves. From it come requests that fit and requests that do not. Random words
never get far, so parts of them are then said as a bot would say them: an instrument that there is, a price, an order
that was accepted before, a key. No status of 5xx may come, because nothing is broken here; and the state's digest tells
whether anything has changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, MutableMapping
from copy import copy, deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from outcry import Client
from tests.experiments.contract import routes
from tests.experiments.exchanges import HANG_S, Exchange

SEED = int(os.environ.get("OUTCRY_FUZZ_SEED", "19"))
EXAMPLES = int(os.environ.get("OUTCRY_FUZZ_EXAMPLES", "30"))  # of each call
Operation = APIOperation[Any, Any, Any, Any]
Falsify = Callable[[dict[str, Any]], None]
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
OPENED = 40
OPEN_ORDERS = [f"ORD_{number}" for number in range(1, OPENED + 1)]
ABSENT = object()
# What a bot says in a field or parameter of this name: what may well be accepted, and what may not.
SAID: dict[str, tuple[list[Any], list[Any]]] = {
    "instrument_id": (["AAPL", "SPX_4500_CALL"], ["BTC/USDT", "GONE"]),
    "side": (["buy", "sell"], ["hold"]),
    "quantity": ([1, 2.0, "3"], [51, 0.5, 2**63]),
    "price": ([100, 99.5, "100.01"], [100.005, 0, ABSENT]),
    "order_type": (["limit", ABSENT], ["market", "stop"]),
    "time_in_force": (["GTC", "IOC", ABSENT], ["GTD", "FOK"]),
    "expires_at": ([ABSENT], ["2999-01-01T00:00:00Z", "2001-01-01T00:00:00Z"]),
    "client_order_id": ([ABSENT], ["mine", "yours"]),
    "Idempotency-Key": ([ABSENT], ["mine", "yours"]),
    "post_only": ([ABSENT], [False]),
    "self_trade_prevention": ([ABSENT], ["none"]),
    "request_id": ([ABSENT, "mine"], [""]),
    "order_id": (OPEN_ORDERS, ["ORD_999999", "ORD_0", f"ORD_{2**64}"]),
    "depth": ([0, 1, 1_000], [1_001]),
    "role": ([ABSENT, "market_maker"], ["king"]),
}
UNBUILT = ("stop_price", "stop_loss", "take_profit", "display_quantity", "signal_confidence")
SAID |= dict.fromkeys(UNBUILT, ([ABSENT], [1]))


class Fuzzed:
    """An exchange, the document that its bridge serves, and the keys of two accounts that trade with each other."""

    def __init__(self, folder: Path) -> None:
        self.exchange = Exchange(folder, "--durability", "write")
        self.http = httpx.Client(base_url=f"http://{self.exchange.http}", timeout=HANG_S)
        self.operator = Client(self.exchange.grpc, self.exchange.engine.operator_key)
        self.document: dict[str, Any] = self.http.get("/openapi.json").json()
        self.keys = [self.exchange.register() for _ in range(2)]
        self.open_orders()

    def open_orders(self) -> None:
        """Orders that wait, and are the ones that bots name, mostly of the first account."""
        order = {"instrument_id": "AAPL", "side": "buy", "quantity": 5, "price": 90}
        for at in range(OPENED):
            answer = self.http.post("/orders", json=order, headers={"X-API-Key": self.keys[at % 5 == 0]})
            OPEN_ORDERS[at] = answer.raise_for_status().json()["order_id"]
        self.digest = self.operator.state_digest().digest

    def operation(self, method: str, path: str, falsify: Falsify = lambda _: None) -> Operation:
        document = deepcopy(self.document)
        falsify(document)
        return schemathesis.openapi.from_dict(document)[path][method.upper()]

    def send(self, case: Case, sender: int | None) -> int:
        """Send it, with the key of an account or with what it has itself; the status, of an answer as documented."""
        headers = {} if sender is None else {"X-API-Key": self.keys[sender]}
        answer = case.call(base_url=str(self.http.base_url), headers=headers, timeout=HANG_S)
        case.validate_response(answer, checks=CHECKS)
        if case.operation.label == "POST /auth/rotate" and answer.status_code == 200 and sender is not None:
            self.keys[sender] = answer.json()["api_key"]
        changes = case.method != "GET" and case.path != "/orders/validate"
        before, self.digest = self.digest, self.operator.state_digest().digest
        if answer.status_code >= 400 or not changes:
            assert before == self.digest, f"the state has changed: {case.as_curl_command()}"
        return answer.status_code

    def require_alive(self) -> None:
        assert self.exchange.engine.process.poll() is None
        assert self.exchange.bridge.popen.poll() is None
        assert self.http.get("/health").status_code == 200
        logs = self.exchange.logs()
        assert "Traceback" not in logs
        assert "request_failed" not in logs

    def stop(self) -> None:
        self.http.close()
        self.operator.close()
        self.exchange.stop()


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    running = Fuzzed(tmp_path_factory.mktemp("fuzzed"))
    yield running
    running.stop()


@st.composite
def requests(draw: st.DrawFn, operation: Operation) -> tuple[Case, int | None]:
    """A request that fits the document or does not, parts of it said as a bot would, and the account that sends it."""
    mode = draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
    case: Case = draw(operation.as_strategy(mode))
    if mode is GenerationMode.POSITIVE:
        is_plain, fluency = draw(st.sampled_from([(True, 4)] * 4 + [(False, 4), (False, 2), (False, 0)]))
        for part in ("path_parameters", "query", "headers", "body"):
            content = getattr(case, part)
            if isinstance(content, MutableMapping):
                content = copy(content)  # what is generated may be generated again
                speak(draw, content, is_plain, fluency)
                setattr(case, part, content)
    if draw(st.integers(0, 7)) == 7:
        case.query = {**case.query, "nonsense": "1"}
    if draw(st.integers(0, 7)) == 7:
        case.headers = {**case.headers, "X-Request-Id": draw(st.sampled_from(["", "x" * 129, "mine"]))}
    return case, draw(st.sampled_from([0, 0, 0, 0, 1, None]))


def speak(draw: st.DrawFn, part: MutableMapping[str, Any], is_plain: bool, fluency: int) -> None:
    """Say so many quarters of it as bots do; `is_plain` as they do on a good day."""
    for name in list(part):
        if name in SAID and draw(st.integers(0, 3)) < fluency:
            good, odd = SAID[name]
            part[name] = draw(st.sampled_from(good if is_plain else good + odd))
            if part[name] is ABSENT:
                del part[name]


def fuzz(operation: Operation, send: Callable[[Case, int | None], int]) -> set[int]:
    """Send EXAMPLES requests; the statuses that came."""
    statuses = set()

    @seed(f"{SEED} {operation.label}")
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # the state has moved on, so that nothing can be made smaller
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(requests(operation))
    def each(request: tuple[Case, int | None]) -> None:
        statuses.add(send(*request))

    each()
    return statuses


@pytest.mark.parametrize(("method", "path"), routes())
def test_every_answer_is_documented_and_what_is_refused_changes_nothing(fuzzed: Fuzzed, method: str, path: str) -> None:
    print(f"seed {SEED}")
    fuzzed.open_orders()
    statuses = fuzz(fuzzed.operation(method, path), fuzzed.send)
    fuzzed.require_alive()
    assert statuses & {400, 401}
    assert path == "/ws" or 200 in statuses  # or all that was fuzzed is how requests are refused


def without_a_field(document: dict[str, Any]) -> None:
    form = document["components"]["schemas"]["AcceptedResponse"]
    del form["properties"]["duplicate"]
    form["required"].remove("duplicate")


def with_a_kind_of_its_own(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["RefusedResponse"]["properties"]["timestamp"] = {"type": "integer"}


def without_a_status(document: dict[str, Any]) -> None:
    del document["paths"]["/orders"]["post"]["responses"]["400"]


@pytest.mark.parametrize("falsify", [without_a_field, with_a_kind_of_its_own, without_a_status])
def test_control_an_answer_that_the_document_does_not_know_is_found(fuzzed: Fuzzed, falsify: Falsify) -> None:
    operation = fuzzed.operation("post", "/orders", falsify)
    with pytest.raises(FailureGroup):
        fuzz(operation, fuzzed.send)
    fuzzed.digest = fuzzed.operator.state_digest().digest


def test_control_a_failure_is_found_though_its_form_is_documented(fuzzed: Fuzzed) -> None:
    case = fuzzed.operation("get", "/positions").Case()
    refused = fuzzed.http.get("/positions")
    answer = httpx.Response(500, headers=refused.headers, content=refused.content, request=refused.request)
    answer.elapsed = timedelta()
    with pytest.raises(FailureGroup, match="Server error"):
        case.validate_response(answer, checks=CHECKS)


def test_control_a_change_behind_a_refusal_is_found(fuzzed: Fuzzed) -> None:
    case = fuzzed.operation("delete", "/orders/{order_id}").Case(path_parameters={"order_id": "ORD_999999"})
    assert fuzzed.send(case, 0) == 400
    fuzzed.exchange.register()
    with pytest.raises(AssertionError, match="has changed"):
        fuzzed.send(case, 0)
