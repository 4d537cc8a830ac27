"""Where a reader of a stream is, and how it goes on after the link was lost.

Private events are numbered without a hole, so a reader asks for what follows its last number, drops what it has, and
knows a gap when it sees one. Public updates start with a book that names its number; after a lost link a fresh book
stands in for what was missed. A gap is closed by opening the stream again, once; if it is still there, it is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message
from msgspec import structs

from outcry import decoding, models, v1
from outcry.channels import Stubs
from outcry.encoding import market_data_request
from outcry.errors import (
    ExchangeError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    SequenceOutOfRange,
    Unauthenticated,
    Unavailable,
)

Item = TypeVar("Item", covariant=True)

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 1.0
INTERNAL_FAILURES = 3  # one after the other, after which there is no hope of another
# Opening the stream again would only be told the same.
FINAL = (Unauthenticated, PermissionDenied, InvalidRequest, NotFound, SequenceOutOfRange)


class Gap(Exception):
    """The stream went from one number to another that does not follow it."""

    def __init__(self, last: int, found: int) -> None:
        super().__init__(f"The stream went from {last} to {found}")
        self.last = last
        self.found = found

    def final(self) -> SequenceOutOfRange:
        return SequenceOutOfRange("SEQUENCE_OUT_OF_RANGE", str(self), {"first": self.found, "last": self.last})


class Reader(Protocol[Item]):
    """What a stream needs to be opened, read and opened again."""

    method: Callable[[Stubs], Callable[..., Any]]

    def request(self) -> Message: ...
    def take(self, message: Any) -> Iterator[Item]: ...


class ExecutionReader:
    """Reads an account's events after `from_seq`; None: from the moment the stream opens."""

    def __init__(self, from_seq: int | None) -> None:
        self.last = from_seq
        self.method = lambda stubs: stubs.executions.StreamExecutions

    def request(self) -> v1.StreamExecutionsRequest:
        return v1.StreamExecutionsRequest(from_seq=self.last)

    def take(self, batch: v1.ExecutionReports) -> Iterator[models.ExecutionReport]:
        if self.last is None:
            self.last = batch.reports[0].seq - 1 if batch.reports else batch.last_seq
        for message in batch.reports:
            if message.seq <= self.last:
                continue
            if message.seq != self.last + 1:
                raise Gap(self.last, message.seq)
            self.last = message.seq
            if report := decoding.execution_report(message):
                yield report


class MarketDataReader:
    """Reads public updates. With books and trades both, every number is seen, so that a gap shows.

    What was lost, by a slow reader or with the link, is said: the next update of the instrument is marked `conflated`.
    """

    def __init__(self, instruments: Iterable[str], channels: Iterable[str]) -> None:
        self.message = market_data_request(instruments, channels)
        self.complete = {v1.MARKET_DATA_CHANNEL_BOOK, v1.MARKET_DATA_CHANNEL_TRADES} <= set(self.message.channels)
        self.last: dict[str, int] = {}
        self.last_trade: dict[str, int] = {}
        self.lost: set[str] = set()
        self.method = lambda stubs: stubs.market_data.StreamMarketData

    def request(self) -> v1.StreamMarketDataRequest:
        self.lost.update(self.last)
        return self.message

    def take(self, message: v1.MarketDataUpdate) -> Iterator[models.MarketDataUpdate]:
        kind = message.WhichOneof("update")
        if kind is None and message.conflated:
            self.lost.add(message.instrument_id)
        if kind in ("change", "trade") and not self.is_next(message, kind):
            return
        if kind == "book":
            self.last[message.instrument_id] = message.seq
        elif kind != "ticker":
            self.last[message.instrument_id] = max(message.seq, self.last.get(message.instrument_id, 0))
        update = decoding.market_data_update(message)
        if update is not None:
            yield self.marked(update)

    def is_next(self, message: v1.MarketDataUpdate, kind: str) -> bool:
        """Whether it is news. A trade may come after a book that is newer: books tell of no trades."""
        last = self.last.get(message.instrument_id, message.seq - 1)
        if kind == "trade":
            if message.seq <= self.last_trade.get(message.instrument_id, 0):
                return False
            self.last_trade[message.instrument_id] = message.seq
        elif message.seq <= last:
            return False
        if self.complete and message.seq > last + 1:
            raise Gap(last, message.seq)
        return True

    def marked(self, update: models.MarketDataUpdate) -> models.MarketDataUpdate:
        if update.instrument_id not in self.lost or isinstance(update.update, models.Ticker):
            return update
        self.lost.discard(update.instrument_id)
        return structs.replace(update, conflated=True)


class Retrying:
    """When to open a stream again: at once the first time, then with growing, jittered waits."""

    def __init__(self, enabled: bool, random: Random | None = None) -> None:
        self.enabled = enabled
        self.random = random or Random()  # noqa: S311  jitter needs no secrecy
        self.failures = 0
        self.internal_failures = 0
        self.gap: int | None = None

    def progress(self) -> None:
        """Something was read. A greeting is not that: a stream that fails right after it is no better than none."""
        self.failures = self.internal_failures = 0

    def wait_s(self, failure: ExchangeError | Gap | None) -> float:
        """How long to wait before opening the stream again after `failure` (None: it ended); raises what is final."""
        if isinstance(failure, Gap):
            if not self.enabled or self.gap == failure.last:
                raise failure.final()
            self.gap = failure.last
        elif failure is not None and (not self.enabled or self.is_final(failure)):
            raise failure
        elif not self.enabled:
            raise Unavailable("SERVICE_UNAVAILABLE", "The stream ended")
        longest_s = min(FIRST_WAIT_S * 2.0**self.failures, LONGEST_WAIT_S)
        self.failures = min(self.failures + 1, 16)
        return longest_s * self.random.uniform(0.5, 1.0)

    def is_final(self, failure: ExchangeError) -> bool:
        """Whether opening the stream again cannot mend it; of a failure inside that shows when it comes again."""
        self.internal_failures = self.internal_failures + 1 if failure.code == "INTERNAL_ERROR" else 0
        return isinstance(failure, FINAL) or self.internal_failures == INTERNAL_FAILURES
