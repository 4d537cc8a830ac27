"""What a hostile peer may cost: each attack ends with ENHANCE_YOUR_CALM or is refused, and never holds much memory."""

from __future__ import annotations

import tracemalloc

import pytest

from tests.wire.cores import (
    ANSWER,
    REQUEST,
    REQUEST_FIELDS,
    RESPONSE,
    RESPONSE_FIELDS,
    TRAILERS,
    Wired,
    called,
    client,
    data,
    frames,
    headers,
    kinds,
    plain,
    server,
    told,
)
from wire.connection import Connection
from wire.fields import KNOWN_LENGTH, KNOWN_LIMIT, known_fields, known_heads
from wire.frames import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    LARGEST_WINDOW,
    PADDED,
    PING,
    PRIORITY,
    SETTINGS,
    ErrorCode,
    Setting,
    frame,
    go_away_frame,
    reset_frame,
    settings_frame,
    window_update,
)
from wire.hpack import encode
from wire.inbound import RESETS_REMEMBERED
from wire.limits import Limits

CALM = ErrorCode.ENHANCE_YOUR_CALM
LIMITS = Limits()
MALFORMED = encode([(b"no-pseudo-header", b"at all")])

# Each costs little to send. The ids are those of streams 1 (open), 3 (closed) and a new one for each.
FLOODS = {
    "SETTINGS": settings_frame({}),
    "SETTINGS that change the windows": settings_frame(dict.fromkeys([Setting.INITIAL_WINDOW_SIZE], 1)),
    "acknowledgements": frame(SETTINGS, 1, 0),
    "PING": frame(PING, 0, 0, bytes(8)),
    "answers to no PING": frame(PING, 1, 0, bytes(8)),
    "PRIORITY": frame(PRIORITY, 0, 5, bytes(5)),
    "unknown frames": frame(0xBB, 0, 0),
    "empty DATA": data(1, b""),
    "DATA of padding": frame(DATA, PADDED, 1, b"\x01\0"),
    "windows that grow byte by byte": window_update(0, 1),
    "a stream's window that grows byte by byte": window_update(1, 1),
    "resets of what is closed": reset_frame(3, ErrorCode.CANCEL),
    "GOAWAY": go_away_frame(0, ErrorCode.NO_ERROR),
}


def answered() -> Connection:
    """A server with stream 1 open and stream 3 closed."""
    core = server()
    core.receive(headers(1) + headers(3, end_stream=True), 0.0)
    core.respond(core.streams[3], ANSWER, b"")
    core.take()
    return core


@pytest.mark.parametrize("piece", FLOODS.values(), ids=FLOODS)
def test_a_flood_ends_the_connection_and_its_answers_are_few(piece):
    core = answered()
    core.receive(piece * 10 * LIMITS.nuisances, 0.0)
    sent = frames(core.take())
    assert sent[-1].kind == GOAWAY
    assert sent[-1].payload[4:8] == bytes([0, 0, 0, CALM])
    assert len(sent) <= LIMITS.nuisances + 1
    assert core.pending == b""


@pytest.mark.parametrize("piece", FLOODS.values(), ids=FLOODS)
def test_the_same_frames_at_a_tenth_of_the_pace_are_let_pass(piece):
    core = answered()
    for second in range(100):
        core.receive(piece * (LIMITS.nuisance_rate // 10), float(second))
        core.take()
    assert not core.failed


def test_rapid_reset_ends_the_connection():
    core = server()
    for at in range(10 * LIMITS.resets):
        core.receive(headers(2 * at + 1) + reset_frame(2 * at + 1, ErrorCode.CANCEL), 0.0)
        assert len(core.streams) <= 1
    assert core.failed
    assert told(core) == [(0, CALM)]
    assert core.last_accepted <= 2 * LIMITS.resets + 1


def test_a_client_that_takes_its_calls_back_now_and_then_is_served():
    core = server()
    for at in range(5_000):
        now = at / (LIMITS.reset_rate / 2)
        core.receive(headers(2 * at + 1) + reset_frame(2 * at + 1, ErrorCode.CANCEL), now)
    assert not core.failed


@pytest.mark.parametrize(
    "provocation",
    [headers(1, MALFORMED), headers(1) + window_update(1, 0), headers(1, end_stream=True) + data(1)],
    ids=["malformed", "a window of nothing", "DATA after the end"],
)
def test_resets_that_a_peer_provokes_end_the_connection(provocation):
    core = server()
    for at in range(3 * LIMITS.nuisances):
        piece = b"".join(frame(f.kind, f.flags, 2 * at + 1, f.payload) for f in frames(provocation))
        core.receive(piece, 0.0)
    assert told(core)[-1] == (0, CALM)


def test_streams_above_the_limit_are_refused_and_the_others_live():
    core = server(Limits(streams=10))
    opened = b"".join(headers(at) for at in range(1, 31, 2))
    events = core.receive(opened, 0.0)
    assert [event[1] for event in plain(events)] == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]
    assert told(core) == [(at, ErrorCode.REFUSED_STREAM) for at in range(21, 31, 2)]
    assert core.receive(data(21) + headers(21, TRAILERS, end_stream=True), 0.0) == []
    assert plain(core.receive(data(1), 0.0)) == [("DataReceived", 1, b"data", 4, False)]
    core.reset(core.streams[1], ErrorCode.CANCEL)
    assert plain(core.receive(headers(31), 0.0)) == [("HeadersReceived", 31, REQUEST_FIELDS, False)]


def test_refused_streams_do_not_spoil_the_table():
    core = server(Limits(streams=1))
    core.receive(headers(1), 0.0)
    core.receive(headers(3, REQUEST + b"\x40\x01a\x01b"), 0.0)
    core.reset(core.streams[1], ErrorCode.CANCEL)
    assert plain(core.receive(headers(5, REQUEST + b"\xbe"), 0.0))[0][2] == (*REQUEST_FIELDS, (b"a", b"b"))


def test_a_client_that_opens_streams_above_the_limit_without_end_is_told():
    core = server(Limits(streams=1))
    core.receive(b"".join(headers(at) for at in range(1, 6 * LIMITS.nuisances, 2)), 0.0)
    assert told(core)[-1] == (0, CALM)


# Blocks


def test_continuations_without_end_are_cut_off():
    core = server()
    core.receive(frame(HEADERS, 0, 1, REQUEST), 0.0)
    for _ in range(LIMITS.continuations + 1):
        core.receive(frame(CONTINUATION, 0, 1), 0.0)
    assert told(core) == [(0, CALM)]


def test_a_block_without_end_is_cut_off():
    core = server()
    core.receive(frame(HEADERS, 0, 1, REQUEST), 0.0)
    most = 0
    while not core.failed:
        core.receive(frame(CONTINUATION, 0, 1, bytes(16_384)), 0.0)
        most = max(most, core.block.size)
    assert told(core) == [(0, CALM)]
    assert most <= LIMITS.header_block + 16_384


BOMB = REQUEST + b"\x40\x01b" + b"\x7f\xa1\x1e" + b"v" * 4_000 + b"\xbe" * 12_000  # 48 MB, if it were believed


@pytest.mark.parametrize("block", [REQUEST + encode([(b"x", b"v" * 20_000)]), BOMB], ids=["long", "bomb"])
@pytest.mark.parametrize("is_client", [False, True])
def test_a_list_too_large_is_told_without_its_fields_and_the_connection_lives(block, is_client):
    core = client() if is_client else server()
    block = block.removeprefix(REQUEST)
    if is_client:
        called(core)
    block = (RESPONSE if is_client else REQUEST) + block
    size = len(block) // 2
    tracemalloc.start()
    said = frame(HEADERS, 0, 1, block[:size]) + frame(CONTINUATION, 4, 1, block[size:])
    (event,) = core.receive(said, 0.0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (event.block.too_large, event.block.fields) == (True, ())
    assert most < 1 << 20
    assert told(core) == []
    if is_client:
        assert plain(core.receive(data(1) + headers(1, TRAILERS, end_stream=True), 0.0))[-1][0] == "TrailersReceived"
    else:
        assert plain(core.receive(headers(3), 0.0)) == [("HeadersReceived", 3, REQUEST_FIELDS, False)]


def test_trailers_too_large_are_told_too():
    core = client()
    called(core)
    long = encode([(b"x", b"v" * 16_360)])
    events = core.receive(headers(1, RESPONSE) + headers(1, long, end_stream=True), 0.0)
    assert plain(events) == [("HeadersReceived", 1, RESPONSE_FIELDS, False), ("TrailersReceived", 1, ())]
    assert events[1].block.too_large


def test_long_fields_are_not_kept():
    known_heads.clear()
    known_fields.clear()
    core = server()
    core.receive(headers(1) + headers(3, REQUEST + encode([(b"x", b"v" * (KNOWN_LENGTH + 1))])), 0.0)
    assert len(core.streams) == 2
    assert known_heads == {tuple(REQUEST_FIELDS[:4])}
    assert known_fields == set(REQUEST_FIELDS[4:])


def test_what_is_kept_of_fields_is_bounded():
    core = server(Limits(streams=10_000))
    for at in range(6_000):
        core.receive(headers(2 * at + 1, REQUEST + encode([(b"x", b"%d" % at)])), 0.0)
    assert len(core.streams) == 6_000
    assert len(known_fields) <= KNOWN_LIMIT


# Windows


def test_data_beyond_a_stream_s_window_resets_it_and_beyond_the_connection_s_ends_it():
    core = server(Limits(stream_window=1 << 17, connection_window=1 << 18))
    piece = data(1, bytes(16_384))
    assert len(core.receive(headers(1) + piece * 9, 0.0)) == 10
    assert told(core) == [(1, ErrorCode.FLOW_CONTROL_ERROR)]
    core = server(Limits(stream_window=1 << 20, connection_window=1 << 18))
    events = core.receive(headers(1) + piece * 17, 0.0)
    assert plain(events)[-1][:2] == ("ConnectionFailed", ErrorCode.FLOW_CONTROL_ERROR)


FAULTY_DATA = {
    "after the end": headers(1, end_stream=True) + data(1, bytes(16_384)),
    "beyond the window": headers(1) + data(1, bytes(16_384)) * 5,
    "longer than the content": headers(1, REQUEST + encode([(b"content-length", b"3")])) + data(1, bytes(16_384)),
}


@pytest.mark.parametrize("said", FAULTY_DATA.values(), ids=FAULTY_DATA)
def test_data_of_a_faulty_stream_gives_the_connection_s_window_back(said):
    core = server(Limits(connection_window=1 << 20, stream_window=65_536))
    held = sum(getattr(event, "size", 0) for event in core.receive(said, 0.0))
    assert core.receive_window + core.receive_credit + held == 1 << 20


def test_many_streams_hold_no_more_than_the_connection_s_window():
    core = server(Limits(connection_window=1 << 18))
    held = 0
    for at in range(1, 201, 2):
        for event in core.receive(headers(at) + data(at, bytes(16_384)), 0.0):
            held += getattr(event, "size", 0)
    assert core.failed
    assert held <= 1 << 18


def test_a_window_of_nothing_holds_what_waits_and_a_reset_drops_it():
    core = server(Limits(streams=5))
    core.receive(settings_frame({Setting.INITIAL_WINDOW_SIZE: 0}), 0.0)
    for at in range(1, 2_001, 2):
        core.receive(headers(at, end_stream=True), at / 10)
        stream = core.streams[at]
        core.respond(stream, ANSWER, bytes(1_000))
        assert stream.queued == 1_000
        core.receive(reset_frame(at, ErrorCode.CANCEL), at / 10)
        assert stream.outbox is None
    assert (core.streams, len(core.turns)) == ({}, 0)


def test_streams_that_wait_for_the_connection_s_window_are_forgotten_with_their_reset():
    core = server()
    core.receive(headers(1), 0.0)
    core.send_data(core.streams[1], bytes(65_536))
    core.receive(window_update(1, 10), 0.0)
    assert len(core.turns) <= 1
    for at in range(3, 2_001, 2):
        core.receive(headers(at, end_stream=True), at / 10)
        core.send_data(core.streams[at], b"waits")
        core.receive(reset_frame(at, ErrorCode.CANCEL), at / 10)
    assert [*core.streams] == [1]
    assert len(core.turns) <= 1


def test_settings_that_move_every_window_again_and_again_are_cut_off():
    core = server()
    core.receive(b"".join(headers(at) for at in range(1, 2_001, 2)), 0.0)
    game = settings_frame({Setting.INITIAL_WINDOW_SIZE: 0}) + settings_frame({Setting.INITIAL_WINDOW_SIZE: 1})
    core.receive(game * 200, 0.0)
    assert told(core) == [(0, CALM)]


def test_more_settings_than_there_are_in_one_frame_are_cut_off():
    core = server()
    core.receive(frame(SETTINGS, 0, 0, b"\0\x06\0\0\0\x01" * (LIMITS.settings + 1)), 0.0)
    assert told(core) == [(0, CALM)]


def test_a_window_of_one_byte_is_served_byte_by_byte_and_no_further():
    core = server()
    core.receive(settings_frame({Setting.INITIAL_WINDOW_SIZE: 1}) + headers(1, end_stream=True), 0.0)
    core.respond(core.streams[1], ANSWER, bytes(10_000))
    core.take()
    core.receive(window_update(1, 1) * 9_999, 0.0)
    sent = frames(core.take())
    assert [len(f.payload) for f in sent[:-1]] == [1] * (len(sent) - 1)
    assert len(sent) <= LIMITS.nuisances
    assert core.failed


def test_the_largest_windows_are_served():
    core = server()
    core.receive(settings_frame({Setting.INITIAL_WINDOW_SIZE: LARGEST_WINDOW}), 0.0)
    core.receive(window_update(0, LARGEST_WINDOW - 65_535) + headers(1, end_stream=True), 0.0)
    core.respond(core.streams[1], ANSWER, bytes(1 << 20))
    assert kinds(core).count(DATA) == 64
    assert core.streams == {}


# Memory


def test_the_resets_that_are_remembered_are_bounded():
    core = server(Limits(streams=1))
    for at in range(1, 2 * RESETS_REMEMBERED + 4_001, 2):
        core.receive(headers(at), float(at))
        core.reset(core.streams[at], ErrorCode.CANCEL)
        core.take()
    assert len(core.reset_ids) == RESETS_REMEMBERED


def test_the_beginning_of_a_frame_is_all_that_is_kept_of_the_bytes():
    core = server()
    said = headers(1) + data(1, bytes(16_384)) * 3
    for at in range(0, len(said), 7):
        core.receive(said[at : at + 7], 0.0)
        assert len(core.pending) < 16_384 + 9


def test_calls_that_end_leave_no_memory():
    def calls(count: int) -> None:
        for _ in range(count):
            ours, theirs = wired.call()
            wired.client.send_data(ours, b"question", end_stream=True)
            wired.deliver()
            wired.server.respond(theirs, ANSWER, b"answer")
            wired.deliver()

    wired = Wired()
    calls(200)
    tracemalloc.start()
    calls(10)
    before, _ = tracemalloc.get_traced_memory()
    calls(500)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 10_000


def test_windows_given_back_in_crumbs_for_what_was_sent_are_no_nuisance():
    core = server(Limits(nuisances=10, nuisance_rate=0))
    core.receive(headers(1), 0.0)
    for _ in range(100):
        core.send_data(core.streams[1], b"a")
        core.receive(window_update(0, 1) + window_update(1, 1), 0.0)
    assert not core.failed
