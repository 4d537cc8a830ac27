"""What is said to an account in private: the events that its feed numbers, and the records in which they are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

from msgspec import Struct

from engine import events as said
from engine.events import Event, PrivateEvent

PRIVATE = frozenset(
    {
        said.OrderAccepted,
        said.OrderRejected,
        said.OrderFilled,
        said.OrderCancelled,
        said.CancelRejected,
        said.OrderReplaced,
        said.ReplaceRejected,
        said.OrderExpired,
        said.PositionUpdated,
    }
)


class Record(Struct, frozen=True, gc=False, array_like=True):
    """What one command said in private."""

    seq: int
    time_ns: int
    events: Sequence[PrivateEvent]


class Numbered(Struct, frozen=True, gc=False):
    """One event of an account's feed, and the command that caused it."""

    number: int
    journal_seq: int
    time_ns: int
    event: PrivateEvent


def is_private(event: Event) -> TypeGuard[PrivateEvent]:
    return type(event) in PRIVATE


def private(events: Iterable[Any]) -> list[PrivateEvent]:
    """Those events that have an account and a number."""
    return [event for event in events if type(event) in PRIVATE]  # inlined, because every order passes here


def numbered(records: Sequence[Record], account: int, after: int, last: int) -> list[Numbered]:
    """An account's events `after` + 1 to `last`, as far as the records hold them."""
    return [
        Numbered(event.number, record.seq, record.time_ns, event)
        for record in records
        for event in record.events
        if event.account == account and after < event.number <= last
    ]
