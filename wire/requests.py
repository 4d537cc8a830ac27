"""What the header fields of a request ask for: read once for each template."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode
from msgspec import Struct, field

from wire.fields import Fields
from wire.messages import INFLATE
from wire.metadata import Metadatum, from_fields
from wire.templates import TIMEOUT

GRPC = b"application/grpc"
PLAIN_SUBTYPES = (b"", b"+", b";")


class Head(Struct):
    """`method` is None for what can only be refused: with `refusal`, a status, or `http_status`, one of HTTP alone, or
    because there is no such method.

    `memo` is the application's: what it has made of these fields.
    """

    path: str = ""
    metadata: tuple[Metadatum, ...] = ()
    encoding: str = "identity"
    accepts_gzip: bool = False
    refusal: tuple[StatusCode, str] | None = None
    http_status: bytes = b""
    method: Any = None
    memo: dict[str, Any] = field(default_factory=dict)


TOO_LARGE = Head(refusal=(StatusCode.RESOURCE_EXHAUSTED, "received metadata size exceeds hard limit"))
TIMEOUT_INVALID = Head(refusal=(StatusCode.INTERNAL, "Error parsing 'grpc-timeout' metadata"))


def read_head(fields: Fields) -> Head:
    values = dict(fields)
    if TIMEOUT in values:  # beside the one that is not of the template
        return TIMEOUT_INVALID
    if values.get(b":method") != b"POST":
        return Head(http_status=b"405")
    kind = values.get(b"content-type", b"")
    if not kind.startswith(GRPC) or kind[len(GRPC) :][:1] not in PLAIN_SUBTYPES:
        return Head(http_status=b"415")
    accepts = values.get(b"grpc-accept-encoding", b"").decode("latin-1")
    head = Head(
        values[b":path"].decode("latin-1"),
        encoding=values.get(b"grpc-encoding", b"identity").decode("latin-1"),
        accepts_gzip="gzip" in {word.strip() for word in accepts.split(",")},
    )
    if head.encoding not in INFLATE:
        head.refusal = (StatusCode.UNIMPLEMENTED, f"Compression algorithm '{head.encoding}' is not supported")
    try:
        head.metadata = from_fields(fields)
    except ValueError as problem:
        head.refusal = (StatusCode.INTERNAL, str(problem))
    return head
