"""Bodies are read exactly, and what does not fit is refused by the name of the field."""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outcry.errors import InvalidRequest
from rest_bridge.answers import encode, error_content
from rest_bridge.bodies import SUBMISSION, once, parse_object, read_fields


def read(content):
    return read_fields(parse_object(content), SUBMISSION, ("instrument_id",))


def field_at_fault(content):
    with pytest.raises(InvalidRequest) as refused:
        read(content)
    assert refused.value.code == "INVALID_REQUEST"
    encode(error_content(refused.value))  # whatever the client wrote, it can be told about it
    return refused.value.details["field"]


def test_numbers_are_read_to_the_last_digit():
    body = read(b'{"instrument_id": "A", "price": 9223372036.854775807, "quantity": "0.000000001"}')
    assert body == {
        "instrument_id": "A",
        "price": Decimal("9223372036.854775807"),
        "quantity": Decimal("0.000000001"),
    }


def test_null_is_as_good_as_absent():
    assert read(b'{"instrument_id": "A", "price": null}') == {"instrument_id": "A"}
    assert field_at_fault(b'{"instrument_id": null}') == "instrument_id"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"12",
        b"{",
        b'{"price": NaN}',
        b'{"price": Infinity}',
        b'{"price": -Infinity}',
        b'{"price": 01}',
        b'{"price": 1e99999999999999999999}',
        b'{"a": "\x01"}',
        b"\xff\xfe{\x00}\x00",
        b'\xef\xbb\xbf{"instrument_id": "A"}',
        b'{"instrument_id": "\xff"}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"quantity": ' + b"9" * 5_000 + b"}",
        b'{"instrument_id": "A"} {}',
        b'{"instrument_id": "A",}',
        b"{'instrument_id': 'A'}",
    ],
)
def test_what_is_not_a_json_object_is_refused(content):
    assert field_at_fault(content) == "body"


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b'{"instrument_id": "A", "pric": 1}', "pric"),
        (b'{"instrument_id": "A", "Price": 1}', "Price"),
        (b'{"instrument_id": "A", "price": 1, "price": 1}', "price"),
        (b'{"instrument_id": "A", "price": true}', "price"),
        (b'{"instrument_id": "A", "price": [1]}', "price"),
        (b'{"instrument_id": "A", "price": 1e10}', "price"),
        (b'{"instrument_id": "A", "quantity": 0.0000000001}', "quantity"),
        (b'{"instrument_id": 5}', "instrument_id"),
        (b'{"instrument_id": ""}', "instrument_id"),
        (b'{"instrument_id": "' + b"A" * 129 + b'"}', "instrument_id"),
        (b'{"instrument_id": "\\ud800"}', "instrument_id"),
        (b'{"instrument_id": "A", "client_order_id": 17}', "client_order_id"),
        (b'{"instrument_id": "A", "client_order_id": ""}', "client_order_id"),
        (b'{"instrument_id": "A", "post_only": "yes"}', "post_only"),
        (b'{"instrument_id": "A", "post_only": 1}', "post_only"),
        (b'{"instrument_id": "A", "side": false}', "side"),
        (b'{"instrument_id": "A", "expires_at": "tomorrow"}', "expires_at"),
        (b'{"instrument_id": "A", "\\udfff": 1}', "'\\udfff'"),
        (b'{"side": "buy"}', "instrument_id"),
    ],
)
def test_the_refusal_names_the_field(content, field):
    assert field_at_fault(content) == field


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_nothing_else(content):
    with suppress(InvalidRequest):
        read(content)


def test_a_name_that_comes_twice_is_found_in_one_pass_over_many():
    compared = 0

    class Name(str):
        __hash__ = str.__hash__

        def __eq__(self, other):
            nonlocal compared
            compared += 1
            return super().__eq__(other)

    names = [Name(n) for n in range(2_000)]
    with pytest.raises(InvalidRequest) as refused:
        once([(name, 1) for name in [*names, Name(1_999)]])
    assert refused.value.details == {"field": "1999"}
    assert compared < 10 * len(names)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*SUBMISSION, "other"]), json_values))
def test_any_json_is_read_or_refused_and_nothing_else(body):
    try:
        read(json.dumps(body))
    except InvalidRequest as refused:
        encode(error_content(refused))
