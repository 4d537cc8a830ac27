"""One stream of a connection: which sides are open, what they may still send, and what waits to be sent."""

from __future__ import annotations

from collections import deque
from typing import Any

from msgspec import Struct


class Stream(Struct, eq=False):
    """`owner` belongs to the layer above. Windows are in bytes; `queued` is what waits for the peer's window.

    `ending` is how our side ends once the outbox is empty: not yet (None), with the last data (b""), or with trailers.
    """

    id: int
    send_window: int
    receive_window: int
    receive_credit: int = 0  # consumed, and not yet given back
    owner: Any = None
    has_headers: bool = False  # the peer's first block has come
    has_reply: bool = False  # our first block has gone
    local_closed: bool = False
    remote_closed: bool = False
    closed: bool = False
    content_left: int | None = None  # of the length that the peer has announced
    outbox: deque[bytes | memoryview] | None = None
    in_turn: bool = False  # it waits for the connection's window
    queued: int = 0
    ending: bytes | None = None
