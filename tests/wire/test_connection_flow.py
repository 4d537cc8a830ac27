"""Settings that change in mid-flight, and windows: whatever their sizes, all arrives and nothing stalls."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.cores import (
    ANSWER,
    CLIENT_OPENING,
    REQUEST,
    REQUEST_FIELDS,
    RESPONSE,
    SETTINGS_ACK,
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
from wire.connection import Connection, NoStreams
from wire.events import DataReceived, TrailersReceived
from wire.frames import DATA, SETTINGS, ErrorCode, Setting, reset_frame, settings_frame, window_update
from wire.hpack import Decoder
from wire.limits import Limits
from wire.streams import Stream

# Settings


def test_a_smaller_initial_window_may_go_below_zero():
    core = client()
    stream = called(core)
    core.send_data(stream, b"x" * 65_635)
    core.take()
    assert (stream.send_window, stream.queued) == (0, 100)
    core.receive(settings_frame({Setting.INITIAL_WINDOW_SIZE: 65_525}) + window_update(0, 1_000), 0.0)
    assert stream.send_window == -10
    core.take()
    core.receive(window_update(1, 10), 0.0)
    assert core.take() == b""
    core.receive(window_update(1, 1), 0.0)
    assert core.take() == data(1, b"x")
    assert plain(core.receive(settings_frame({Setting.INITIAL_WINDOW_SIZE: 65_624}), 0.0)) == [
        ("StreamDrained", 1),
        ("SettingsReceived",),
    ]
    assert stream.queued == 0


def test_an_empty_end_waits_for_no_window():
    core = client()
    stream = called(core)
    core.send_data(stream, b"x" * 65_535)
    core.receive(settings_frame({Setting.INITIAL_WINDOW_SIZE: 0}), 0.0)
    core.take()
    core.send_data(stream, b"", end_stream=True)
    assert core.take() == data(1, b"", end_stream=True)


def test_a_larger_frame_is_used_once_it_is_allowed_and_a_smaller_one_again():
    core = client()
    stream = called(core)
    for allowed, sizes in ((16_384, [16_384, 3_616]), (20_000, [20_000]), (16_384, [16_384, 3_616])):
        core.receive(settings_frame({Setting.MAX_FRAME_SIZE: allowed}), 0.0)
        core.take()
        core.send_data(stream, bytes(20_000))
        assert [len(f.payload) for f in frames(core.take())] == sizes


def test_a_smaller_header_table_is_answered_at_the_head_of_the_next_block():
    core = client()
    core.receive(settings_frame({Setting.HEADER_TABLE_SIZE: 0}), 0.0)
    core.receive(settings_frame({Setting.HEADER_TABLE_SIZE: 4_096}), 0.0)
    core.take()
    blocks = []
    for _ in range(2):
        core.send_headers(core.open_stream(), REQUEST)
        blocks.append(frames(core.take())[0].payload)
    assert blocks == [b"\x20" + REQUEST, REQUEST]
    assert Decoder(table_limit=0).decode(blocks[0]).fields == REQUEST_FIELDS


def test_a_smaller_header_table_reaches_an_answer_in_one_piece():
    core = server()
    core.receive(headers(1, end_stream=True) + settings_frame({Setting.HEADER_TABLE_SIZE: 100}), 0.0)
    core.take()
    core.respond(core.streams[1], ANSWER, b"")
    assert [f.payload for f in frames(core.take())] == [b"\x20" + RESPONSE, b"", TRAILERS]


def test_the_peer_s_number_of_streams_is_kept():
    core = client()
    core.receive(settings_frame({Setting.MAX_CONCURRENT_STREAMS: 1}), 0.0)
    stream = called(core, end_stream=True)
    with pytest.raises(NoStreams):
        core.open_stream()
    core.receive(headers(stream.id, RESPONSE, end_stream=True), 0.0)
    assert core.open_stream().id == 3


def test_the_numbers_of_streams_run_out():
    core = client()
    core.last_opened = (1 << 31) - 3
    assert core.open_stream().id == (1 << 31) - 1
    with pytest.raises(NoStreams):
        core.open_stream()


def test_settings_smaller_than_the_defaults_hold_from_their_acknowledgement_on():
    core = Connection(is_client=False, limits=Limits(stream_window=100, connection_window=65_535))
    core.start()
    assert kinds(core) == [SETTINGS]
    events = core.receive(CLIENT_OPENING + headers(1) + data(1, bytes(16_000)) + SETTINGS_ACK, 0.0)
    assert plain(events)[-1] == ("DataReceived", 1, bytes(16_000), 16_000, False)
    core.take()
    core.receive(headers(3) + data(3, bytes(101)), 0.0)
    assert told(core) == [(3, ErrorCode.FLOW_CONTROL_ERROR)]


def test_settings_are_acknowledged_before_what_they_let_out():
    core = client()
    core.receive(window_update(0, 100_000), 0.0)
    core.send_data(called(core), bytes(100_000))
    core.take()
    core.receive(settings_frame({Setting.MAX_FRAME_SIZE: 20_000, Setting.INITIAL_WINDOW_SIZE: 100_000}), 0.0)
    assert [(frame.kind, len(frame.payload)) for frame in frames(core.take())] == [
        (SETTINGS, 0),
        (DATA, 20_000),
        (DATA, 14_465),
    ]


# Whatever the windows

STREAM_WINDOWS = st.sampled_from([1, 2, 50, 1_000, 16_383, 16_384, 65_535, 65_536, 300_000])
CONNECTION_WINDOWS = st.sampled_from([65_535, 65_536, 100_000, 1 << 20])
FRACTIONS = st.sampled_from([0.0, 0.01, 0.3, 0.5, 1.0, 1.5])


class Conversation:
    """Messages on some streams, both ways, taken at a random time in random shares."""

    def __init__(self, ours: Limits, theirs: Limits, count: int) -> None:
        self.wired = Wired(ours, theirs)
        self.pairs = [self.wired.call() for _ in range(count)]
        self.ends = {(core, pair[at].id): pair[at] for pair in self.pairs for at, core in enumerate(self.cores)}
        self.sent = {end: bytearray() for end in self.ends}
        self.got = {end: bytearray() for end in self.ends}
        self.ended: set[tuple[Connection, int]] = set()
        self.held: deque[tuple[Connection, Stream, int]] = deque()
        for _, stream in self.pairs:
            self.wired.server.send_headers(stream, RESPONSE)

    @property
    def cores(self) -> tuple[Connection, Connection]:
        return self.wired.client, self.wired.server

    def say(self, side: int, at: int, size: int) -> None:
        core, stream = self.cores[side], self.pairs[at][side]
        message = bytes([len(self.sent[core, stream.id]) % 251]) * size
        self.sent[core, stream.id] += message
        core.send_data(stream, message)

    def listen(self) -> None:
        for core, events in zip(self.cores, self.wired.deliver(), strict=True):
            for event in events:
                if isinstance(event, DataReceived):
                    self.got[core, event.stream.id] += event.data
                    if event.size:
                        self.held.append((core, event.stream, event.size))
                    if event.end_stream:
                        self.ended.add((core, event.stream.id))
                elif isinstance(event, TrailersReceived):
                    self.ended.add((core, event.stream.id))

    def consume(self, share: float) -> None:
        """The oldest that is held: all of it, or first a share."""
        core, stream, size = self.held.popleft()
        part = int(size * share) or size
        core.consumed(stream, part)
        if part < size:
            self.held.append((core, stream, size - part))

    def finish(self) -> None:
        for ours, theirs in self.pairs:
            self.wired.client.send_data(ours, b"", end_stream=True)
            self.wired.server.send_headers(theirs, TRAILERS, end_stream=True)
        self.listen()
        while self.held:
            self.consume(1.0)
            self.listen()


@given(st.data(), STREAM_WINDOWS, STREAM_WINDOWS, CONNECTION_WINDOWS, CONNECTION_WINDOWS, st.integers(1, 4))
@settings(max_examples=120, deadline=None)
def test_all_that_is_sent_arrives_and_nothing_stalls(random, ours, theirs, our_whole, their_whole, count):
    talk = Conversation(
        Limits(stream_window=ours, connection_window=our_whole),
        Limits(stream_window=theirs, connection_window=their_whole),
        count,
    )
    for _ in range(random.draw(st.integers(0, 12))):
        side = random.draw(st.integers(0, 1))
        size = int((theirs, ours)[side] * random.draw(FRACTIONS)) + random.draw(st.integers(0, 20))
        talk.say(side, random.draw(st.integers(0, count - 1)), size)
        if random.draw(st.booleans()):
            talk.listen()
        for _ in range(random.draw(st.integers(0, 3))):
            if talk.held:
                talk.consume(random.draw(st.sampled_from([0.1, 0.5, 1.0])))
    talk.finish()
    for core, other in (talk.cores, talk.cores[::-1]):
        for pair in talk.pairs:
            assert talk.sent[core, pair[0].id] == talk.got[other, pair[0].id]
            assert (core, pair[0].id) in talk.ended
        assert not core.failed
        assert (core.streams, len(core.turns)) == ({}, 0)


@given(st.lists(st.tuples(st.sampled_from(["window", "settings", "send"]), st.integers(0, 70_000)), max_size=40))
@settings(max_examples=200, deadline=None)
def test_what_is_sent_never_exceeds_the_windows_and_uses_all_of_them(steps):
    core = client()
    streams = [called(core) for _ in range(3)]
    windows, initial, whole, wanted, sent = [65_535] * 3, 65_535, 65_535, [0] * 3, [0] * 3
    for at, (step, size) in enumerate(steps):
        which = at % 3
        if step == "send":
            wanted[which] += size
            core.send_data(streams[which], bytes(size))
        elif step == "settings":
            windows = [window + size - initial for window in windows]
            initial = size
            core.receive(settings_frame({Setting.INITIAL_WINDOW_SIZE: size}), float(at))
        elif size and at % 2:
            whole += size
            core.receive(window_update(0, size), float(at))
        elif size:
            windows[which] += size
            core.receive(window_update(streams[which].id, size), float(at))
        for frame in frames(core.take()):
            if frame.stream_id:
                place = frame.stream_id // 2
                sent[place] += len(frame.payload)
                windows[place] -= len(frame.payload)
                whole -= len(frame.payload)
                assert windows[place] >= 0
        assert whole >= 0
        for place, stream in enumerate(streams):
            assert stream.queued == wanted[place] - sent[place]
            assert not stream.queued or windows[place] <= 0 or not whole


def test_streams_take_turns_at_the_connection_s_window():
    core = client()
    first = called(core)
    core.send_data(first, bytes(65_535))
    streams = [called(core) for _ in range(3)]
    for stream in streams:
        core.send_data(stream, bytes(40_000))
    core.take()
    core.receive(window_update(0, 6 * 16_384), 0.0)
    assert [frame.stream_id for frame in frames(core.take())] == [3, 5, 7, 3, 5, 7]


def test_who_waits_for_its_own_window_keeps_nobody_else_waiting():
    core = client()
    stuck = called(core)
    core.send_data(stuck, bytes(65_536))
    core.receive(window_update(0, 10), 0.0)
    core.take()
    core.send_data(called(core), b"free")
    assert core.take() == data(3, b"free")


def test_an_answer_in_one_piece_counts_for_the_stream_s_window():
    core = server()
    core.receive(settings_frame({Setting.INITIAL_WINDOW_SIZE: (1 << 31) - 1}) + headers(1), 0.0)
    core.respond(core.streams[1], ANSWER, b"answer")
    core.take()
    core.receive(window_update(1, 6), 0.0)
    assert told(core) == []


def test_streams_that_nobody_reads_leave_room_for_the_others():
    limits = Limits()
    assert limits.streams * limits.stream_window <= limits.connection_window


def test_what_was_answered_may_be_taken_back_as_often_as_one_likes():
    core = server(Limits(resets=10, reset_rate=0))
    for number in range(1, 201, 2):
        core.receive(headers(number), 0.0)
        core.send_headers(core.streams[number], RESPONSE)
        core.receive(reset_frame(number, ErrorCode.CANCEL), 0.0)
    assert not core.failed


@pytest.mark.parametrize("window", [127, 65_535, 1 << 24])
def test_who_gives_back_each_frame_at_once_is_no_nuisance(window: int) -> None:
    core = server(Limits(nuisances=4, nuisance_rate=0))
    core.receive(settings_frame({Setting.INITIAL_WINDOW_SIZE: window}) + headers(1), 0.0)
    stream, size = core.streams[1], 1 << 20
    core.take()
    core.send_data(stream, bytes(size), end_stream=True)
    received = 0
    while received < size:
        sizes = [len(said.payload) for said in frames(core.take()) if said.kind == DATA]
        assert sizes
        received += sum(sizes)
        for each in sizes:
            core.receive(window_update(0, each) + window_update(1, each), 0.0)
            assert not core.failed
