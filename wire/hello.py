"""How long a peer takes to say hello, or to finish a block of header fields.

What comes of them in the meantime does not count: a byte now and then would keep them for ever.
"""

from __future__ import annotations

from wire.connection import Connection
from wire.frames import HEADER, HEADER_BYTES, HEADERS


class Hello:
    def __init__(self, core: Connection) -> None:
        self.core = core
        self.stream_id: int | None = None  # whose block had come in part, when last looked at
        self.block_since = 0.0

    def since(self, begun_at: float, now: float) -> float:
        """When what is not whole was begun; `now` where there is no such thing. `begun_at` is the connection's time."""
        if self.core.expects_settings:
            return begun_at
        stream_id = self.unfinished()
        if stream_id != self.stream_id:
            self.stream_id, self.block_since = stream_id, now
        return now if stream_id is None else self.block_since

    def unfinished(self) -> int | None:
        """The stream whose block has come in part. It has at most two of them: head and trailers."""
        core = self.core
        if core.block is not None:
            return core.block.stream_id
        if len(core.pending) < HEADER_BYTES:
            return None
        lead, _, stream_id = HEADER.unpack_from(core.pending)
        return stream_id if lead & 0xFF == HEADERS else None
