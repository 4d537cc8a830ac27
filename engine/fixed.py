"""Fixed-point numbers: int64 in units of 1e-9, one scale for every price, quantity and sum of money."""

from __future__ import annotations

SCALE = 1_000_000_000
INT64_MAX = 2**63 - 1
Wide = int | str


def notional(price: int, quantity: int) -> int:
    """Return what `quantity` costs at `price`. Exact, because tick x lot is a multiple of 1e-9."""
    return price * quantity // SCALE


def average(total: int, quantity: int) -> int:
    """Return the price at which `quantity` costs `total`, rounded half-even at 1e-9."""
    units, rest = divmod(total * SCALE, quantity)
    twice = 2 * rest
    if twice > quantity or (twice == quantity and units & 1):
        units += 1
    return units


def wide(number: int) -> Wide:
    """A number that may go beyond 64 bits, in a form that fits where numbers may not."""
    return number if -INT64_MAX <= number <= INT64_MAX else str(number)


def narrow(number: Wide) -> int:
    """What `wide` was given."""
    return int(number)


def text(units: int) -> str:
    """Write `units` as a plain decimal: 128_500_000_000 is "128.5"."""
    whole, rest = divmod(abs(units), SCALE)
    digits = f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
    return f"-{digits}" if units < 0 else digits
