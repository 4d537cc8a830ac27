"""What RFC 9113 calls an error, a row each: the bytes in, and what the peer is told of them."""

from __future__ import annotations

import pytest

from tests.wire.cores import (
    ANSWER,
    CLIENT_OPENING,
    REQUEST,
    REQUEST_FIELDS,
    RESPONSE,
    RESPONSE_FIELDS,
    TRAILER_FIELDS,
    TRAILERS,
    called,
    client,
    data,
    headers,
    plain,
    server,
    told,
)
from wire.connection import Connection
from wire.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADER,
    HEADERS,
    LARGEST_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITISED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    Setting,
    frame,
    reset_frame,
    settings_frame,
    window_update,
)
from wire.hpack import SIZE_UPDATE_TO_ZERO, encode
from wire.limits import Limits

PROTOCOL, FLOW, CLOSED = ErrorCode.PROTOCOL_ERROR, ErrorCode.FLOW_CONTROL_ERROR, ErrorCode.STREAM_CLOSED
SIZE, COMPRESSION = ErrorCode.FRAME_SIZE_ERROR, ErrorCode.COMPRESSION_ERROR
BEGUN = frame(HEADERS, 0, 1, REQUEST[:2])
REST = frame(CONTINUATION, END_HEADERS, 1, REQUEST[2:])


def too_long(kind: int, stream_id: int = 0) -> bytes:
    """The head of a frame of 16,385 bytes: enough to be judged."""
    return HEADER.pack(16_385 << 8 | kind, 0, stream_id)


# What ends a server's connection, from its first frame after the handshake. Sections of RFC 9113.
ENDS_A_CONNECTION = {
    "4.2 a frame too long": (too_long(DATA, 1), SIZE),
    "4.2 SETTINGS too long": (too_long(SETTINGS), SIZE),
    "4.2 an unknown frame too long": (too_long(0xBB), SIZE),
    "4.3 a block that is not HPACK": (headers(1, b"\xff\xff\xff\xff\xff\xff"), COMPRESSION),
    "4.3 a block with an index of nothing": (headers(1, b"\xbe"), COMPRESSION),
    "4.3 a block cut off": (headers(1, REQUEST[:-1]), COMPRESSION),
    "4.3 a table's size in the middle": (headers(1, REQUEST + SIZE_UPDATE_TO_ZERO), COMPRESSION),
    "4.3 a table larger than allowed": (headers(1, b"\x3f\xe2\x1f" + REQUEST), COMPRESSION),
    "4.3 broken trailers": (headers(1) + headers(1, b"\x80", end_stream=True), COMPRESSION),
    "4.3 a broken block of a stream that we have closed": (headers(1, b"\x82") + headers(1, b"\x80"), COMPRESSION),
    "4.3 a block interrupted by DATA": (BEGUN + data(1), PROTOCOL),
    "4.3 a block interrupted by PING": (BEGUN + frame(PING, 0, 0, bytes(8)), PROTOCOL),
    "4.3 a block interrupted by SETTINGS": (BEGUN + settings_frame({}), PROTOCOL),
    "4.3 a block interrupted by PRIORITY": (BEGUN + frame(PRIORITY, 0, 1, bytes(5)), PROTOCOL),
    "4.3 a block interrupted by another": (BEGUN + headers(3), PROTOCOL),
    "4.3 a block interrupted by an unknown frame": (BEGUN + frame(0xBB, 0, 0), PROTOCOL),
    "5.1 DATA of an idle stream": (data(1), PROTOCOL),
    "5.1 RST_STREAM of an idle stream": (reset_frame(1, 8), PROTOCOL),
    "5.1 WINDOW_UPDATE of an idle stream": (window_update(1, 5_000), PROTOCOL),
    "5.1 CONTINUATION of an idle stream": (frame(CONTINUATION, END_HEADERS, 1, REQUEST), PROTOCOL),
    "5.1 WINDOW_UPDATE of an idle stream of ours": (window_update(2, 5_000), PROTOCOL),
    "5.1.1 a client's stream with an even number": (headers(2), PROTOCOL),
    "5.1.1 an even number below an odd one": (headers(5) + headers(2), PROTOCOL),
    "5.1.1 a stream below the last": (headers(5) + headers(3), CLOSED),
    "6.1 DATA of the connection": (data(0), PROTOCOL),
    "6.1 padding as long as its DATA": (headers(1) + frame(DATA, PADDED, 1, b"\x01"), PROTOCOL),
    "6.1 padding longer than its DATA": (headers(1) + frame(DATA, PADDED, 1, b"\x05abc"), PROTOCOL),
    "6.1 padded DATA without a length": (headers(1) + frame(DATA, PADDED, 1), PROTOCOL),
    "6.2 HEADERS of the connection": (headers(0), PROTOCOL),
    "6.2 padding longer than its HEADERS": (frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + REQUEST), PROTOCOL),
    "6.2 HEADERS without their priority": (frame(HEADERS, END_HEADERS | PRIORITISED, 1, bytes(4)), SIZE),
    "6.3 PRIORITY of the connection": (frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL),
    "6.3 PRIORITY of four bytes": (frame(PRIORITY, 0, 1, bytes(4)), SIZE),
    "6.4 RST_STREAM of the connection": (reset_frame(0, 8), PROTOCOL),
    "6.4 RST_STREAM of three bytes": (headers(1) + frame(RST_STREAM, 0, 1, bytes(3)), SIZE),
    "6.5 SETTINGS of a stream": (frame(SETTINGS, 0, 1), PROTOCOL),
    "6.5 SETTINGS of five bytes": (frame(SETTINGS, 0, 0, bytes(5)), SIZE),
    "6.5 an acknowledgement with settings": (frame(SETTINGS, ACK, 0, bytes(6)), SIZE),
    "6.5.2 a push neither allowed nor not": (settings_frame({Setting.ENABLE_PUSH: 2}), PROTOCOL),
    "6.5.2 an initial window too large": (settings_frame({Setting.INITIAL_WINDOW_SIZE: 1 << 31}), FLOW),
    "6.5.2 a largest frame too small": (settings_frame({Setting.MAX_FRAME_SIZE: 16_383}), PROTOCOL),
    "6.5.2 a largest frame too large": (settings_frame({Setting.MAX_FRAME_SIZE: 1 << 24}), PROTOCOL),
    "6.6 PUSH_PROMISE of a client": (headers(1) + frame(PUSH_PROMISE, 4, 1, bytes(4)), PROTOCOL),
    "6.7 PING of a stream": (frame(PING, 0, 1, bytes(8)), PROTOCOL),
    "6.7 PING of seven bytes": (frame(PING, 0, 0, bytes(7)), SIZE),
    "6.8 GOAWAY of a stream": (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "6.8 GOAWAY of seven bytes": (frame(GOAWAY, 0, 0, bytes(7)), SIZE),
    "6.9 WINDOW_UPDATE of three bytes": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
    "6.9 a window of the connection that grows by nothing": (window_update(0, 0), PROTOCOL),
    "6.9 the same with the reserved bit": (frame(WINDOW_UPDATE, 0, 0, b"\x80\0\0\0"), PROTOCOL),
    "6.9.1 a window of the connection too large": (window_update(0, LARGEST_WINDOW), FLOW),
    "6.9.2 a stream's window made too large by settings": (
        headers(1) + window_update(1, LARGEST_WINDOW - 65_535) + settings_frame({Setting.INITIAL_WINDOW_SIZE: 65_536}),
        FLOW,
    ),
    "6.10 CONTINUATION of nothing": (headers(1) + frame(CONTINUATION, END_HEADERS, 1), PROTOCOL),
    "6.10 CONTINUATION of the connection": (frame(CONTINUATION, END_HEADERS, 0), PROTOCOL),
    "6.10 CONTINUATION of another stream": (BEGUN + frame(CONTINUATION, END_HEADERS, 3), PROTOCOL),
}

# What resets stream 1 of a server, and no more than that.
RESETS_A_STREAM = {
    "5.1 DATA after the end": (headers(1, end_stream=True) + data(1), CLOSED),
    "5.1 trailers after the end": (headers(1, end_stream=True) + headers(1, TRAILERS, end_stream=True), CLOSED),
    "6.9 a window that grows by nothing": (headers(1) + window_update(1, 0), PROTOCOL),
    "6.9.1 a window too large": (headers(1) + window_update(1, LARGEST_WINDOW), FLOW),
    "6.9.1 DATA beyond the window": (headers(1) + data(1, bytes(1_000)), FLOW),
    "8.1 trailers that end nothing": (headers(1) + headers(1, TRAILERS), PROTOCOL),
    "8.1 a second request": (headers(1) + headers(1, REQUEST, end_stream=True), PROTOCOL),
    "8.1.1 less than the content's length": (
        headers(1, REQUEST + encode([(b"content-length", b"5")])) + data(1, end_stream=True),
        PROTOCOL,
    ),
    "8.1.1 more than the content's length": (
        headers(1, REQUEST + encode([(b"content-length", b"3")])) + data(1),
        PROTOCOL,
    ),
    "8.1.1 a length without content": (
        headers(1, REQUEST + encode([(b"content-length", b"3")]), end_stream=True),
        PROTOCOL,
    ),
    "8.1.1 trailers before the content's end": (
        headers(1, REQUEST + encode([(b"content-length", b"3")])) + headers(1, TRAILERS, end_stream=True),
        PROTOCOL,
    ),
}

# What breaks no rule, or only one that may be let pass.
LET_PASS = {
    "4.1 an unknown frame": frame(0xBB, 0xFF, 7, b"?"),
    "4.1 flags that mean nothing": frame(PING, 0xFE, 0, bytes(8)),
    "4.1 the reserved bit": frame(DATA, 0, 1 << 31 | 1, b"data"),
    "5.1 PRIORITY of an idle stream": frame(PRIORITY, 0, 99, bytes(5)),
    "5.3 a stream that depends on itself": frame(PRIORITY, 0, 1, b"\0\0\0\x01\0"),
    "6.1 an empty frame of data": data(1, b""),
    "6.1 nothing but padding": frame(DATA, PADDED, 1, b"\x04\0\0\0\0"),
    "6.5 an unknown setting": frame(SETTINGS, 0, 0, b"\xab\xcd\0\0\0\x01"),
    "6.5 the same setting again": settings_frame({Setting.MAX_FRAME_SIZE: 20_000}) * 2,
    "6.5 a server that may push": settings_frame({Setting.ENABLE_PUSH: 1}),
    "6.5 an acknowledgement of nothing": frame(SETTINGS, ACK, 0),
    "6.7 an answer to no PING": frame(PING, ACK, 0, bytes(8)),
    "6.9 the largest window": window_update(1, LARGEST_WINDOW - 65_535),
}


@pytest.mark.parametrize(("said", "code"), ENDS_A_CONNECTION.values(), ids=ENDS_A_CONNECTION)
def test_a_fault_of_the_connection_ends_it(said, code):
    core = server()
    events = core.receive(said + frame(PING, 0, 0, bytes(8)), 0.0)
    assert plain(events)[-1][:2] == ("ConnectionFailed", code)
    assert told(core)[-1] == (0, code)
    assert core.receive(headers(101), 0.0) == []
    assert core.take() == b""


@pytest.mark.parametrize(("said", "code"), RESETS_A_STREAM.values(), ids=RESETS_A_STREAM)
def test_a_fault_of_a_stream_resets_it_and_no_other(said, code):
    core = server(Limits(stream_window=999))
    events = core.receive(said, 0.0)
    assert plain(events)[-1] == ("StreamReset", 1, code, False)
    assert told(core) == [(1, code)]
    assert core.streams == {}
    assert plain(core.receive(headers(3), 0.0)) == [("HeadersReceived", 3, REQUEST_FIELDS, False)]


@pytest.mark.parametrize("said", LET_PASS.values(), ids=LET_PASS)
def test_what_may_be_let_pass_is(said):
    core = server()
    core.receive(headers(1) + said, 0.0)
    assert told(core) == []
    assert 1 in core.streams


@pytest.mark.parametrize("kind", range(10))
def test_the_first_frame_is_settings(kind):
    for is_client, opening in ((False, PREFACE), (True, b"")):
        core = Connection(is_client=is_client)
        core.start()
        core.receive(opening + frame(kind, ACK if kind == SETTINGS else 0, 0), 0.0)
        assert told(core) == [(0, PROTOCOL)]


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n", PREFACE[:-1] + b"?", b"\0", CLIENT_OPENING[1:]])
def test_who_does_not_begin_as_a_client_is_told(said):
    core = Connection(is_client=False)
    core.start()
    core.receive(said, 0.0)
    assert told(core) == [(0, PROTOCOL)]


def test_a_client_s_preface_is_no_server_s():
    core = Connection(is_client=True)
    core.receive(PREFACE, 0.0)
    assert core.failed


# Frames of a server, on stream 1 that the client has begun, with the request whole or not.
TO_A_CLIENT = {
    "5.1 DATA before HEADERS": (data(1), (1, PROTOCOL)),
    "5.1 HEADERS of an idle stream": (headers(3, RESPONSE), (0, PROTOCOL)),
    "5.1 HEADERS of a stream of the server's": (headers(2, RESPONSE), (0, PROTOCOL)),
    "5.1 DATA after the end": (headers(1, RESPONSE, end_stream=True) + data(1), (1, CLOSED)),
    "6.5.2 a server that lets itself be pushed": (settings_frame({Setting.ENABLE_PUSH: 1}), (0, PROTOCOL)),
    "6.6 PUSH_PROMISE": (frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + REQUEST), (0, PROTOCOL)),
    "8.1 early HEADERS that end": (headers(1, encode([(b":status", b"103")]), end_stream=True), (1, PROTOCOL)),
    "8.1 a second response": (headers(1, RESPONSE) + headers(1, RESPONSE, end_stream=True), (1, PROTOCOL)),
    "8.1.1 a length not kept": (
        headers(1, RESPONSE + encode([(b"content-length", b"1")])) + data(1, b"", end_stream=True),
        (1, PROTOCOL),
    ),
}


@pytest.mark.parametrize(("said", "fault"), TO_A_CLIENT.values(), ids=TO_A_CLIENT)
def test_a_server_s_fault_is_told(said, fault):
    core = client()
    called(core)
    core.receive(said, 0.0)
    assert told(core) == [fault]


def closed_by_both() -> Connection:
    core = server()
    core.receive(headers(1, end_stream=True), 0.0)
    core.respond(core.streams[1], ANSWER, b"")
    core.take()
    return core


@pytest.mark.parametrize("said", [data(1), headers(1, TRAILERS, end_stream=True)], ids=["DATA", "HEADERS"])
def test_what_comes_after_both_ends_is_a_fault(said):
    core = closed_by_both()
    core.receive(said, 0.0)
    assert told(core) == [(0, CLOSED)]


@pytest.mark.parametrize("said", [window_update(1, 9_999), reset_frame(1, 8), frame(PRIORITY, 0, 1, bytes(5))])
def test_what_may_cross_the_end_is_let_pass(said):
    core = closed_by_both()
    assert core.receive(said, 0.0) == []
    assert told(core) == []


METHOD, SCHEME, PATH, AUTHORITY = REQUEST_FIELDS
MALFORMED_REQUESTS = {
    "8.2.1 a name in upper case": (*REQUEST_FIELDS, (b"Name", b"")),
    "8.2.1 a name with a space": (*REQUEST_FIELDS, (b"na me", b"")),
    "8.2.1 a name with a colon": (*REQUEST_FIELDS, (b"na:me", b"")),
    "8.2.1 a name beyond ASCII": (*REQUEST_FIELDS, ("näme".encode(), b"")),
    "8.2.1 a name of nothing": (*REQUEST_FIELDS, (b"", b"value")),
    "8.2.1 a name with a line's end": (*REQUEST_FIELDS, (b"name\n", b"value")),
    "8.2.1 a value with a line's end": (*REQUEST_FIELDS, (b"name", b"a\nb")),
    "8.2.1 a value with a return": (*REQUEST_FIELDS, (b"name", b"a\r")),
    "8.2.1 a value with a zero byte": (*REQUEST_FIELDS, (b"name", b"\0")),
    "8.2.1 a pseudo-header with a zero byte": (METHOD, SCHEME, (b":path", b"/\0")),
    "8.2.1 a long value with a zero byte": (*REQUEST_FIELDS, (b"name", b"v" * 1_000 + b"\0")),
    "8.2.2 connection": (*REQUEST_FIELDS, (b"connection", b"close")),
    "8.2.2 proxy-connection": (*REQUEST_FIELDS, (b"proxy-connection", b"close")),
    "8.2.2 keep-alive": (*REQUEST_FIELDS, (b"keep-alive", b"1")),
    "8.2.2 transfer-encoding": (*REQUEST_FIELDS, (b"transfer-encoding", b"chunked")),
    "8.2.2 upgrade": (*REQUEST_FIELDS, (b"upgrade", b"h2c")),
    "8.2.2 te": (*REQUEST_FIELDS, (b"te", b"gzip")),
    "8.3 a pseudo-header after a field": (METHOD, SCHEME, (b"a", b"b"), PATH),
    "8.3 an unknown pseudo-header": (*REQUEST_FIELDS, (b":protocol", b"websocket")),
    "8.3 a response's pseudo-header": (*REQUEST_FIELDS, (b":status", b"200")),
    "8.3 a pseudo-header twice": (*REQUEST_FIELDS, AUTHORITY),
    "8.3.1 no method": (SCHEME, PATH),
    "8.3.1 no scheme": (METHOD, PATH),
    "8.3.1 no path": (METHOD, SCHEME),
    "8.3.1 an empty path": (METHOD, SCHEME, (b":path", b"")),
    "8.3.1 nothing": (),
    "8.1.1 a length that is none": (*REQUEST_FIELDS, (b"content-length", b"-1")),
    "8.1.1 a length of nothing": (*REQUEST_FIELDS, (b"content-length", b"")),
    "8.1.1 a length with a line's end": (*REQUEST_FIELDS, (b"content-length", b"1\n")),
    "8.1.1 a length of thousands of digits": (*REQUEST_FIELDS, (b"content-length", b"9" * 5_000)),
    "8.1.1 two lengths": (*REQUEST_FIELDS, (b"content-length", b"1"), (b"content-length", b"2")),
}
MALFORMED_RESPONSES = {
    "8.3 a request's pseudo-header": (*RESPONSE_FIELDS[:1], (b":path", b"/")),
    "8.3.2 no status": RESPONSE_FIELDS[1:],
    "8.3.2 a status twice": (*RESPONSE_FIELDS[:1], *RESPONSE_FIELDS),
    "8.3.2 a status that is none": ((b":status", b"abc"),),
    "8.3.2 a status of four digits": ((b":status", b"1000"),),
    "8.2.2 transfer-encoding": (*RESPONSE_FIELDS, (b"transfer-encoding", b"chunked")),
}
MALFORMED_TRAILERS = {
    "8.1 a pseudo-header": (*TRAILER_FIELDS, (b":status", b"200")),
    "8.2.1 a name in upper case": ((b"Grpc-Status", b"0"),),
    "8.2.2 connection": ((b"connection", b"close"),),
}


def raw(fields: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """A block that says even what no encoder of ours would."""
    return b"".join(b"\0" + b"".join(length(text) + text for text in field) for field in fields)


def length(text: bytes) -> bytes:
    rest = len(text) - 127
    return bytes([len(text)]) if rest < 0 else bytes([127, rest & 127 | 128, rest >> 7])


@pytest.mark.parametrize("fields", MALFORMED_REQUESTS.values(), ids=MALFORMED_REQUESTS)
def test_a_malformed_request_is_reset_each_time(fields):
    core = server()
    core.receive(headers(1, raw(fields)) + headers(3, raw(fields), end_stream=True), 0.0)
    assert told(core) == [(1, PROTOCOL), (3, PROTOCOL)]


@pytest.mark.parametrize("fields", MALFORMED_RESPONSES.values(), ids=MALFORMED_RESPONSES)
def test_a_malformed_response_is_reset(fields):
    core = client()
    called(core)
    core.receive(headers(1, raw(fields)), 0.0)
    assert told(core) == [(1, PROTOCOL)]


@pytest.mark.parametrize("fields", MALFORMED_TRAILERS.values(), ids=MALFORMED_TRAILERS)
def test_malformed_trailers_are_reset(fields):
    core = client()
    called(core)
    core.receive(headers(1, RESPONSE) + headers(1, raw(fields), end_stream=True), 0.0)
    assert told(core) == [(1, PROTOCOL)]
