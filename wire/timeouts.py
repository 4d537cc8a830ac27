"""grpc-timeout: how long the caller will wait, as at most eight digits and a unit."""

from math import ceil, isnan
from typing import Final

__all__ = ["decode_timeout", "encode_timeout"]

NANOSECONDS: Final = {
    "n": 1,
    "u": 1_000,
    "m": 1_000_000,
    "S": 1_000_000_000,
    "M": 60_000_000_000,
    "H": 3_600_000_000_000,
}
UNITS: Final = tuple((unit.encode(), size / 1e9) for unit, size in NANOSECONDS.items())  # the finest first
NANOSECONDS_OF_BYTE: Final = {ord(unit): size for unit, size in NANOSECONDS.items()}
MOST: Final = 99_999_999  # in eight digits
LONGEST: Final = b"%dH" % MOST
SHORTEST: Final = b"1n"  # the form knows no negative numbers, and wants a positive one


def encode_timeout(seconds: float) -> bytes:
    """Return `seconds` in the finest unit it fits, rounded up so that no server gives up before its caller.

    What has run out already is the shortest timeout there is; NaN raises ValueError.
    """
    if seconds <= 0:
        return SHORTEST
    for unit, size in UNITS:
        count = seconds / size
        if count <= MOST:
            return b"%d%b" % (ceil(count), unit)
    if isnan(seconds):
        raise ValueError("A timeout must be a number")
    return LONGEST


def decode_timeout(value: bytes) -> float:
    """Return the seconds that `value` says; raises ValueError."""
    digits = value[:-1]
    if digits.isdigit() and len(digits) <= 8 and (size := NANOSECONDS_OF_BYTE.get(value[-1])):
        return int(digits) * size / 1_000_000_000
    raise ValueError("Error parsing 'grpc-timeout' metadata")
