"""Times are integers of nanoseconds inside and ISO 8601 in UTC outside."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rest_bridge.moments import NotAMoment, iso_time, parse_moment


def test_a_timestamp_has_six_fractional_digits_and_a_z():
    assert iso_time(1_705_314_645_123_456_789) == "2024-01-15T10:30:45.123456Z"
    assert iso_time(0) == "1970-01-01T00:00:00.000000Z"


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1))
def test_a_timestamp_read_again_is_the_same_microsecond(time_ns):
    assert parse_moment(iso_time(time_ns)) == time_ns // 1000 * 1000


def test_a_zone_is_taken_off_and_nanoseconds_are_kept():
    assert parse_moment("2024-01-15T12:30:45.123456789+02:00") == 1_705_314_645_123_456_789
    assert parse_moment("2024-01-15T10:30:45Z") == 1_705_314_645_000_000_000


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        True,
        "",
        "now",
        "2024-01-15",
        "2024-01-15T10:30:45",
        "2024-01-15 10:30:45Z",
        "2024-13-15T10:30:45Z",
        "2024-01-15T25:30:45Z",
        "2024-01-15T10:30:45.1234567890Z",
        "2024-01-15T10:30:45+99:00",
        "9999-12-31T23:59:59Z",
        "1969-12-31T23:59:59Z",
        "٢٠٢٤-01-15T10:30:45Z",
    ],
)
def test_what_is_no_moment_of_int64_is_refused(value):
    with pytest.raises(NotAMoment):
        parse_moment(value)
