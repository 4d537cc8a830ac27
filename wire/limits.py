"""What a peer may ask of us: bounds, and budgets for frames that cost us work and bring nothing.

A well-behaved peer stays far below all of them. One that does not is told ENHANCE_YOUR_CALM, and its connection ends.
"""

from __future__ import annotations

from msgspec import Struct

UNLIMITED = 1 << 62
QUEUED_BYTES = 64 << 10  # that wait for the peer's window, or to be read: above it a writer waits


class Limits(Struct, frozen=True):
    """Sizes in bytes. A rate is a second's."""

    streams: int = 1_000  # open at once
    header_list: int = 16 << 10  # decoded, as RFC 9113 counts; above it the stream is refused
    header_block: int = 128 << 10  # encoded, with its continuations; above it the connection ends
    continuations: int = 64  # of one block
    stream_window: int = 64 << 10  # received and not yet consumed
    connection_window: int = 64 << 20  # of all streams, so that those which nobody reads leave room for the others
    settings: int = 64  # in one frame
    nuisances: int = 2_000  # frames that need an answer, or say nothing
    nuisance_rate: int = 1_000
    resets: int = 5_000  # streams that the peer opened and took back before anything was answered
    reset_rate: int = 5_000
    ping_strikes: int = 0  # pings that come too early, one after the other with nothing sent between; 0 for no limit
    ping_interval_s: float = 0.0
    idle_ping_interval_s: float = 0.0  # while no stream is open


class Budget:
    """A bucket of `size` tokens that fills at `rate` a second."""

    __slots__ = ("at", "rate", "size", "tokens")

    def __init__(self, size: int, rate: int) -> None:
        self.size = size
        self.rate = rate
        self.tokens = float(size)
        self.at = 0.0

    def take(self, now: float, cost: float = 1) -> bool:
        """Whether there was enough at the time `now` (in seconds); it is gone if so."""
        if now > self.at:
            self.tokens = min(self.size, self.tokens + (now - self.at) * self.rate)
            self.at = now
        self.tokens -= cost
        return self.tokens >= 0
