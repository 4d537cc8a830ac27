"""Closed orders as bytes: those of an account that came out of a snapshot.

An account keeps its last closed orders, to recognise what is sent again and to answer questions. There may be millions
of them at a start, hardly one is ever asked for, and a live order costs microseconds to make and a kilobyte to hold. So
they stay as the snapshot has them, in order of closing, and one is decoded when somebody asks for it. The bytes may be
a file's: nothing here copies them. The oldest are forgotten by moving `first`; a later snapshot copies the rest, and
appends what has closed since.

By order id they are found by bisection, and by client order id too. But almost every client order id is new, and each
order has to ask: a filter answers most of them with one checksum. Who chooses names that pass the filter makes the
engine bisect, and no more, because names are compared by themselves.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from zlib import crc32

from msgspec import Struct
from msgspec.msgpack import Decoder, Encoder

from engine.commands import NewOrder
from engine.events import OrderOutcome
from engine.fixed import Wide, narrow, wide
from engine.order import Liquidity, Order, OrderStatus

if TYPE_CHECKING:
    from engine.accounts import Account

LITTLE_ENDIAN = array("I", [1]).tobytes()[0] == 1
FILTER_BYTES = 4  # a name: of new names one in thirty passes


class ClosedOrder(Struct, frozen=True, gc=False, array_like=True):
    """What is left of an order that has ended, its outcome apart: what it was, and what became of it."""

    order_id: int
    content: NewOrder
    status: OrderStatus
    quantity: int
    price: int
    filled: int
    cost: Wide
    fees: int
    liquidity: Liquidity
    submitted_at_ns: int
    expires_at_ns: int | None


class Listed(Struct, frozen=True, gc=False, array_like=True, tag=1):
    """The beginning of a NewOrder, up to its instrument."""

    account: int
    client_order_id: str
    instrument_id: str


class Glance(Struct, frozen=True, gc=False, array_like=True):
    """The beginning of a ClosedOrder: all that a search by instrument reads."""

    order_id: int
    content: Listed


ENCODER = Encoder()
CLOSED = Decoder(ClosedOrder)
GLANCE = Decoder(Glance)
OUTCOME = Decoder(OrderOutcome)


def closed_form(order: Order) -> bytes:
    """A closed order as an archive keeps it, and as the digest counts it."""
    paid = wide(order.cost), order.fees, order.liquidity, order.submitted_at_ns, order.expires_at_ns
    form = ClosedOrder(order.order_id, order.content, order.status, order.quantity, order.price, order.filled, *paid)
    return ENCODER.encode(form)


class Column:
    """Byte strings one after another. `starts` has where each begins, and at its end where the last one ends."""

    __slots__ = ("data", "starts")

    def __init__(self, data: memoryview, starts: array[int]) -> None:
        self.data = data
        self.starts = starts

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, at: int) -> memoryview:
        return self.data[self.starts[at] : self.starts[at + 1]]

    def since(self, first: int) -> memoryview:
        return self.data[self.starts[first] :]

    def extended(self, first: int, more: list[bytes]) -> Column:
        """A new column: this one's strings from `first` on, and then `more`."""
        dropped = self.starts[first]
        starts = array("Q", [start - dropped for start in self.starts[first:]])
        end = starts[-1]
        for item in more:
            end += len(item)
            starts.append(end)
        return Column(memoryview(b"".join([self.since(first), *more])), starts)


class Archive:
    """Closed orders of one account, in order of closing; those before `first` are forgotten.

    `outcomes` and `names` are empty where an order has no client order id. `by_id` and `by_name` are positions, sorted;
    `by_name` has those of orders with names alone. `filter_bits` are as `name_filter` makes them.
    """

    __slots__ = ("by_id", "by_name", "filter_bits", "first", "ids", "names", "outcomes", "states")

    def __init__(
        self,
        states: Column,
        outcomes: Column,
        names: Column,
        ids: array[int],
        by_id: array[int],
        by_name: array[int],
        filter_bits: memoryview,
    ) -> None:
        self.states = states
        self.outcomes = outcomes
        self.names = names
        self.ids = ids
        self.by_id = by_id
        self.by_name = by_name
        self.filter_bits = filter_bits
        self.first = 0

    def __len__(self) -> int:
        return len(self.ids) - self.first

    def keep(self, last: int) -> None:
        """Forget all but the `last` that closed."""
        self.first = max(self.first, len(self.ids) - last)

    def find(self, account: Account, order_id: int, client_order_id: str) -> Order | None:
        """The order named by `order_id`, or by `client_order_id` where that is 0."""
        return self.numbered(account, order_id) if order_id else self.named(account, client_order_id)

    def named(self, account: Account, client_order_id: str) -> Order | None:
        """The order with this client order id, if there is one. "" is none's."""
        name = client_order_id.encode()
        checksum, bits, by_name = crc32(name), self.filter_bits, self.by_name
        if not bits[(checksum >> 3) % len(bits)] >> (checksum & 7) & 1:
            return None
        at = bisect_left(by_name, name, key=self.name)
        if at == len(by_name) or by_name[at] < self.first or self.name(by_name[at]) != name:
            return None
        return self.order(account, by_name[at])

    def name(self, position: int) -> bytes:
        return bytes(self.names[position])

    def numbered(self, account: Account, order_id: int) -> Order | None:
        """The order with this id, if there is one."""
        at = bisect_left(self.by_id, order_id, key=self.ids.__getitem__)
        if at == len(self.by_id) or self.by_id[at] < self.first or self.ids[self.by_id[at]] != order_id:
            return None
        return self.order(account, self.by_id[at])

    def after(self, account: Account, order_id: int, instrument_id: str = "") -> Iterator[Order]:
        """The orders with larger ids, by id: in one instrument, or in all ("")."""
        for at in range(bisect_right(self.by_id, order_id, key=self.ids.__getitem__), len(self.by_id)):
            position = self.by_id[at]
            if position >= self.first and (
                not instrument_id or GLANCE.decode(self.states[position]).content.instrument_id == instrument_id
            ):
                yield self.order(account, position)

    def order(self, account: Account, position: int) -> Order:
        """An order made live for as long as somebody looks at it. Its rates are of no use any more."""
        closed, outcome = CLOSED.decode(self.states[position]), self.outcomes[position]
        content = closed.content
        return Order(
            closed.order_id,
            account,
            account.positions[content.instrument_id],
            content,
            account.rates,
            content.client_order_id,
            content.side,
            closed.quantity,
            closed.price,
            0,
            closed.submitted_at_ns,
            closed.expires_at_ns,
            0,
            closed.status,
            closed.filled,
            narrow(closed.cost),
            closed.fees,
            closed.liquidity,
            outcome=OUTCOME.decode(outcome) if len(outcome) else None,
        )

    def extended(self, closed: Iterable[Order]) -> Archive:
        """A new archive: what this one keeps, and then `closed`."""
        orders, first = list(closed), self.first
        outcomes = [ENCODER.encode(order.outcome) if order.outcome is not None else b"" for order in orders]
        names = self.names.extended(first, [order.client_order_id.encode() for order in orders])
        ids = self.ids[first:] + array("Q", [order.order_id for order in orders])
        positions = range(len(ids))
        texts = [bytes(names[position]) for position in positions]
        return Archive(
            self.states.extended(first, [closed_form(order) for order in orders]),
            self.outcomes.extended(first, outcomes),
            names,
            ids,
            array("I", sorted(positions, key=ids.__getitem__)),
            array("I", sorted([position for position in positions if texts[position]], key=texts.__getitem__)),
            name_filter(texts),
        )

    def parts(self) -> list[memoryview]:
        """The archive as bytes, numbers little-endian; `of` takes them. Nothing in it may be forgotten."""
        columns = self.states, self.outcomes, self.names
        arrays = *(column.starts for column in columns), self.ids, self.by_id, self.by_name
        texts = [column.data for column in columns]
        return [*texts, *(memoryview(in_file_order(each)).cast("B") for each in arrays), self.filter_bits]

    @staticmethod
    def of(parts: list[memoryview]) -> Archive:
        """The archive that was written as `parts`. ValueError where they do not fit together."""
        *texts, ids, by_id, by_name, filter_bits = [*parts[:3], *parts[6:]]
        columns = [Column(text, numbers("Q", starts)) for text, starts in zip(texts, parts[3:6], strict=True)]
        states, outcomes, names = columns
        positions = numbers("I", by_id), numbers("I", by_name)
        archive = Archive(states, outcomes, names, numbers("Q", ids), *positions, filter_bits)
        count = len(archive.ids)
        fits = count == len(archive.by_id) >= len(archive.by_name) and len(filter_bits)
        if not fits or any(len(c) != count or (c.starts[0], c.starts[-1]) != (0, len(c.data)) for c in columns):
            raise ValueError("the parts of an archive do not fit together")
        return archive


def name_filter(names: list[bytes]) -> memoryview:
    """A bit for each name's checksum, among many times as many."""
    bits = bytearray(max(1, FILTER_BYTES * len(names)))
    size = len(bits)
    for name in names:
        if name:
            checksum = crc32(name)
            bits[(checksum >> 3) % size] |= 1 << (checksum & 7)
    return memoryview(bytes(bits))


def in_file_order(each: array[int]) -> array[int]:
    if LITTLE_ENDIAN:
        return each
    turned = each[:]
    turned.byteswap()
    return turned


def numbers(width: str, data: memoryview) -> array[int]:
    """What `in_file_order` wrote."""
    each: array[int] = array(width)
    each.frombytes(data)
    return in_file_order(each)


NOTHING = Column(memoryview(b""), array("Q", [0]))
EMPTY = Archive(NOTHING, NOTHING, NOTHING, array("Q"), array("I"), array("I"), memoryview(b"\0"))
