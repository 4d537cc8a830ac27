"""Numbers keep every digit, or are refused."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcry.v1.fixed import to_decimal
from rest_bridge.answers import encode
from rest_bridge.decimals import NotANumber, money, parse_number, quantity

INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None)
@given(INT64)
def test_every_amount_comes_back_from_json_as_it_was_written(units):
    number = to_decimal(units)
    for written in (money(number), quantity(number)):
        text = encode({"n": written}).decode()
        assert json.loads(text, parse_float=Decimal, parse_int=Decimal)["n"] == number
        assert "e" not in text.lower()


@settings(deadline=None)
@given(INT64)
def test_a_number_and_a_string_of_its_digits_are_the_same(units):
    number = to_decimal(units)
    assert parse_number(number) == parse_number(format(number, "f")) == parse_number(str(number)) == number


@pytest.mark.parametrize(
    ("number", "as_money", "as_quantity"),
    [
        ("128.50", "128.5", "128.5"),
        ("100", "100.0", "100"),
        ("0", "0.0", "0"),
        ("-5", "-5.0", "-5"),
        ("0.000000001", "0.000000001", "0.000000001"),
        ("0.00001", "0.00001", "0.00001"),
        ("9223372036.854775807", "9223372036.854775807", "9223372036.854775807"),
    ],
)
def test_money_has_a_decimal_point_and_a_whole_quantity_has_none(number, as_money, as_quantity):
    units = int(Decimal(number).scaleb(9))
    assert bytes(money(to_decimal(units))).decode() == as_money
    assert bytes(quantity(to_decimal(units))).decode() == as_quantity


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        None,
        [],
        {},
        1.5,
        "",
        " 1",
        "1 ",
        "1_000",
        "0x10",
        "+1",
        "01",
        ".5",
        "5.",
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "1e",
        "١٢",
        "1\n",
        "9223372036.854775808",
        "-9223372036.854775809",
        "1e-10",
        "0.0000000001",
        "1e308",
        "1e-999999999",
        "1e99999999999999999999",
        2**63,
        Decimal("1e10"),
        Decimal("NaN"),
        "9" * 60_000,
    ],
)
def test_what_int64_at_a_billionth_cannot_hold_is_refused(value):
    with pytest.raises(NotANumber):
        parse_number(value)


@pytest.mark.parametrize("value", ["-0", "-0.0", "0e99999", "0.000", Decimal("-0.0"), 0])
def test_every_zero_is_the_same_plain_zero(value):
    number = parse_number(value)
    assert not number
    assert not number.is_signed()
