"""What a server's answers are made of: blocks that never change, and those that a call has made its own."""

from __future__ import annotations

from functools import lru_cache

from grpc import StatusCode

from wire.hpack import encode
from wire.metadata import Pairs, encode_message, to_fields
from wire.outbound import Envelope
from wire.statuses import VALUE_OF

HEAD_FIELDS = [(b":status", b"200"), (b"content-type", b"application/grpc")]
ACCEPTED = (b"grpc-accept-encoding", b"identity, deflate, gzip")
HEAD = encode(HEAD_FIELDS)
TRAILERS = encode([(b"grpc-status", b"0")])
USUAL = Envelope(HEAD, TRAILERS)


def head_block(metadata: Pairs, encoding: str | None) -> bytes:
    fields = list(HEAD_FIELDS)
    if encoding is not None:
        fields.append((b"grpc-encoding", encoding.encode()))
    return encode(fields + to_fields(metadata))


def end_fields(code: StatusCode, details: str, metadata: Pairs) -> list[tuple[bytes, bytes]]:
    fields = [(b"grpc-status", VALUE_OF[code])]
    if details:
        fields.append((b"grpc-message", encode_message(details)))
    return fields + to_fields(metadata)


def trailers_block(code: StatusCode, details: str, metadata: Pairs) -> bytes:
    if code is StatusCode.OK and not details and not metadata:
        return TRAILERS
    return encode(end_fields(code, details, metadata))


def only_trailers_block(code: StatusCode, details: str, metadata: Pairs) -> bytes:
    """A whole answer in one block: there is nothing but the status to say."""
    fields = HEAD_FIELDS + ([ACCEPTED] if code is StatusCode.UNIMPLEMENTED else [])
    return encode(fields + end_fields(code, details, metadata))


@lru_cache(maxsize=64)
def refusal_block(code: StatusCode, words: str) -> bytes:
    """The same for a call that is not begun; kept, as at overload one answer goes out again and again."""
    return only_trailers_block(code, words, ())


def http_block(status: bytes) -> bytes:
    """An answer to what is not gRPC at all."""
    return encode([(b":status", status), (b"content-length", b"0")])
