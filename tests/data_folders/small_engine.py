"""`python -m gateway` with files so small that many come and go in a moment."""

from __future__ import annotations

from gateway import __main__, event_log
from gateway.event_log import EventLog
from gateway.journal import Journal

SEGMENT_BYTES = 16_000
AHEAD_BYTES = 32_000


def run(segment_bytes: int, ahead: int) -> None:
    for kind in (Journal, EventLog):
        defaults = kind.open.__func__.__kwdefaults__  # type: ignore[attr-defined]
        defaults |= {"segment_bytes": segment_bytes, "ahead": ahead}
    event_log.SEGMENT_BYTES = segment_bytes
    __main__.main()


if __name__ == "__main__":
    run(SEGMENT_BYTES, AHEAD_BYTES)
