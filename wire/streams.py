"""One stream of a connection: which sides are open, what they may still send, and what waits to be sent."""

from __future__ import annotations

from collections import deque
from typing import Any


class Stream:
    """`owner` belongs to the layer above. Windows are in bytes; `queued` is what waits for the peer's window.

    `ending` is how our side ends once the outbox is empty: not yet (None), with the last data (b""), or with trailers.
    """

    __slots__ = (
        "closed",
        "content_left",
        "ending",
        "has_headers",
        "has_reply",
        "id",
        "in_turn",
        "local_closed",
        "outbox",
        "owner",
        "queued",
        "receive_credit",
        "receive_window",
        "remote_closed",
        "send_window",
    )

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        self.send_window = send_window
        self.receive_window = receive_window
        self.receive_credit = 0  # consumed, and not yet given back
        self.owner: Any = None
        self.has_headers = False  # the peer's first block has come
        self.has_reply = False  # our first block has gone
        self.local_closed = False
        self.remote_closed = False
        self.closed = False
        self.content_left: int | None = None  # of the length that the peer has announced
        self.outbox: deque[bytes | memoryview] | None = None
        self.in_turn = False  # it waits for the connection's window
        self.queued = 0
        self.ending: bytes | None = None
