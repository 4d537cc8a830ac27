"""Decoding header blocks (RFC 7541), fast for those that come again and for those that do not.

The static and the dynamic table are one list: 1 to 61 are the static fields, 62 is the newest dynamic one. A field's
place is its number with the highest bit, which is how a byte names it. An entry is the very pair that goes into a
decoded list, so an indexed field costs a look-up. What a block means depends on its bytes and on the table; so a block
that leaves the table as it was is answered from a cache for as long as the table stays that way, and whatever changes
the table empties the cache.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from wire.hpack.errors import HpackError
from wire.hpack.huffman import decoded
from wire.hpack.static import FIELD_OVERHEAD, STATIC, Field, field_size

DEFAULT_TABLE_LIMIT = 4096  # in bytes: where every connection starts (RFC 9113, 6.5.2)
DEFAULT_LIST_LIMIT = 16384  # in bytes
INDEXED = 0x80  # the bit of a field that is in a table; the other bits are its number
FIRST_DYNAMIC = INDEXED + len(STATIC) + 1

# Of blocks, per connection. They are counted decoded, because of what is kept with them: a few bytes may name a table's
# worth of fields.
CACHED_BLOCKS = 256
CACHED_BYTES = 64 << 10


class Block(Struct):
    """A decoded header block. One that comes again is the same object, so that a reader may keep with it what it made
    of the fields: `memo` is the layer's above, the others are the connection's."""

    fields: tuple[Field, ...]
    too_large: bool = False
    as_head: Any = None
    as_trailers: Any = None
    template: Any = None
    timeout_s: float | None = None
    memo: Any = None


class Decoder:
    """One direction of one connection.

    `table_limit`: what SETTINGS_HEADER_TABLE_SIZE grants, in bytes; above 4,096 the peer must ask before it takes it.
    `list_limit`: how large a decoded list may be, in bytes by the RFC's count; a larger one is told as `too_large`.
    """

    def __init__(self, table_limit: int = DEFAULT_TABLE_LIMIT, list_limit: int = DEFAULT_LIST_LIMIT) -> None:
        self.table_limit = table_limit
        self.list_limit = list_limit
        self.maximum = min(table_limit, DEFAULT_TABLE_LIMIT)  # what the peer uses of the limit
        self.size = 0
        self.changes = 0
        self.entries: list[Field] = [*NOTHING, *STATIC]
        self.sizes = [*map(field_size, self.entries)]
        self.cache: dict[bytes, Block] = {}
        self.cached_bytes = 0

    @property
    def table(self) -> tuple[Field, ...]:
        """The dynamic table, the newest entry first."""
        return tuple(self.entries[FIRST_DYNAMIC:])

    def decode(self, block: bytes) -> Block:
        """What the block says; HpackError where it is broken, and then the connection is to end."""
        return self.cache.get(block) or self.read(block)

    def read(self, block: bytes) -> Block:
        """What a block says that is not in the cache: every field, for the sake of the table; but none is kept once the
        list is too large."""
        entries, sizes, limit, end, changes = self.entries, self.sizes, self.list_limit, len(block), self.changes
        fields: list[Field] = []
        total = updates = position = 0
        try:
            while position < end:
                byte = block[position]
                position += 1
                if byte > INDEXED:
                    if byte == 0xFF:
                        index, position = integer(block, position, 0x7F)
                        byte = INDEXED + index
                    fields.append(entries[byte])
                    total += sizes[byte]
                elif byte & 0xE0 == 0x20:
                    updates += 1
                    if total or updates > 2:
                        raise HpackError("a change of the table's size that is not at the head of a block")
                    maximum, position = short_integer(block, position, byte & 0x1F, 0x1F)
                    self.resize(maximum)
                elif byte == INDEXED:
                    raise HpackError("an indexed field without an index")
                else:
                    mask = 0x3F if byte & 0x40 else 0x0F
                    index = byte & mask
                    if index == mask:
                        index, position = integer(block, position, mask)
                    if index:
                        name = entries[INDEXED + index][0]
                    else:
                        name, position = string(block, position)
                    value, position = string(block, position)
                    field = (name, value)
                    fields.append(field)
                    size = len(name) + len(value) + FIELD_OVERHEAD
                    total += size
                    if byte & 0x40:
                        self.insert(field, size)
                if total > limit:
                    fields.clear()
        except IndexError:
            raise HpackError("a block that ends early or names a field that is not there") from None
        fresh = Block(tuple(fields), total > limit)
        if changes == self.changes and total <= min(limit, CACHED_BYTES):
            self.keep(block, fresh, total)
        return fresh

    def insert(self, field: Field, size: int) -> None:
        """The newest entry; older ones make room, and one larger than the table leaves it empty (RFC 7541, 4.4)."""
        if self.size + size > self.maximum:
            self.evict(self.maximum - size)
        if size <= self.maximum:
            self.entries.insert(FIRST_DYNAMIC, field)
            self.sizes.insert(FIRST_DYNAMIC, size)
            self.size += size
        self.forget()

    def resize(self, maximum: int) -> None:
        if maximum > self.table_limit:
            raise HpackError("a table larger than its limit")
        if maximum != self.maximum:
            self.maximum = maximum
            self.evict(maximum)
            self.forget()

    def evict(self, room: int) -> None:
        while self.size > room and self.size:
            self.entries.pop()
            self.size -= self.sizes.pop()

    def keep(self, block: bytes, fresh: Block, size: int) -> None:
        """A full cache starts again: what matters comes again soon."""
        self.cached_bytes += size
        if len(self.cache) == CACHED_BLOCKS or self.cached_bytes > CACHED_BYTES:
            self.cache.clear()
            self.cached_bytes = size
        self.cache[block] = fresh

    def forget(self) -> None:
        self.changes += 1
        if self.cache:
            self.cache.clear()
            self.cached_bytes = 0


NOTHING: list[Field] = [(b"", b"")] * (INDEXED + 1)


def integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
    """A number that filled its prefix, and the place behind it. Four more bytes are plenty for what fits in a block."""
    byte = block[position]
    if byte < 0x80:  # as nearly always
        return prefix + byte, position + 1
    value = prefix
    for shift in (0, 7, 14, 21):
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise HpackError("a number out of range")


def short_integer(block: bytes, position: int, value: int, prefix: int) -> tuple[int, int]:
    return integer(block, position, prefix) if value == prefix else (value, position)


def string(block: bytes, position: int) -> tuple[bytes, int]:
    """A string, out of its Huffman code if it has one, and the place behind it."""
    head = block[position]
    start = position + 1
    end = start + head
    if head < 0x7F and end <= len(block):
        return block[start:end], end
    length = head & 0x7F
    if length == 0x7F:
        length, start = integer(block, start, 0x7F)
    end = start + length
    if end > len(block):
        raise HpackError("a string that runs past its block")
    text = block[start:end]
    return (decoded(text) if head & 0x80 else text), end
