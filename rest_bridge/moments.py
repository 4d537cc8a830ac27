"""Moments between integer nanoseconds and ISO 8601 in UTC; integers all the way."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from outcry.v1.fixed import INT64_MAX

ISO_8601 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class NotAMoment(ValueError):
    """What stands for a time in a body and is none, or none that int64 nanoseconds can hold."""


def iso_time(time_ns: int) -> str:
    """`2024-01-15T10:30:45.123456Z` of a Unix time in nanoseconds; what is finer than a microsecond is left out."""
    seconds, ns = divmod(time_ns, 1_000_000_000)
    return f"{EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{ns // 1000:06d}Z"


def parse_moment(value: object) -> int:
    """The Unix time in nanoseconds of an ISO 8601 string that names its zone. NotAMoment for anything else."""
    match = ISO_8601.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise NotAMoment("is not a time like 2024-01-15T10:30:45.123456Z")
    whole, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(whole + ("+00:00" if zone == "Z" else zone))
    except ValueError:
        raise NotAMoment("is not a time like 2024-01-15T10:30:45.123456Z") from None
    time_ns = (moment - EPOCH) // SECOND * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
    if not 0 <= time_ns <= INT64_MAX:
        raise NotAMoment("is a time out of range")
    return time_ns
