"""Numbers of the contract: int64 in units of 1e-9 on the wire, `Decimal` for people."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact

INT64_MAX = 2**63 - 1
LARGEST_EXPONENT = 9  # of a number that fits: 9_223_372_036.854775807
# Precise enough for every int64, and loud where it is not.
EXACT = Context(prec=50, traps=[Inexact])


class NotExact(ValueError):
    """A number that int64 at 1e-9 cannot hold: too fine, too large, or none at all."""


def to_fixed(number: Decimal | int) -> int:
    """Return `number` in units of 1e-9. NotExact where it needs a finer unit, is beyond int64 or is not finite."""
    exact = Decimal(number)
    if not exact:
        return 0
    if not exact.is_finite() or exact.adjusted() > LARGEST_EXPONENT:
        raise NotExact(f"{number} is out of range")
    try:
        units = int(EXACT.to_integral_exact(EXACT.scaleb(exact, 9)))
    except Inexact:
        raise NotExact(f"{number} is finer than 0.000000001") from None
    if not -INT64_MAX - 1 <= units <= INT64_MAX:
        raise NotExact(f"{number} is out of range")
    return units


def to_decimal(units: int) -> Decimal:
    """Return `units` of 1e-9 as an exact decimal, without trailing zeros."""
    number = EXACT.scaleb(Decimal(units), -9)
    whole = number.to_integral_value()
    return whole if number == whole else number.normalize(EXACT)
