"""Readers of streams: nothing missing, nothing twice, and a gap is never passed over in silence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random
from typing import Any

import grpc.aio
import pytest

from outcry import async_client, client, v1
from outcry.errors import ExchangeError, InvalidRequest, SequenceOutOfRange, Unauthenticated, Unavailable
from outcry.feeds import LONGEST_WAIT_S, ExecutionReader, Gap, MarketDataReader, Retrying
from tests.outcry.conftest import connect


def reports(*numbers: int, last: int = 0) -> v1.ExecutionReports:
    position = v1.PositionUpdated(instrument_id="AAPL", position=1)
    batch = [v1.ExecutionReport(seq=number, position=position) for number in numbers]
    return v1.ExecutionReports(reports=batch, last_seq=last or (numbers[-1] if numbers else 0))


def numbers(reader: ExecutionReader, batch: v1.ExecutionReports) -> list[int]:
    return [report.seq for report in reader.take(batch)]


def test_a_reader_resumes_after_the_last_number_it_has() -> None:
    reader = ExecutionReader(4)
    assert reader.request() == v1.StreamExecutionsRequest(from_seq=4)
    assert numbers(reader, reports(5, 6, 7)) == [5, 6, 7]
    assert reader.request() == v1.StreamExecutionsRequest(from_seq=7)


def test_a_live_reader_resumes_from_where_its_first_stream_began() -> None:
    reader = ExecutionReader(None)
    assert not reader.request().HasField("from_seq")
    assert numbers(reader, reports(last=9)) == []
    assert reader.request() == v1.StreamExecutionsRequest(from_seq=9)


def test_events_that_come_again_are_dropped() -> None:
    reader = ExecutionReader(4)
    assert numbers(reader, reports(5, 6)) == [5, 6]
    assert numbers(reader, reports(5, 6, 7)) == [7]


def test_a_hole_in_the_numbers_is_a_gap() -> None:
    reader = ExecutionReader(4)
    with pytest.raises(Gap):
        numbers(reader, reports(5, 7))
    assert reader.request() == v1.StreamExecutionsRequest(from_seq=5)


def test_an_event_of_an_unknown_kind_counts_and_is_not_shown() -> None:
    reader = ExecutionReader(0)
    assert numbers(reader, v1.ExecutionReports(reports=[v1.ExecutionReport(seq=1)])) == []
    assert numbers(reader, reports(2)) == [2]


def test_a_gap_is_closed_by_opening_the_stream_again_and_if_it_stays_it_is_an_error() -> None:
    retrying = Retrying(True)
    assert retrying.wait_s(Gap(5, 7)) < 1
    with pytest.raises(SequenceOutOfRange) as error:
        retrying.wait_s(Gap(5, 7))
    assert error.value.details == {"first": 7, "last": 5}


def test_waits_grow_are_jittered_and_stay_bounded() -> None:
    retrying = Retrying(True, Random(1))
    waits = [retrying.wait_s(None) for _ in range(50)]
    assert waits[0] < 0.1
    assert LONGEST_WAIT_S / 2 <= waits[-1] <= LONGEST_WAIT_S
    assert len(set(waits[-10:])) == 10
    retrying.progress()
    assert retrying.wait_s(None) < 0.1


def test_what_opening_again_cannot_mend_is_raised() -> None:
    for final in (Unauthenticated("UNAUTHENTICATED", ""), InvalidRequest("INVALID_REQUEST", "")):
        with pytest.raises(type(final)):
            Retrying(True).wait_s(final)


def test_a_failure_inside_is_raised_when_it_comes_three_times_with_nothing_read_between() -> None:
    inside, away = ExchangeError("INTERNAL_ERROR", "inside"), Unavailable("SERVICE_UNAVAILABLE", "away")
    retrying = Retrying(True)
    for between in (retrying.progress, lambda: retrying.wait_s(away)):
        retrying.wait_s(inside)
        retrying.wait_s(inside)
        between()
    retrying.wait_s(inside)
    retrying.wait_s(inside)
    with pytest.raises(ExchangeError, match="inside"):
        retrying.wait_s(inside)


def test_without_reconnection_the_first_failure_is_raised() -> None:
    with pytest.raises(Unavailable, match="lost"):
        Retrying(False).wait_s(Unavailable("SERVICE_UNAVAILABLE", "lost"))
    with pytest.raises(Unavailable, match="ended"):
        Retrying(False).wait_s(None)


def book(seq: int) -> v1.MarketDataUpdate:
    return v1.MarketDataUpdate(instrument_id="AAPL", seq=seq, book=v1.OrderBook(instrument_id="AAPL", seq=seq))


def change(seq: int) -> v1.MarketDataUpdate:
    return v1.MarketDataUpdate(instrument_id="AAPL", seq=seq, change=v1.BookChange())


def trade(seq: int) -> v1.MarketDataUpdate:
    return v1.MarketDataUpdate(instrument_id="AAPL", seq=seq, trade=v1.PublicTrade(trade_id=seq))


def seen(reader: MarketDataReader, *updates: v1.MarketDataUpdate) -> list[tuple[int, bool]]:
    return [(update.seq, update.conflated) for message in updates for update in reader.take(message)]


def test_market_data_goes_on_from_the_book_s_number_and_nothing_comes_twice() -> None:
    reader = MarketDataReader((), ("book", "trades"))
    reader.request()
    updates = seen(reader, book(10), change(9), change(10), trade(11), change(12), trade(11))
    assert [number for number, _ in updates] == [10, 11, 12]


def test_a_trade_from_before_a_fresh_book_is_shown_for_books_tell_of_no_trades() -> None:
    reader = MarketDataReader((), ("book", "trades"))
    assert [number for number, _ in seen(reader, book(10), trade(9), change(11))] == [10, 9, 11]


def test_a_hole_in_the_public_numbers_is_a_gap_that_a_fresh_book_closes() -> None:
    reader = MarketDataReader((), ("book", "trades"))
    reader.request()
    seen(reader, book(10))
    with pytest.raises(Gap):
        seen(reader, change(12))
    reader.request()
    assert seen(reader, book(15), change(16)) == [(15, True), (16, False)]


def test_with_one_channel_alone_holes_are_as_they_should_be() -> None:
    reader = MarketDataReader((), ("trades",))
    assert seen(reader, trade(3), trade(8)) == [(3, False), (8, False)]


def test_a_reader_of_trades_that_was_too_slow_is_told_with_the_next_one() -> None:
    reader = MarketDataReader((), ("trades",))
    lost = v1.MarketDataUpdate(instrument_id="AAPL", seq=6, conflated=True)
    assert seen(reader, trade(3), lost, trade(8), trade(9)) == [(3, False), (8, True), (9, False)]


class Greeting(v1.ExecutionFeedServicer):
    """Greets every reader, and then fails."""

    async def StreamExecutions(
        self, request: v1.StreamExecutionsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[v1.ExecutionReports]:
        yield v1.ExecutionReports(last_seq=9)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "not today")


class Counting(Retrying):
    """Opens a stream again at once, until the waits would have grown five times."""

    opened = 0

    def wait_s(self, failure: ExchangeError | Gap | None) -> float:
        super().wait_s(failure)
        if self.failures == 5:
            raise InvalidRequest("INVALID_REQUEST", "five waits, each longer than the one before")
        if self.opened == 10:
            raise AssertionError("the waits do not grow")
        self.opened += 1
        return 0


async def test_a_stream_that_fails_right_after_its_greeting_is_opened_again_ever_more_slowly(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (async_client, client):
        monkeypatch.setattr(module, "Retrying", Counting)
    server = grpc.aio.server()
    v1.add_ExecutionFeedServicer_to_server(Greeting(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    reader = connect(kind, f"127.0.0.1:{port}")
    try:
        with pytest.raises(InvalidRequest, match="five waits"):
            await anext(reader.executions())
    finally:
        await reader.close()
        await server.stop(None)
