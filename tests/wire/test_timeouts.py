"""grpc-timeout, both ways."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.timeouts import decode_timeout, encode_timeout

LONGEST = 99_999_999 * 3600


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600),
        (b"2M", 120),
        (b"5S", 5),
        (b"0S", 0),
        (b"00000005S", 5),
        (b"250m", 0.25),
        (b"1100000u", 1.1),
        (b"99999999n", 0.099999999),
        (b"99999999H", LONGEST),
    ],
)
def test_every_unit_is_read(value: bytes, seconds: float):
    assert decode_timeout(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"5",
        b"S",
        b"-1S",
        b"+1S",
        b" 1S",
        b"1 S",
        b"1S ",
        b"1.5S",
        b"1s",
        b"1_0S",
        b"123456789S",
        b"1SS",
        b"\xb25S",
    ],
)
def test_anything_else_is_refused(value: bytes):
    with pytest.raises(ValueError, match="grpc-timeout"):
        decode_timeout(value)


@given(st.binary(max_size=12))
def test_any_bytes_are_a_timeout_or_refused(value: bytes):
    with contextlib.suppress(ValueError):
        assert 0 <= decode_timeout(value) <= LONGEST


@pytest.mark.parametrize(
    ("seconds", "value"),
    [
        (1e-12, b"1n"),
        (1e-9, b"1n"),
        (0.05, b"50000000n"),
        (0.5, b"500000u"),
        (5, b"5000000u"),
        (3600, b"3600000m"),
        (1e6, b"1000000S"),
        (1e9, b"16666667M"),
        (1e10, b"2777778H"),
        (1e12, b"99999999H"),
        (math.inf, b"99999999H"),
        (0, b"1n"),
        (-1, b"1n"),
        (-math.inf, b"1n"),
    ],
)
def test_the_finest_unit_that_fits_is_written(seconds: float, value: bytes):
    assert encode_timeout(seconds) == value


def test_a_timeout_is_a_number():
    with pytest.raises(ValueError, match="number"):
        encode_timeout(math.nan)


@given(st.floats(1e-12, LONGEST))
def test_a_timeout_is_rounded_up_and_by_little(seconds: float):
    value = encode_timeout(seconds)
    assert len(value) <= 9
    again = decode_timeout(value)
    # A float's own last digit aside.
    assert seconds * (1 - 1e-15) <= again <= seconds * (1 + 1e-15) + max(1e-9, seconds / 99_999)
    assert again > 0
