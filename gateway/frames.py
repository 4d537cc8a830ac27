r"""Checksummed frames: the form on disk of the journal, of the event log and its indexes, and of snapshots.

A file is a header and then frames; in one that grows there is a frame for each write. A crash can leave the last frame
half-written, and hardware can change any bit; the checksum finds both. All integers are little-endian.

    header  magic (8 bytes) | format version u32 | first seq u64 | salt (8 bytes) | crc32c u32 of the 28 bytes before
    frame   marker ff d3 4f 58 | crc32c u32 | payload length u32 | first seq u64 | last seq u64 | payload (msgpack)

A frame's checksum covers the salt and everything after itself. The header keeps its layout in every version, so that a
file of a later version can be told from a damaged one. The marker makes frames findable behind damage; its first byte
is in no UTF-8 text, and the salt is known to nobody outside, so that no bytes of a client's choice pass for a frame.
Where zeros stand instead of a frame (length 0), the space has been allocated and not written yet.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from functools import cached_property

import google_crc32c
from msgspec import Struct

HEADER = struct.Struct("<8sIQ8s")
CHECKSUM = struct.Struct("<I")
HEADER_BYTES = HEADER.size + CHECKSUM.size

MARKER = b"\xff\xd3OX"
LEAD = struct.Struct("<4sI")
SPAN = struct.Struct("<IQQ")
FRAME_BYTES = LEAD.size + SPAN.size  # before the payload
PAYLOAD_LIMIT = 1 << 30  # so that a damaged length costs no more memory than this


class Header(Struct, frozen=True, dict=True):
    magic: bytes
    version: int
    first_seq: int
    salt: bytes

    @cached_property
    def seed(self) -> int:
        """What the checksums of the file's frames start from."""
        return checksum(0, self.salt)


def new_header(magic: bytes, version: int, first_seq: int) -> Header:
    return Header(magic, version, first_seq, os.urandom(8))


def header_bytes(header: Header) -> bytes:
    data = HEADER.pack(header.magic, header.version, header.first_seq, header.salt)
    return data + CHECKSUM.pack(checksum(0, data))


def read_header(data: bytes) -> Header | None:
    """The header at the start of `data`; None where it is short or damaged."""
    if len(data) < HEADER_BYTES:
        return None
    (stated,) = CHECKSUM.unpack_from(data, HEADER.size)
    if stated != checksum(0, data[: HEADER.size]):
        return None
    return Header(*HEADER.unpack_from(data))


class Frame(Struct, frozen=True, gc=False):
    """One frame found whole: it holds the sequence numbers `first_seq` to `last_seq`; `end` is the offset after it."""

    first_seq: int
    last_seq: int
    payload: bytes
    end: int

    @property
    def offset(self) -> int:
        return self.end - len(self.payload) - FRAME_BYTES


def frame_bytes(seed: int, first_seq: int, last_seq: int, payload: bytes) -> bytes:
    """One frame, ready to be written. ValueError where the payload is too long."""
    if len(payload) > PAYLOAD_LIMIT:
        raise ValueError(f"a payload of {len(payload)} bytes is too long")
    body = SPAN.pack(len(payload), first_seq, last_seq) + payload
    return LEAD.pack(MARKER, checksum(seed, body)) + body


def frame_at(data: bytes, offset: int, seed: int) -> Frame | None:
    """The frame at `offset` of `data`; None where there is no whole one."""
    if len(data) - offset < FRAME_BYTES:
        return None
    marker, stated = LEAD.unpack_from(data, offset)
    length, first_seq, last_seq = SPAN.unpack_from(data, offset + LEAD.size)
    start = offset + FRAME_BYTES
    end = start + length
    if marker != MARKER or not length or end > len(data):
        return None
    if stated != checksum(seed, data[offset + LEAD.size : end]):
        return None
    return Frame(first_seq, last_seq, data[start:end], end)


def payload_length(lead: bytes) -> int:
    """How many bytes to read after a frame's first FRAME_BYTES. They have not been checked yet."""
    length: int = SPAN.unpack_from(lead, LEAD.size)[0]
    return min(length, PAYLOAD_LIMIT)


def frames(data: bytes, offset: int, seed: int) -> Iterator[Frame]:
    """The whole frames from `offset` on, up to the first place where there is none."""
    while frame := frame_at(data, offset, seed):
        yield frame
        offset = frame.end


def frame_after(data: bytes, offset: int, seed: int) -> int | None:
    """The offset of a whole frame anywhere after `offset`; None where there is none."""
    found = data.find(MARKER, offset + 1)
    while found >= 0:
        if frame_at(data, found, seed):
            return found
        found = data.find(MARKER, found + 1)
    return None


checksum: Callable[[int, bytes], int] = google_crc32c.extend
