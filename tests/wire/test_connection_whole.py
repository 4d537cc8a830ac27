"""Requests that are whole in one piece are taken in one step: the same in every respect as those that come in parts."""

from __future__ import annotations

import pytest

from tests.wire.cores import (
    ANSWER,
    REQUEST,
    REQUEST_FIELDS,
    TRAILERS,
    called,
    client,
    data,
    frames,
    headers,
    plain,
    server,
    told,
)
from wire.connection import Connection
from wire.events import Event, HeadersReceived
from wire.frames import END_STREAM, RST_STREAM, ErrorCode, frame, reset_frame
from wire.hpack import encode
from wire.limits import Limits


def familiar(limits: Limits | None = None) -> Connection:
    """A server's core that has seen a request of these header fields, and answered it."""
    core = server(limits)
    core.receive(headers(1, end_stream=True), 0.0)
    core.respond(core.streams[1], ANSWER, b"")
    core.take()
    return core


def request(stream_id: int, body: bytes = b"question") -> bytes:
    return headers(stream_id) + data(stream_id, body, end_stream=True)


def is_whole(event: Event) -> bool:
    return isinstance(event, HeadersReceived) and event.data is not None


def by_stream(events: list[Event]) -> dict[object, list[tuple[object, ...]]]:
    """What is told of each stream; what of the connection, by itself."""
    told: dict[object, list[tuple[object, ...]]] = {}
    for event in plain(events):
        told.setdefault(event[1], []).append(event)
    return told


def state(core: Connection) -> tuple[object, ...]:
    streams = [(s.id, s.has_headers, s.remote_closed, s.local_closed, s.closed) for s in core.streams.values()]
    windows = core.receive_window, core.receive_credit, core.updates_due
    return core.last_accepted, streams, windows, core.failed, frames(core.take())


CASES = {
    "one": request(3),
    "several": request(3) + request(5) + request(7),
    "with others between": request(3) + headers(5) + request(7) + data(5, end_stream=True),
    "without data": headers(3) + data(3, b"", end_stream=True),
    "the largest": request(3, bytes(16_384)),
    "not ended": headers(3) + data(3),
    "more than one frame": headers(3) + data(3) + data(3, end_stream=True),
    "padded": headers(3) + frame(0, 0x8 | END_STREAM, 3, b"\2dataXX"),
    "of two streams": headers(3) + headers(5) + data(3, end_stream=True) + data(5, end_stream=True),
    "crossing": headers(3) + headers(5) + data(5, end_stream=True) + data(3, end_stream=True),
    "taken back between": headers(3) + reset_frame(3, 8) + data(3, end_stream=True),
    "ended between": headers(3) + headers(3, TRAILERS, end_stream=True) + data(3, end_stream=True),
    "with a length": headers(3, REQUEST + encode([(b"content-length", b"5")])) + data(3, b"12345", end_stream=True),
    "with a wrong length": headers(3, REQUEST + encode([(b"content-length", b"5")])) + data(3, b"1", end_stream=True),
    "taken back": request(3) + reset_frame(3, 8),
    "of a server's number": request(4),
    "of a number that is over": request(5) + request(3),
    "again": request(3) + request(3),
    "trailers behind the end": request(3) + headers(3, end_stream=True),
    "more data behind the end": request(3) + data(3),
}


@pytest.mark.parametrize("case", CASES)
def test_a_request_in_one_piece_is_what_it_is_in_parts(case: str) -> None:
    whole, cut = familiar(), familiar()
    expected: list[Event] = []
    for byte in CASES[case]:
        expected += cut.receive(bytes([byte]), 0.0)
    assert not any(is_whole(event) for event in expected)
    assert by_stream(whole.receive(CASES[case], 0.0)) == by_stream(expected)
    assert state(whole) == state(cut)


def test_one_step_is_enough() -> None:
    core = familiar()
    (event,) = core.receive(request(3), 0.0)
    assert is_whole(event)
    assert (event.stream, event.block.fields, event.data) == (core.streams[3], REQUEST_FIELDS, b"question")
    core.respond(event.stream, ANSWER, b"answer")
    assert core.streams == {}


@pytest.mark.parametrize("pieces", ["whole", "in parts"])
def test_whole_requests_count_as_streams(pieces: str) -> None:
    core = familiar(Limits(streams=2))
    piece = request(3) + request(5) + request(7)
    for part in [piece] if pieces == "whole" else [bytes([byte]) for byte in piece]:
        core.receive(part, 0.0)
    assert [*core.streams] == [3, 5]
    assert told(core) == [(7, ErrorCode.REFUSED_STREAM)]


def test_nothing_is_taken_behind_a_farewell() -> None:
    core = familiar()
    core.last_taken = 3
    assert len(core.receive(request(3) + request(5), 0.0)) == 1
    assert [*core.streams] == [3]
    assert RST_STREAM not in [sent.kind for sent in frames(core.take())]


def test_an_answer_in_one_piece_is_no_request() -> None:
    core = client()
    for _ in range(2):  # the first time the block is not known
        stream = called(core, end_stream=True)
        answer = headers(stream.id, ANSWER.head) + data(stream.id, end_stream=True)
        assert [event[0] for event in plain(core.receive(answer, 0.0))] == ["HeadersReceived", "DataReceived"]
        assert stream.closed
    assert REQUEST not in core.decoder.cache
