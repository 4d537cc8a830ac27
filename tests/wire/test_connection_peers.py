"""The `h2` package, which nobody here wrote, as the other end: conversations made at random, echoed by the server."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from tests.wire.cores import REQUEST_FIELDS, RESPONSE_FIELDS, TRAILER_FIELDS, in_parts
from wire.connection import Connection
from wire.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    GoingAway,
    HeadersReceived,
    PingAnswered,
    StreamReset,
    TrailersReceived,
)
from wire.frames import ErrorCode
from wire.hpack import encode
from wire.hpack.static import Field
from wire.limits import Limits

Codes = h2.settings.SettingCodes
NAMES = st.from_regex(r"x-[a-z0-9-]{0,12}", fullmatch=True).map(str.encode)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60).map(str.encode)
FIELDS = st.lists(st.tuples(NAMES, VALUES | st.just(b"v" * 5_000)), max_size=5).filter(
    lambda fields: sum(len(value) for _, value in fields) < 12_000
)
SIZES = st.sampled_from([0, 1, 5, 1_000, 16_385, 40_000])
PEER_SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        Codes.INITIAL_WINDOW_SIZE: st.sampled_from([1_024, 5_000, 65_535, 1 << 20]),
        Codes.MAX_FRAME_SIZE: st.sampled_from([16_384, 20_000, 1 << 20]),
        Codes.HEADER_TABLE_SIZE: st.sampled_from([0, 50, 4_096, 65_536]),
    },
)
LIMITS = st.builds(
    Limits,
    stream_window=st.sampled_from([2_000, 65_535, 100_000]),
    connection_window=st.sampled_from([65_535, 70_000, 1 << 20]),
)


class Call(Struct):
    """What the client says in one call: fields, messages of these sizes, and trailers or none."""

    fields: list[Field]
    sizes: list[int]
    trailers: list[Field]
    padding: int | None


CALLS = st.lists(
    st.builds(
        Call, FIELDS, st.lists(SIZES, max_size=3), st.just([]) | FIELDS, st.none() | st.sampled_from([0, 1, 255])
    ),
    min_size=1,
    max_size=3,
)


class Heard:
    """What one end has heard of the other's streams."""

    def __init__(self) -> None:
        self.heads: dict[int, list[Field]] = {}
        self.bodies: defaultdict[int, bytes] = defaultdict(bytes)
        self.trailers: dict[int, list[Field]] = {}
        self.ended: set[int] = set()


class Peer:
    """h2, with what its user has to do: keep to the windows, and give them back."""

    def __init__(self, *, is_client: bool, echoes: bool) -> None:
        config = h2.config.H2Configuration(client_side=is_client, header_encoding=False)
        self.h2 = h2.connection.H2Connection(config)
        self.heard = Heard()
        self.echoes = echoes
        self.outbox: dict[int, bytearray] = {}
        self.endings: dict[int, list[Field]] = {}
        self.padding: int | None = None
        self.h2.initiate_connection()

    def receive(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            self.hear(event)
        self.flush()

    def hear(self, event: Any) -> None:
        match event:
            case h2.events.RequestReceived() | h2.events.ResponseReceived():
                self.heard.heads[event.stream_id] = [*event.headers]
                if self.echoes:
                    extra = [field for field in event.headers if field[0].startswith(b"x-")]
                    self.h2.send_headers(event.stream_id, [*RESPONSE_FIELDS, *extra])
                    self.outbox[event.stream_id] = bytearray()
            case h2.events.DataReceived():
                self.heard.bodies[event.stream_id] += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if self.echoes:
                    self.outbox[event.stream_id] += event.data
            case h2.events.TrailersReceived():
                self.heard.trailers[event.stream_id] = [*event.headers]
            case h2.events.StreamEnded():
                self.heard.ended.add(event.stream_id)
                if self.echoes:
                    extra = self.heard.trailers.get(event.stream_id, [])
                    self.endings[event.stream_id] = [*TRAILER_FIELDS, *extra]
            case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                pytest.fail(f"{event}")

    def flush(self) -> None:
        for stream_id, waiting in [*self.outbox.items()]:
            pad = self.padding
            taken = 0 if pad is None else pad + 1
            while waiting:
                room = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size) - taken
                if room <= 0:
                    break
                self.h2.send_data(stream_id, bytes(waiting[:room]), pad_length=pad)
                del waiting[:room]
            if not waiting and stream_id in self.endings:
                ending = self.endings.pop(stream_id)
                del self.outbox[stream_id]
                if ending:
                    self.h2.send_headers(stream_id, ending, end_stream=True)
                else:
                    self.h2.end_stream(stream_id)


class Ours:
    """Our core, with what a layer above it does."""

    def __init__(self, core: Connection, *, echoes: bool) -> None:
        self.core = core
        self.echoes = echoes
        self.heard = Heard()
        self.others: list[Event] = []

    def receive(self, data: bytes, now: float) -> None:
        for event in in_parts(self.core.receive(data, now)):
            self.hear(event)

    def hear(self, event: Event) -> None:
        heard, core = self.heard, self.core
        match event:
            case HeadersReceived(stream, block, _):
                heard.heads[stream.id] = [*block.fields]
                if self.echoes:
                    extra = [field for field in block.fields if field[0].startswith(b"x-")]
                    core.send_headers(stream, encode([*RESPONSE_FIELDS, *extra]))
            case DataReceived(stream, data, size, _):
                heard.bodies[stream.id] += data
                if size:
                    core.consumed(stream, size)
                if self.echoes:
                    core.send_data(stream, data)
            case TrailersReceived(stream, block):
                heard.trailers[stream.id] = [*block.fields]
            case StreamReset() | ConnectionFailed():
                pytest.fail(f"{event}")
            case _:
                self.others.append(event)
        if isinstance(event, TrailersReceived) or getattr(event, "end_stream", False):
            heard.ended.add(event.stream.id)
            if self.echoes:
                extra = heard.trailers.get(event.stream.id, [])
                core.send_headers(event.stream, encode([*TRAILER_FIELDS, *extra]), end_stream=True)


class Between:
    """Bytes to and fro, in pieces of a size; each step a second, so that no budget runs out."""

    def __init__(self, ours: Ours, peer: Peer, piece: int) -> None:
        self.ours, self.peer, self.piece, self.now = ours, peer, piece, 0.0

    def carry(self) -> None:
        while (to_peer := self.ours.core.take()) or (to_us := self.peer.h2.data_to_send()):
            if to_peer:
                self.peer.receive(to_peer)
                to_us = self.peer.h2.data_to_send()
            for at in range(0, len(to_us), self.piece):
                self.now += 1
                self.ours.receive(to_us[at : at + self.piece], self.now)


def judge(said: dict[int, Call], server_heard: Heard, client_heard: Heard) -> None:
    """The server has heard the calls, and the client their echo."""
    assert server_heard.ended == client_heard.ended == said.keys()
    for stream_id, call in said.items():
        body = b"".join(bytes([at + 1]) * size for at, size in enumerate(call.sizes))
        assert server_heard.heads[stream_id] == [*REQUEST_FIELDS, *call.fields]
        assert client_heard.heads[stream_id] == [*RESPONSE_FIELDS, *call.fields]
        assert server_heard.bodies[stream_id] == client_heard.bodies[stream_id] == body
        assert server_heard.trailers.get(stream_id, []) == call.trailers
        assert client_heard.trailers[stream_id] == [*TRAILER_FIELDS, *call.trailers]


PIECES = st.sampled_from([100, 1 << 20])


@given(CALLS, st.lists(PEER_SETTINGS, max_size=3), LIMITS, PIECES, st.booleans())
@settings(max_examples=25, deadline=None)
def test_h2_s_client_and_our_server(calls, changes, limits, piece, at_once):
    core = Connection(is_client=False, limits=limits)
    core.start()
    between = Between(Ours(core, echoes=True), peer := Peer(is_client=True, echoes=False), piece)
    said = {}
    for at, call in enumerate(calls):
        if at < len(changes):
            # h2 takes one acknowledgement for all settings on their way, and stalls where they shrink a window in use.
            between.carry()
            peer.h2.update_settings(changes[at])
            between.carry()
        stream_id = peer.h2.get_next_available_stream_id()
        said[stream_id] = call
        peer.padding = call.padding
        peer.h2.send_headers(stream_id, [*REQUEST_FIELDS, *call.fields])
        peer.outbox[stream_id] = bytearray().join(bytes([i + 1]) * size for i, size in enumerate(call.sizes))
        peer.endings[stream_id] = call.trailers
        peer.flush()
        if not at_once:
            between.carry()
    between.carry()
    judge(said, between.ours.heard, peer.heard)
    assert core.streams == {}


@given(CALLS, st.lists(PEER_SETTINGS, max_size=3), LIMITS, PIECES, st.booleans())
@settings(max_examples=25, deadline=None)
def test_our_client_and_h2_s_server(calls, changes, limits, piece, at_once):
    core = Connection(is_client=True, limits=limits)
    core.start()
    between = Between(Ours(core, echoes=False), peer := Peer(is_client=False, echoes=True), piece)
    said = {}
    for at, call in enumerate(calls):
        if at < len(changes):
            # h2 takes one acknowledgement for all settings on their way, and stalls where they shrink a window in use.
            between.carry()
            peer.h2.update_settings(changes[at])
            between.carry()
        stream = core.open_stream()
        said[stream.id] = call
        core.send_headers(stream, encode([*REQUEST_FIELDS, *call.fields]))
        for place, size in enumerate(call.sizes):
            core.send_data(stream, bytes([place + 1]) * size)
        if call.trailers:
            core.send_headers(stream, encode(call.trailers), end_stream=True)
        else:
            core.send_data(stream, b"", end_stream=True)
        if not at_once:
            between.carry()
    between.carry()
    judge(said, peer.heard, between.ours.heard)
    assert core.streams == {}


def wired_to_h2(core: Connection) -> tuple[Between, list[Any]]:
    """The peer's events are collected instead of judged."""
    peer = Peer(is_client=not core.is_client, echoes=False)
    events: list[Any] = []
    peer.hear = events.append  # type: ignore[method-assign]
    ours = Ours(core, echoes=False)
    ours.hear = ours.others.append  # type: ignore[method-assign]
    between = Between(ours, peer, 1 << 20)
    between.carry()
    return between, events


def test_h2_is_pinged_reset_and_told_goodbye():
    core = Connection(is_client=True)
    core.start()
    between, events = wired_to_h2(core)
    stream = core.open_stream()
    core.send_headers(stream, encode(REQUEST_FIELDS))
    core.ping(b"are you?")
    between.carry()
    assert any(isinstance(event, PingAnswered) for event in between.ours.others)
    core.reset(stream, ErrorCode.CANCEL)
    core.go_away(0, ErrorCode.NO_ERROR, b"bye")
    between.carry()
    reset = next(event for event in events if isinstance(event, h2.events.StreamReset))
    assert (reset.stream_id, reset.error_code) == (1, ErrorCode.CANCEL)
    assert events[-1].additional_data == b"bye"


def test_h2_resets_pings_and_goes():
    core = Connection(is_client=False)
    core.start()
    between, _ = wired_to_h2(core)
    peer = between.peer.h2
    peer.send_headers(1, REQUEST_FIELDS)
    peer.ping(b"are you?")
    peer.reset_stream(1, ErrorCode.CANCEL)
    peer.close_connection(ErrorCode.NO_ERROR, b"bye")
    between.ours.receive(peer.data_to_send(), 1.0)
    assert isinstance(between.ours.others[-1], GoingAway)
    assert isinstance(between.ours.others[-2], StreamReset)
    assert core.streams == {}


@pytest.mark.parametrize("is_client", [False, True])
def test_h2_reads_our_farewell_after_a_fault(is_client):
    core = Connection(is_client=is_client)
    core.start()
    between, events = wired_to_h2(core)
    between.ours.core.receive(b"\0\0\x01\x06\0\0\0\0\0?", 1.0)
    between.peer.receive(between.ours.core.take())
    assert events[-1].error_code == ErrorCode.FRAME_SIZE_ERROR
    assert events[-1].additional_data == b"PING of a wrong size"
