"""Metadata: header fields as applications see them.

Keys are lower case; a value is text in printable ASCII, or, where the key ends in -bin, bytes, which travel as
base64. Keys may repeat, and their order holds. Fields that HTTP/2 and gRPC themselves speak with are not metadata:
they are neither shown nor sent. What else starts with grpc- is passed as it is, as grpcio does: grpc-status-details-bin
and grpc-retry-pushback-ms are for applications to set.
"""

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from wire.hpack.static import Field

__all__ = ["Metadatum", "Pairs", "decode_message", "encode_message", "from_fields", "pairs_of", "to_fields"]

Pairs = Iterable[tuple[str, str | bytes]]


class Metadatum(NamedTuple):
    """A pair whose halves have the names that grpcio gives them."""

    key: str
    value: str | bytes


KEY: Final = re.compile(r"[0-9a-z_.-]+")
BINARY: Final = b"-bin"
PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F)))
UNESCAPED: Final = PRINTABLE.replace("%", "")
TRANSPORT: Final = frozenset(
    (
        b":authority",
        b":method",
        b":path",
        b":scheme",
        b":status",
        b"connection",
        b"content-length",
        b"content-type",
        b"grpc-accept-encoding",
        b"grpc-encoding",
        b"grpc-internal-encoding-request",
        b"grpc-message",
        b"grpc-status",
        b"grpc-timeout",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)


def pairs_of(metadata: Iterable[Any]) -> tuple[tuple[str, str | bytes], ...]:
    """Return the pairs of `metadata`; raises TypeError for any that is none, or of wrong types. `to_fields` judges
    what they say."""
    pairs = tuple(metadata)
    for pair in pairs:
        match pair:
            case (str(), bytes()):
                pass
            case (str(key), str()) if not key.endswith("-bin"):
                pass
            case _:  # which is not told, as it may be a secret
                raise TypeError("Metadata is pairs of str, with bytes for the value where the key ends in -bin")
    return pairs


def to_fields(metadata: Pairs) -> list[Field]:
    """Return the fields that carry `metadata`; raises ValueError for what may not be sent."""
    fields: list[Field] = []
    for key, value in metadata:
        name = name_of(key)
        fields.append((name, binary_value(key, value) if name.endswith(BINARY) else text_value(key, value)))
    return fields


@lru_cache(256)
def name_of(key: str) -> bytes:
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise ValueError(f"Illegal metadata key: {key!r}")
    name = key.encode()
    if name in TRANSPORT:
        raise ValueError(f"Metadata key is the transport's own: {key!r}")
    return name


def text_value(key: str, value: str | bytes) -> bytes:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not isinstance(text, str) or not text.isascii() or not text.isprintable():
        # The value is not told: it may be a secret.
        raise ValueError(f"Metadata value is not printable ASCII: {key!r}")
    return text.encode()


def binary_value(key: str, value: str | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(f"Binary metadata must be bytes: {key!r}")
    return b2a_base64(value, newline=False).rstrip(b"=")


def from_fields(fields: Iterable[Field]) -> tuple[Metadatum, ...]:
    """Return what an application sees of `fields`; raises ValueError where a -bin value is not base64."""
    pairs: list[Metadatum] = []
    for name, value in fields:
        if name in TRANSPORT:
            continue
        if name.endswith(BINARY):
            pairs += binary_pairs(name.decode(), value)
        else:
            pairs.append(Metadatum(text_of(name), text_of(value)))
    return tuple(pairs)


def binary_pairs(key: str, value: bytes) -> Iterator[Metadatum]:
    """Yield one pair for each value: somebody on the way may have joined those of one key with commas."""
    for part in value.split(b","):
        digits = part.strip(b" \t").rstrip(b"=")
        try:
            yield Metadatum(key, a2b_base64(digits + b"=" * (-len(digits) % 4), strict_mode=True))
        except ValueError:
            raise ValueError(f"Error parsing '{key}' metadata: illegal base64 encoding") from None


def encode_message(message: str) -> bytes:
    """Return `message` as grpc-message wants it: UTF-8, all but printable ASCII percent-encoded."""
    edged = message[:1] == " " or message[-1:] == " "  # HTTP/2 has no field value with spaces around it
    if message.isascii() and message.isprintable() and "%" not in message and not edged:
        return message.encode()
    safe = UNESCAPED.replace(" ", "") if edged else UNESCAPED
    return quote(message, safe=safe, errors="replace").encode()


def decode_message(value: bytes) -> str:
    """Return the text of a grpc-message; whatever is not well encoded stays as it came, as it is all there is."""
    return text_of(unquote_to_bytes(value) if b"%" in value else value)


def text_of(value: bytes) -> str:
    """Return `value` as UTF-8, or where it is not, byte by byte as Latin-1, as grpcio does."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
