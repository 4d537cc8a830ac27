"""What the documentation shows is what the contract says."""

from __future__ import annotations

from typing import get_args

import pytest

from outcry.models import ExecutionEvent
from rest_bridge.app import create_app
from rest_bridge.docs import models, operations, websocket
from rest_bridge.messages import DEFAULT_TABLE, FLAT_TABLE
from rest_bridge.settings import Settings

DOCUMENTS = {
    name: value for name, value in vars(operations).items() if isinstance(value, dict) and "responses" in value
}
CALLS = {name: document for name, document in DOCUMENTS.items() if name != "WEBSOCKET"}


@pytest.fixture(scope="module")
def schema():
    return create_app(Settings(_cli_parse_args=False)).openapi()


def examples_of(content):
    return {name: case["value"] for name, case in content["application/json"]["examples"].items()}


@pytest.mark.parametrize("name", CALLS)
def test_every_example_of_an_answer_has_the_documented_form(name):
    for response in CALLS[name]["responses"].values():
        for example in examples_of(response["content"]).values():
            response["model"].model_validate(example)


@pytest.mark.parametrize("name", [name for name in CALLS if "requestBody" in CALLS[name]["openapi_extra"]])
def test_every_example_of_a_body_has_the_documented_form(name):
    bodies = {"EXCHANGE_SUBMIT": models.Submission, "REGISTER": models.Application}
    model = bodies.get(name, models.Replacement if "REPLACE" in name else models.Submission)
    for example in examples_of(CALLS[name]["openapi_extra"]["requestBody"]["content"]).values():
        model.model_validate(example)


def test_the_websocket_s_examples_have_the_fields_that_are_sent():
    for table, examples in ((DEFAULT_TABLE, websocket.DEFAULT_MESSAGES), (FLAT_TABLE, websocket.FLAT_MESSAGES)):
        for form in filter(None, table.values()):
            example = examples[form.type]
            fields = example.get("data") or {k: v for k, v in example.items() if k not in ("seq", "type", "timestamp")}
            assert list(fields) == list(form.fields)


def test_every_event_has_a_place_in_every_format():
    kinds = set(get_args(ExecutionEvent))
    assert set(DEFAULT_TABLE) == kinds
    assert set(FLAT_TABLE) == kinds


def test_every_call_of_the_contract_is_in_the_schema(schema):
    calls = {f"{method.upper()} {path}" for path, methods in schema["paths"].items() for method in methods}
    assert calls == {
        "POST /exchange/orders",
        "GET /exchange/orders",
        "GET /exchange/orders/{order_id}",
        "DELETE /exchange/orders/{order_id}",
        "PATCH /exchange/orders/{order_id}",
        "GET /exchange/orderbook/{instrument_id}",
        "POST /orders",
        "GET /orders",
        "GET /orders/{order_id}",
        "DELETE /orders/{order_id}",
        "PATCH /orders/{order_id}",
        "POST /orders/validate",
        "GET /positions",
        "GET /balances",
        "POST /auth/register",
        "POST /auth/rotate",
        "GET /ws",
    }


def test_422_is_never_documented_and_every_call_says_how_it_fails(schema):
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            assert "422" not in operation["responses"]
            if path not in ("/ws", "/auth/register"):
                assert {"200", "401", "500", "503", "504"} <= set(operation["responses"])
                assert operation["security"] == [{"ApiKey": []}]


def test_every_scenario_of_the_documents_is_an_example(schema):
    submit = schema["paths"]["/exchange/orders"]["post"]["responses"]
    cancel = schema["paths"]["/exchange/orders/{order_id}"]["delete"]["responses"]
    shown = {status: set(examples_of(response["content"])) for status, response in submit.items()}
    assert shown["200"] == {"filled", "resting", "partially filled"}
    assert {"position limit", "unknown instrument"} <= shown["400"]
    assert shown["504"] == {"timeout"}
    assert shown["500"] == {"system error"}
    assert set(examples_of(cancel["200"]["content"])) == {"cancelled"}
    assert set(examples_of(cancel["400"]["content"])) == {"already filled"}
    orders = schema["paths"]["/orders"]
    assert {"accepted"} == set(examples_of(orders["post"]["responses"]["200"]["content"]))
    assert "position limit" in examples_of(orders["post"]["responses"]["400"]["content"])
    assert {"open orders"} == set(examples_of(orders["get"]["responses"]["200"]["content"]))
