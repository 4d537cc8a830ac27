"""Two cores wired together, h11's way: what one says, the other hears, wherever the bytes are cut."""

from __future__ import annotations

import pytest

from tests.wire.cores import (
    ANSWER,
    CLIENT_OPENING,
    REQUEST,
    REQUEST_FIELDS,
    RESPONSE,
    RESPONSE_FIELDS,
    SERVER_OPENING,
    SETTINGS_ACK,
    TRAILER_FIELDS,
    TRAILERS,
    Wired,
    called,
    client,
    continued,
    data,
    frames,
    headers,
    kinds,
    plain,
    server,
    told,
)
from wire.connection import Connection, NoStreams
from wire.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITISED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WORD,
    ErrorCode,
    Setting,
    frame,
    go_away_frame,
    reset_frame,
    settings_frame,
    window_update,
)
from wire.hpack import encode
from wire.limits import Limits

PRIORITY_WORDS = b"\x80\x00\x00\x03\x10"
EARLY = encode([(b":status", b"103"), (b"link", b"</a>")])
FROM_CLIENT = b"".join(
    [
        CLIENT_OPENING,
        SETTINGS_ACK,
        continued(1, REQUEST, 3),
        data(1, b"first"),
        frame(DATA, PADDED, 1, b"\x03second\0\0\0"),
        frame(PRIORITY, 0, 9, PRIORITY_WORDS),
        frame(HEADERS, END_HEADERS | PADDED | PRIORITISED, 3, b"\x02" + PRIORITY_WORDS + REQUEST + b"\0\0"),
        frame(PING, 0, 0, b"12345678"),
        headers(1, TRAILERS, end_stream=True),
        frame(0x10, 0xFF, 0, b"unknown"),
        reset_frame(3, ErrorCode.CANCEL),
        settings_frame({Setting.INITIAL_WINDOW_SIZE: 7, Setting.MAX_FRAME_SIZE: 20_000}),
        go_away_frame(0, ErrorCode.NO_ERROR, b"bye"),
    ]
)
FROM_SERVER = b"".join(
    [
        SERVER_OPENING,
        headers(1, EARLY),
        headers(1, RESPONSE),
        window_update(1, 10),
        data(1, b"answer"),
        continued(1, TRAILERS, 4, end_stream=True),
        frame(PING, ACK, 0, b"12345678"),
        go_away_frame(1, ErrorCode.NO_ERROR),
    ]
)


def heard(core: Connection, pieces: list[bytes]) -> tuple[list[object], bytes]:
    events = [event for piece in pieces for event in plain(core.receive(piece, 0.0))]
    return [*events], core.take()


def fresh_client() -> Connection:
    core = Connection(is_client=True)
    core.start()
    for _ in range(2):
        stream = core.open_stream()
        core.send_headers(stream, REQUEST)
        core.send_data(stream, b"x" * 65_536)  # one byte more than the window
    core.take()
    return core


def fresh_server() -> Connection:
    core = Connection(is_client=False)
    core.start()
    return core


@pytest.mark.parametrize(("fresh", "said"), [(fresh_server, FROM_CLIENT), (fresh_client, FROM_SERVER)])
def test_bytes_cut_anywhere_say_the_same(fresh, said):
    whole = heard(fresh(), [said])
    assert whole[0][-1][0] == "GoingAway" or whole[0][-1][0] == "StreamReset"
    assert whole == heard(fresh(), [said[at : at + 1] for at in range(len(said))])
    for cut in range(1, len(said)):
        assert whole == heard(fresh(), [said[:cut], said[cut:]])


def test_a_client_s_words_are_these_events():
    events, _ = heard(fresh_server(), [FROM_CLIENT])
    assert events == [
        ("SettingsReceived",),
        ("HeadersReceived", 1, REQUEST_FIELDS, False),
        ("DataReceived", 1, b"first", 5, False),
        ("DataReceived", 1, b"second", 10, False),
        ("HeadersReceived", 3, REQUEST_FIELDS, False),
        ("TrailersReceived", 1, TRAILER_FIELDS),
        ("StreamReset", 3, ErrorCode.CANCEL, True),
        ("SettingsReceived",),
        ("GoingAway", 0, ErrorCode.NO_ERROR, b"bye"),
    ]


def test_a_server_s_words_are_these_events():
    events, _ = heard(fresh_client(), [FROM_SERVER])
    assert events == [
        ("SettingsReceived",),
        ("HeadersReceived", 1, RESPONSE_FIELDS, False),
        ("DataReceived", 1, b"answer", 6, False),
        ("TrailersReceived", 1, TRAILER_FIELDS),
        ("PingAnswered", b"12345678"),
        ("GoingAway", 1, ErrorCode.NO_ERROR, b""),
        ("StreamReset", 3, ErrorCode.REFUSED_STREAM, True),
    ]


def test_a_whole_call_leaves_nothing_behind():
    wired = Wired()
    ours, theirs = wired.call()
    wired.client.send_data(ours, b"question", end_stream=True)
    _, asked = wired.deliver()
    assert plain(asked) == [("DataReceived", 1, b"question", 0, True)]
    wired.server.respond(theirs, ANSWER, b"answer")
    answered, _ = wired.deliver()
    assert plain(answered) == [
        ("HeadersReceived", 1, RESPONSE_FIELDS, False),
        ("DataReceived", 1, b"answer", 6, False),
        ("TrailersReceived", 1, TRAILER_FIELDS),
    ]
    assert not wired.client.streams
    assert not wired.server.streams


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 60_000])
def test_an_answer_in_one_piece_says_what_three_calls_say(size):
    body = b"x" * size
    said = []
    for in_one in (True, False):
        wired = Wired()
        _, theirs = wired.call(end_stream=True)
        if in_one:
            wired.server.respond(theirs, ANSWER, body)
        else:
            wired.server.send_headers(theirs, RESPONSE)
            wired.server.send_data(theirs, body)
            wired.server.send_headers(theirs, TRAILERS, end_stream=True)
        events, _ = wired.deliver()
        said.append(plain(events))
    assert said[0] == said[1]
    assert b"".join(e[2] for e in said[0] if e[0] == "DataReceived") == body


def test_an_answer_with_long_trailers_keeps_to_the_largest_frame():
    core = server()
    core.receive(headers(1, end_stream=True), 0.0)
    core.send_headers(core.streams[1], RESPONSE)
    core.send_headers(core.streams[1], encode([(b"grpc-message", b"m" * 40_000)]), end_stream=True)
    sent = frames(core.take())
    assert max(len(f.payload) for f in sent) <= 16_384
    assert [f.kind for f in sent] == [HEADERS, HEADERS, CONTINUATION, CONTINUATION]


def test_a_long_block_continues_and_is_one_block_again():
    wired = Wired()
    fields = (*REQUEST_FIELDS, *((b"x-%d" % at, b"v" * 900) for at in range(15)))
    ours = wired.client.open_stream()
    wired.client.send_headers(ours, encode(fields))
    _, asked = wired.deliver()
    assert plain(asked) == [("HeadersReceived", 1, fields, False)]
    big = encode([(b"x", b"v" * 40_000)])
    core = server()
    core.receive(headers(1), 0.0)
    core.send_headers(core.streams[1], big, end_stream=True)
    first, *rest = frames(core.take())
    assert (first.kind, first.flags) == (HEADERS, END_STREAM)
    assert [(f.kind, f.flags) for f in rest] == [(CONTINUATION, 0), (CONTINUATION, END_HEADERS)]
    assert b"".join([first.payload, *(f.payload for f in rest)]) == big


def test_padding_counts_for_the_windows():
    core = server(Limits(stream_window=100))
    core.receive(headers(1), 0.0)
    (event,) = core.receive(frame(DATA, PADDED, 1, b"\x3bx" + bytes(0x3B)), 0.0)
    assert plain([event]) == [("DataReceived", 1, b"x", 0x3D, False)]
    core.consumed(core.streams[1], 0x3D)
    assert window_update(1, 0x3D) in core.take()


def test_a_ping_is_answered_and_an_answer_is_told():
    wired = Wired()
    wired.client.ping(b"are you?")
    answered, asked = wired.deliver()
    assert (plain(answered), asked) == ([("PingAnswered", b"are you?")], [])


def test_settings_are_acknowledged_in_their_order():
    core = server()
    core.receive(settings_frame({}) + frame(PING, 0, 0, bytes(8)) + settings_frame({}), 0.0)
    assert [(f.kind, f.flags) for f in frames(core.take())] == [(SETTINGS, ACK), (PING, ACK), (SETTINGS, ACK)]


def test_the_first_settings_may_carry_flags_that_mean_nothing():
    core = fresh_server()
    events = core.receive(CLIENT_OPENING[:-9] + frame(SETTINGS, 0xFE, 0), 0.0)
    assert plain(events) == [("SettingsReceived",)]


# Ends


def test_a_client_s_streams_above_the_last_are_given_back_by_goaway():
    core = client()
    streams = [called(core) for _ in range(3)]
    events = core.receive(go_away_frame(3, ErrorCode.NO_ERROR), 0.0)
    assert plain(events) == [("GoingAway", 3, 0, b""), ("StreamReset", 5, ErrorCode.REFUSED_STREAM, True)]
    assert [stream.closed for stream in streams] == [False, False, True]
    with pytest.raises(NoStreams):
        core.open_stream()


def test_a_server_that_goes_away_ignores_what_crosses_it():
    core = server()
    core.receive(headers(1), 0.0)
    core.last_taken = core.last_accepted
    core.go_away(core.last_accepted, ErrorCode.NO_ERROR)
    assert kinds(core) == [GOAWAY]
    late = headers(3) + data(3) + window_update(3, 5_000) + headers(3, TRAILERS, end_stream=True) + reset_frame(3, 8)
    assert core.receive(late, 0.0) == []
    assert core.take() == b""
    core.receive(frame(PUSH_PROMISE, 0, 1), 0.0)
    (fault,) = frames(core.take())
    assert WORD.unpack_from(fault.payload) == (1,)  # never more than was said before


def test_informational_answers_are_passed_over():
    core = client()
    called(core)
    assert core.receive(headers(1, EARLY) * 2, 0.0) == []
    assert plain(core.receive(headers(1, RESPONSE), 0.0)) == [("HeadersReceived", 1, RESPONSE_FIELDS, False)]


@pytest.mark.parametrize("state", ["open", "half-closed (local)", "half-closed (remote)"])
def test_a_reset_closes_a_stream_in_any_state_and_late_frames_are_let_pass(state):
    core = server()
    core.receive(headers(1, end_stream=state.endswith("(remote)")), 0.0)
    stream = core.streams[1]
    if state.endswith("(local)"):
        core.respond(stream, ANSWER, b"")
    core.take()
    core.reset(stream, ErrorCode.CANCEL)
    core.reset(stream, ErrorCode.CANCEL)
    assert told(core) == [(1, ErrorCode.CANCEL)]
    assert stream.closed
    core.send_headers(stream, RESPONSE)
    core.send_data(stream, b"late")
    core.respond(stream, ANSWER, b"late")
    late = data(1) + window_update(1, 0) + headers(1, TRAILERS, end_stream=True) + reset_frame(1, 8)
    assert core.receive(late, 0.0) == []
    assert core.take() == b""


def test_data_of_a_reset_stream_gives_the_connection_s_window_back():
    core = server(Limits(connection_window=65_536))
    core.receive(headers(1), 0.0)
    core.reset(core.streams[1], ErrorCode.CANCEL)
    for _ in range(10):
        core.receive(data(1, bytes(16_384)), 0.0)
    assert not core.failed
    assert kinds(core).count(WINDOW_UPDATE) == 5


def test_a_reset_by_the_peer_drops_what_waits():
    core = client()
    stream = called(core)
    core.send_data(stream, bytes(100_000), end_stream=True)
    assert stream.queued
    assert plain(core.receive(reset_frame(1, ErrorCode.CANCEL), 0.0)) == [("StreamReset", 1, ErrorCode.CANCEL, True)]
    assert (stream.queued, len(core.turns), core.streams) == (0, 0, {})
    core.take()
    core.receive(window_update(0, 100_000), 0.0)
    assert RST_STREAM not in (sent := kinds(core))
    assert DATA not in sent
