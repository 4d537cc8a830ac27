"""`python -m gateway` with files so small that many come and go in a moment."""

from __future__ import annotations

from gateway import __main__, event_log
from gateway.event_log import EventLog
from gateway.journal import Journal

SEGMENT_BYTES = 16_000
AHEAD_BYTES = 32_000

if __name__ == "__main__":
    for kind in (Journal, EventLog):
        defaults = kind.open.__func__.__kwdefaults__  # type: ignore[attr-defined]
        defaults |= {"segment_bytes": SEGMENT_BYTES, "ahead": AHEAD_BYTES}
    event_log.SEGMENT_BYTES = SEGMENT_BYTES
    __main__.main()
