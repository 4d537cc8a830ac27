"""Encoding header blocks (RFC 7541) without a dynamic table.

A field is a number of the static table, or a literal that neither end keeps; strings go out plain. So the same fields
always give the same bytes, nothing has to be undone when a block is never sent, and no peer can be made to guess a
secret from a block's length.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from wire.hpack.static import STATIC, Field

SIZE_UPDATE_TO_ZERO = b"\x20"  # at the head of a connection's first block: the peer may drop its table

PLAIN, NEVER_INDEXED, INDEXED = 0x00, 0x10, 0x80
SECRET = frozenset({b"authorization", b"cookie", b"x-api-key", b"x-service-key"})

INDEX_OF_FIELD = {field: index for index, field in enumerate(STATIC, 1)}
INDEX_OF_NAME = {name: index for index, (name, _) in reversed([*enumerate(STATIC, 1)])}

CACHED_FIELDS = 1024
CACHED_LENGTH = 256  # of name and value: longer ones would make the cache big


def encode(fields: Iterable[Field]) -> bytes:
    """A block that says `fields`, in order. Names are in lower case: ValueError otherwise."""
    return b"".join([cached(f) if len(f[0]) + len(f[1]) <= CACHED_LENGTH else encoded(f) for f in fields])


def encoded(field: Field) -> bytes:
    index = INDEX_OF_FIELD.get(field)
    if index is not None:
        return integer(INDEXED, 7, index)
    name, value = field
    kind = NEVER_INDEXED if name in SECRET else PLAIN
    index = INDEX_OF_NAME.get(name)
    if index is not None:
        return integer(kind, 4, index) + string(value)
    if name != name.lower():
        raise ValueError(f"a header's name in upper case: {name!r}")
    return bytes([kind]) + string(name) + string(value)


cached = lru_cache(maxsize=CACHED_FIELDS)(encoded)


def string(text: bytes) -> bytes:
    return integer(0, 7, len(text)) + text


def integer(kind: int, bits: int, value: int) -> bytes:
    """A number behind the bits of its kind (RFC 7541, 5.1)."""
    prefix = (1 << bits) - 1
    if value < prefix:
        return bytes([kind | value])
    value -= prefix
    rest = bytearray([kind | prefix])
    while value > 0x7F:
        rest.append(value & 0x7F | 0x80)
        value >>= 7
    rest.append(value)
    return bytes(rest)
