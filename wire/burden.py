"""What a server holds for its peers, of all connections: requests that are not whole or that nobody reads, and answers
that nobody takes.

Each connection has bounds of its own, but many together could still fill the memory. So when all hold too much, who
holds more than a small share gets no more, until others have taken theirs; those who hold little are served as always.
A request of which only the head has come is not whole either. Nothing is counted of a call that comes whole and is
answered in the same turn.
"""

from __future__ import annotations

from wire.limits import QUEUED_BYTES, UNLIMITED


class Burden:
    """`size` and `limit` in bytes. `admits` is how many calls there may be at once without a closer look."""

    __slots__ = ("admits", "calls", "limit", "size")

    def __init__(self, limit: int = UNLIMITED, calls: int = UNLIMITED) -> None:
        self.size = 0
        self.limit = limit
        self.admits = self.calls = calls

    def add(self, size: int) -> None:
        self.size += size
        self.admits = 0 if self.size > self.limit else self.calls

    def share(self, most: int, uncounted: int = 0) -> int:
        """What one connection may hold, if it may hold `most` in good times."""
        return min(most, QUEUED_BYTES) if self.size + uncounted > self.limit else most
