"""Exact numbers between JSON and `Decimal`; no float on the way in or out.

JSON has one kind of number and says nothing of its precision, so most parsers make a double of it. Here a number keeps
every digit it was written with, or is refused: what int64 in units of 1e-9 cannot hold was never a price or a quantity.
A bot that fears for its digits may send a string. On the way out a number is written digit by digit into the answer
(`msgspec.Raw`): prices and money always with a decimal point, quantities without one where they are whole.
"""

from __future__ import annotations

import re
from decimal import Decimal

from msgspec import Raw

from outcry.v1.fixed import NotExact, to_fixed

JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,9})?")
ONE_DECIMAL = Decimal("0.0")


class NotANumber(ValueError):
    """What stands for a number in a body and is none, or none that fits. The message says which."""


def parse_number(value: object) -> Decimal:
    """Return the JSON number or string `value` exactly. NotANumber for anything that int64 at 1e-9 cannot hold."""
    if isinstance(value, str):
        if not JSON_NUMBER.fullmatch(value):
            raise NotANumber("is not a number")
        number = Decimal(value)
    elif isinstance(value, int | Decimal) and not isinstance(value, bool):
        number = Decimal(value)
    else:
        raise NotANumber("is not a number")
    try:
        return number if to_fixed(number) else Decimal(0)
    except NotExact:
        raise NotANumber("does not fit 64 bits in units of 0.000000001") from None


def money(number: Decimal) -> Raw:
    """A price, a fee or an average as a JSON number, always with a decimal point: 128.5, 100.0, 0.0000001."""
    return Raw(format(number + ONE_DECIMAL, "f").encode())


def optional_money(number: Decimal | None) -> Raw | None:
    return None if number is None else money(number)


def quantity(number: Decimal) -> Raw:
    """A quantity or a position as a JSON number, an integer where it is whole: 10, -5, 0.00001."""
    return Raw(format(number, "f").encode())
