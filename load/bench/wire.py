"""The transports, in one run: whole orders from a client in C, calls and streams from Python, fresh timeouts."""

from __future__ import annotations

from collections.abc import Iterator

from load.bench import fresh_timeouts, streams, transports
from load.bench.figures import Figure, Skipped


def figures() -> Iterator[Figure | Skipped]:
    yield from transports.figures()
    yield from streams.figures()
    yield from fresh_timeouts.figures()
