"""Messages come whole however their bytes are cut, and what is wrong is refused before it costs anything."""

import gzip
import tracemalloc
import zlib

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from wire.messages import Assembler, MessageError, message_bytes

LIMIT = 100
payloads = st.lists(st.binary(max_size=LIMIT), max_size=6)


def raw(body: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(body).to_bytes(4, "big") + body


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The pieces of `data` cut at `places`, empty pieces included."""
    ends = [*sorted(min(place, len(data)) for place in places), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def outcome(data: bytes, places: list[int], encoding: str = "identity") -> tuple[list[bytes], str, bool]:
    """All messages, the words of the error that ended them, and whether something is left over."""
    assembler = Assembler(LIMIT, encoding)
    messages: list[bytes] = []
    for piece in cut(data, places):
        try:
            messages += assembler.feed(piece)
        except MessageError as error:
            return messages + error.messages, error.words, False
    return messages, "", assembler.partial


def refusal(data: bytes, encoding: str = "identity") -> tuple[StatusCode, str]:
    with pytest.raises(MessageError) as caught:
        Assembler(LIMIT, encoding).feed(data)
    return caught.value.status_code, caught.value.words


def test_a_message_is_a_flag_a_length_and_a_body():
    assert message_bytes(b"hi") == b"\x00\x00\x00\x00\x02hi"
    assert message_bytes(b"") == b"\x00\x00\x00\x00\x00"


def test_gzip_is_used_only_where_it_makes_a_message_smaller():
    assert message_bytes(b"hi", gzip=True) == message_bytes(b"hi")
    packed = message_bytes(b"a" * 90, gzip=True)
    assert packed[0] == 1
    assert gzip.decompress(packed[5:]) == b"a" * 90


@given(payloads, st.lists(st.integers(0, 700), max_size=10), st.sampled_from(["identity", "gzip"]))
def test_messages_survive_any_cut(messages: list[bytes], places: list[int], encoding: str):
    data = b"".join(message_bytes(message, gzip=encoding == "gzip") for message in messages)
    assert outcome(data, places, encoding) == (messages, "", False)


def test_messages_survive_a_cut_at_every_place_and_at_all_of_them():
    messages = [b"", b"one", b"a" * LIMIT, b"", b"four"]
    data = b"".join(map(message_bytes, messages))
    for place in range(len(data) + 1):
        assert outcome(data, [place]) == (messages, "", False)
    assert outcome(data, list(range(len(data)))) == (messages, "", False)


def test_a_piece_that_looks_like_a_message_within_another_is_a_piece():
    message = b"ab" + message_bytes(b"x")
    assert outcome(message_bytes(message), [7]) == ([message], "", False)


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8), st.sampled_from(["identity", "gzip"]))
def test_what_comes_of_any_bytes_does_not_depend_on_the_cuts(data: bytes, places: list[int], encoding: str):
    assert outcome(data, places, encoding)[:2] == outcome(data, [], encoding)[:2]


@given(payloads, st.binary(min_size=1, max_size=4))
def test_what_is_whole_before_a_fault_is_told_with_it(messages: list[bytes], start: bytes):
    data = b"".join(map(message_bytes, messages)) + raw(b"", flag=2) + start
    assert outcome(data, []) == (messages, "Bad GRPC frame type 0x02", False)


@pytest.mark.parametrize("size", range(1, 8))
def test_an_unfinished_message_is_partial(size: int):
    assembler = Assembler(LIMIT)
    assert not assembler.partial
    assert assembler.feed(message_bytes(b"abc")[:size]) == []
    assert assembler.partial
    assert assembler.feed(message_bytes(b"abc")[size:]) == [b"abc"]
    assert not assembler.partial


@pytest.mark.parametrize("places", [[], [1], [5]])
def test_a_message_of_the_limit_is_taken_and_one_byte_more_is_refused_by_its_prefix(places: list[int]):
    assert outcome(message_bytes(b"a" * LIMIT), places) == ([b"a" * LIMIT], "", False)
    prefix = message_bytes(b"a" * (LIMIT + 1))[:5]
    assert outcome(prefix, places) == ([], "SERVER: Received message larger than max (101 vs. 100)", False)


def test_too_large_is_resource_exhausted_and_says_whose_limit():
    data = message_bytes(b"a" * 101)
    assert refusal(data) == (
        StatusCode.RESOURCE_EXHAUSTED,
        "SERVER: Received message larger than max (101 vs. 100)",
    )
    with pytest.raises(MessageError, match="CLIENT: Received"):
        Assembler(LIMIT, is_client=True).feed(data)


def test_a_compressed_message_without_an_encoding_is_internal():
    words = "Compression bit set but no encoding configured"
    assert refusal(raw(gzip.compress(b"hi"), flag=1)) == (StatusCode.INTERNAL, words)


def test_an_unknown_encoding_is_unimplemented_before_any_message():
    with pytest.raises(MessageError, match="'snappy'") as caught:
        Assembler(LIMIT, "snappy")
    assert caught.value.status_code is StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_an_encoding_is_used_where_the_flag_says_so(encoding: str, compress):
    data = raw(compress(b"hi"), flag=1) + raw(b"plain") + raw(b"", flag=1)
    assert Assembler(LIMIT, encoding).feed(data) == [b"hi", b"plain", b""]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"garbage", "Decompression failed due to zlib error"),
        (zlib.compress(b"hi"), "Decompression failed due to zlib error"),
        (gzip.compress(b"hi")[:-8] + bytes(8), "Decompression failed due to zlib error"),
        (gzip.compress(b"hi")[:-3], "Decompression failed due to data error"),
        (gzip.compress(b"hi") + b"junk", "Decompression failed due to not all input consumed"),
        (gzip.compress(b"hi") * 2, "Decompression failed due to not all input consumed"),
    ],
)
def test_broken_gzip_is_internal(body: bytes, words: str):
    assert refusal(raw(body, flag=1), "gzip") == (StatusCode.INTERNAL, words)


def test_a_bomb_is_refused_at_the_limit():
    fits, bomb = gzip.compress(b"a" * LIMIT), gzip.compress(b"a" * (LIMIT + 1))
    assert Assembler(LIMIT, "gzip").feed(raw(fits, flag=1)) == [b"a" * LIMIT]
    code, words = refusal(raw(bomb, flag=1), "gzip")
    assert code is StatusCode.RESOURCE_EXHAUSTED
    assert words == "SERVER: Received message larger than max (more than 100 vs. 100)"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_of_a_hundred_megabytes_takes_no_more_than_the_limit(encoding: str):
    compress = gzip.compress if encoding == "gzip" else zlib.compress
    bomb = raw(compress(bytes(100_000_000)), flag=1)
    tracemalloc.start()
    with pytest.raises(MessageError):
        Assembler(1 << 20, encoding).feed(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
