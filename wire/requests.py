"""What the header fields of a request ask for: read once for each block, and kept with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grpc import StatusCode
from msgspec import Struct, field

from wire.hpack import Block
from wire.messages import INFLATE
from wire.metadata import Metadatum, from_fields
from wire.timeouts import decode_timeout

GRPC = b"application/grpc"
HEADS_KEPT = 1_024  # of a server: those that differ in more than their timeout
PLAIN_SUBTYPES = (b"", b"+", b";")


class Head(Struct):
    """`method` is None for what can only be refused: with `refusal`, a status, or `http_status`, one of HTTP alone, or
    because there is no such method.

    `timeout_s` is the caller's patience from now on. `memo` is the application's: what it has made of these fields.
    """

    path: str = ""
    metadata: tuple[Metadatum, ...] = ()
    timeout_s: float | None = None
    encoding: str = "identity"
    accepts: frozenset[str] = frozenset()
    refusal: tuple[StatusCode, str] | None = None
    http_status: bytes = b""
    method: Any = None
    memo: dict[str, Any] = field(default_factory=dict)


class Heads:
    """Reads heads, those that come again from memory: most calls of a client differ in nothing, or in their timeout."""

    def __init__(self, method_of: Callable[[Head], Any]) -> None:
        self.method_of = method_of
        self.kept: dict[tuple[tuple[bytes, bytes], ...], Head] = {}

    def of(self, block: Block) -> Head:
        if block.too_large:
            return Head(refusal=(StatusCode.RESOURCE_EXHAUSTED, "received metadata size exceeds hard limit"))
        timeout: bytes | None = None
        rest = []
        for pair in block.fields:
            if pair[0] == b"grpc-timeout":
                timeout = pair[1]
            else:
                rest.append(pair)
        key = tuple(rest)
        head = self.kept.get(key)
        if head is None:
            head = read(key)
            if head.refusal is None and not head.http_status:
                head.method = self.method_of(head)
            if len(self.kept) >= HEADS_KEPT:
                self.kept.clear()
            self.kept[key] = head
        return head if timeout is None else timed(head, timeout)


def timed(head: Head, timeout: bytes) -> Head:
    """The same head with a timeout; it shares the memo."""
    try:
        timeout_s, refusal = decode_timeout(timeout), head.refusal
    except ValueError as problem:
        timeout_s, refusal = 0.0, (StatusCode.INTERNAL, str(problem))
    return Head(
        head.path,
        head.metadata,
        timeout_s,
        head.encoding,
        head.accepts,
        refusal,
        head.http_status,
        None if refusal is not None else head.method,
        head.memo,
    )


def read(fields: tuple[tuple[bytes, bytes], ...]) -> Head:
    values = dict(fields)
    if values.get(b":method") != b"POST":
        return Head(http_status=b"405")
    kind = values.get(b"content-type", b"")
    if not kind.startswith(GRPC) or kind[len(GRPC) :][:1] not in PLAIN_SUBTYPES:
        return Head(http_status=b"415")
    accepts = values.get(b"grpc-accept-encoding", b"").decode("latin-1")
    head = Head(
        values[b":path"].decode("latin-1"),
        encoding=values.get(b"grpc-encoding", b"identity").decode("latin-1"),
        accepts=frozenset(word.strip() for word in accepts.split(",")),
    )
    if head.encoding not in INFLATE:
        head.refusal = (StatusCode.UNIMPLEMENTED, f"Compression algorithm '{head.encoding}' is not supported")
    try:
        head.metadata = from_fields(fields)
    except ValueError as problem:
        head.refusal = (StatusCode.INTERNAL, str(problem))
    return head
