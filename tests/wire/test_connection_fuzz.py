"""Bytes that nobody meant: `receive` never raises, and what it keeps and what it answers is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.cores import REQUEST, RESPONSE, TRAILERS, frames
from tests.wire.fuzz_connection import Fuzzed
from wire.frames import PREFACE, WORD, ErrorCode, Setting, frame, settings_frame

STREAMS = st.sampled_from([0, 1, 1, 1, 2, 3, 5, 7, 1 << 31 | 1, (1 << 31) - 1])
WORDS = st.sampled_from([0, 1, 100, 65_535, (1 << 31) - 1, (1 << 32) - 1]).map(WORD.pack)
BLOCKS = st.sampled_from([REQUEST, RESPONSE, TRAILERS, REQUEST + b"\x40\x01a\x01b", b"\xbe", b"\x20" + REQUEST])
SETTINGS_FRAMES = st.dictionaries(st.sampled_from([*Setting]), st.sampled_from([0, 1, 100, 16_384, 1 << 31])).map(
    settings_frame
)
FRAMES = st.builds(
    frame,
    st.integers(0, 10),
    st.sampled_from([0, 1, 4, 5, 4, 5, 8, 0x2D]) | st.integers(0, 255),
    STREAMS,
    BLOCKS | WORDS | st.binary(max_size=40),
)
SPEECH = st.lists(FRAMES | SETTINGS_FRAMES | st.binary(max_size=12), max_size=30).map(b"".join)


@pytest.mark.parametrize("is_client", [False, True])
@given(SPEECH, st.integers(1, 200), st.booleans())
@settings(max_examples=400, deadline=None)
def test_nothing_raises_and_the_answers_are_frames(is_client, speech, piece, begins_well):
    fuzzed = Fuzzed(is_client=is_client)
    if begins_well:
        speech = (b"" if is_client else PREFACE) + settings_frame({}) + speech
    for at in range(0, len(speech), piece):
        fuzzed.receive(speech[at : at + piece])
    assert len(fuzzed.said) < 4_000 + 20 * len(speech)
    for told in frames(fuzzed.said):
        assert len(told.payload) <= 16_384
        if told.kind == 7:
            assert ErrorCode(WORD.unpack_from(told.payload, 4)[0]) in ErrorCode
