"""What a peer can do wrong."""

from __future__ import annotations

from wire.frames import ErrorCode
from wire.streams import Stream


class Fault(Exception):
    """The peer has broken the rules of the connection."""

    def __init__(self, code: ErrorCode, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


class StreamFault(Exception):
    """The peer has broken the rules of one stream."""

    def __init__(self, stream: Stream, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.stream = stream
        self.code = code
