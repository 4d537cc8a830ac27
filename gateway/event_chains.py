"""Where an account's events are in a segment of the event log: a chain of frames, and the places to step into it.

    anchors                  65 ............ 129 ...... newest
    chain     [1..9] ◀─ [10..40] ◀─ [41..66] ◀─ ... ◀─ [150..152]

Each frame names the one before it that holds events of the same account. What is remembered is the newest frame and
every SPACING-th event's, so that reading any N events costs at most N + SPACING frames, however many events of others
lie between.

All chains together are a segment's index. Where the segment will not grow any more, the file `<first command>.index`
beside it has one or two frames: what is known of the segment from then on, and once somebody has looked for them, its
chains, which so many accounts may have that the way of an order should not wait for them.

    about      [last command, offset after the last frame]
    chains     [accounts in ascending order, last numbers, newest frames, positions of their first anchors, anchors],
               each a msgpack binary of u64
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import TypeAlias

import msgspec
from msgspec import Struct

from gateway.frames import (
    HEADER_BYTES,
    Frame,
    Header,
    frame_at,
    frame_bytes,
    frames,
    header_bytes,
    read_header,
)

MAGIC = b"OUTCRYI\n"
VERSION = 1
SPACING = 64  # events between two anchors of an account
ABOUT_BYTES = 128  # that hold the header and what an index says of its segment

# The events of one account in one frame: account, first and last number, and the offset of the frame before with any.
Span = tuple[int, int, int, int]
Numbers: TypeAlias = "array[int]"  # by account, from 0 on


def number_of(numbers: Numbers, account: int) -> int:
    return numbers[account] if account < len(numbers) else 0


def anchors_of(before: int, last: int) -> int:
    """How many anchors the events after `before` and up to `last` have."""
    return max(last - before - 1, 0) // SPACING


class Chain(Struct):
    """One account's events in one segment: those after number `before`, up to `last`.

    `anchors[k]` is the offset of the frame with event `before` + (k + 1) * SPACING + 1. Most accounts have none.
    """

    before: int
    last: int
    newest: int = 0
    anchors: array[int] | None = None

    def extend(self, last: int, offset: int) -> None:
        """The frame at `offset` holds the events up to `last`."""
        if last - self.before > SPACING:
            if self.anchors is None:
                self.anchors = array("Q")
            while len(self.anchors) < anchors_of(self.before, last):
                self.anchors.append(offset)
        self.newest = offset
        self.last = last  # last of all: a reader in another thread goes by it

    def offset_of(self, number: int) -> int:
        """The offset of the frame with event `number`, or of one at most SPACING events behind it."""
        newest, anchors = self.newest, self.anchors or ()
        at = max(anchors_of(self.before, number - 1 + SPACING) - 1, 0)
        return anchors[at] if at < len(anchors) else newest


Chains = dict[int, Chain]


def extend(chains: Chains, spans: Iterable[Span], offset: int) -> None:
    """The frame at `offset` holds these events."""
    for account, first, last, _ in spans:
        chain = chains.get(account)
        if chain is None:
            chain = chains[account] = Chain(first - 1, first - 1)
        chain.extend(last, offset)


class About(Struct, frozen=True, array_like=True):
    """What an index says of its segment."""

    last_seq: int
    end: int


class Index(Struct, frozen=True, array_like=True):
    """All chains of a segment."""

    accounts: array[int]
    last: array[int]
    newest: array[int]
    starts: array[int]
    anchors: array[int]

    def chain(self, account: int, before: int) -> Chain:
        """An account's; one without events where it has none here."""
        at = bisect_left(self.accounts, account)
        if at == len(self.accounts) or self.accounts[at] != account:
            return Chain(before, before)
        start, last = self.starts[at], self.last[at]
        anchors = self.anchors[start : start + anchors_of(before, last)]
        return Chain(before, last, self.newest[at], anchors)


ENCODER = msgspec.msgpack.Encoder()
ABOUT = msgspec.msgpack.Decoder(About)
ARRAYS = msgspec.msgpack.Decoder(tuple[bytes, bytes, bytes, bytes, bytes])


def index_of(chains: Chains) -> Index:
    accounts = sorted(chains)
    ordered = [chains[account] for account in accounts]
    counts = [len(chain.anchors or ()) for chain in ordered]
    anchors = array("Q")
    for chain in ordered:
        if chain.anchors:
            anchors.extend(chain.anchors)
    return Index(
        array("Q", accounts),
        array("Q", [chain.last for chain in ordered]),
        array("Q", [chain.newest for chain in ordered]),
        array("Q", accumulate(counts[:-1], initial=0)),
        anchors,
    )


def index_bytes(segment: Header, about: About, index: Index | None = None) -> bytes:
    """An index as it is stored. Its header has the salt of its segment, and so it is no other's."""
    header = Header(MAGIC, VERSION, segment.first_seq, segment.salt)
    payloads = [ENCODER.encode(about)]
    if index is not None:
        payloads.append(ENCODER.encode([u64_bytes(numbers) for numbers in msgspec.structs.astuple(index)]))
    told = (frame_bytes(header.seed, segment.first_seq, about.last_seq, payload) for payload in payloads)
    return header_bytes(header) + b"".join(told)


def read_about(data: bytes, segment: Header) -> About | None:
    """What an index says of the segment with this header; None where it is damaged, or another's."""
    frame = frame_at(data, HEADER_BYTES, segment.seed) if is_of(data, segment) else None
    return None if frame is None else ABOUT.decode(frame.payload)


def read_index(data: bytes, segment: Header) -> Index | None:
    """The chains; None where they are not there, damaged, or another's."""
    found: list[Frame] = list(frames(data, HEADER_BYTES, segment.seed)) if is_of(data, segment) else []
    if len(found) != 2:
        return None
    return Index(*(u64_array(part) for part in ARRAYS.decode(found[1].payload)))


def is_of(data: bytes, segment: Header) -> bool:
    return read_header(data) == Header(MAGIC, VERSION, segment.first_seq, segment.salt)


def u64_bytes(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers = array("Q", numbers)
        numbers.byteswap()
    return numbers.tobytes()


def u64_array(data: bytes) -> array[int]:
    numbers = array("Q")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
