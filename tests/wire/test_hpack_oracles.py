"""HPACK against encoders and decoders nobody here wrote, and the cache against a decoder without one."""

from __future__ import annotations

import hpack
import pytest
from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.vectors import ENCODERS, PLAIN_LISTS, stories
from wire.hpack import Decoder, HpackError, encode
from wire.hpack.encoder import SECRET
from wire.hpack.encoder import integer as number
from wire.hpack.huffman import CACHED_LENGTH, decoded
from wire.hpack.static import STATIC, Field

HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
NO_LIMIT = 1 << 24

NAMES = st.sampled_from([b"a", b"grpc-timeout", b":path", b"x-api-key", b"content-type", b"te"])
VALUES = st.one_of(st.sampled_from([b"", b"1", b"/", b"v" * 200]), st.binary(max_size=40))
FIELDS = st.one_of(st.tuples(NAMES, VALUES), st.sampled_from(STATIC))
TABLE_LIMIT = 8192


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_public_vector_decodes_to_its_list(encoder: str) -> None:
    blocks = 0
    for story in stories(encoder):
        decoder = Decoder(max(table_limit or 4_096 for _, _, table_limit in story), NO_LIMIT)
        for block, fields, _ in story:
            assert decoder.decode(block).fields == fields
            blocks += 1
    assert blocks > 3_000


def test_every_public_list_comes_back_from_what_we_encode() -> None:
    for story in stories(PLAIN_LISTS):
        ours, theirs = Decoder(table_limit=0, list_limit=NO_LIMIT), hpack.Decoder(NO_LIMIT)
        for _, fields, _ in story:
            block = encode(fields)
            assert ours.decode(block).fields == fields == tuple(theirs.decode(block, raw=True))


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(0, TABLE_LIMIT),
            st.lists(st.tuples(FIELDS, st.booleans()), max_size=8),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_we_read_what_another_encoder_writes(blocks: list[tuple[int | None, list[tuple[Field, bool]], bool]]) -> None:
    encoder, decoder = hpack.Encoder(), Decoder(TABLE_LIMIT)
    for size, fields, huffman in blocks:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode([(*field, secret) for field, secret in fields], huffman=huffman)
        assert decoder.decode(block).fields == tuple(field for field, _ in fields)
        assert decoder.table == tuple(encoder.header_table.dynamic_entries)


@given(st.lists(st.lists(FIELDS, max_size=8), max_size=6))
def test_another_decoder_reads_what_we_write(lists: list[list[Field]]) -> None:
    decoder = hpack.Decoder()
    for fields in lists:
        read = list(decoder.decode(encode(fields), raw=True))
        assert read == fields
        assert not [f for f in read if f[0] in SECRET and f not in STATIC and f.indexable]
        assert not decoder.header_table.dynamic_entries


@given(st.binary(min_size=CACHED_LENGTH // 2, max_size=2 * CACHED_LENGTH) | st.binary())
def test_a_huffman_string_is_what_was_encoded(text: bytes) -> None:
    assert decoded(HUFFMAN.encode(text)) == text


def test_every_symbol_of_the_code_is_known() -> None:
    for symbol in range(256):
        assert decoded(HUFFMAN.encode(bytes([symbol]))) == bytes([symbol])


@given(st.binary(max_size=8) | st.binary(max_size=6).map(lambda text: text + b"\xff\xff"))
def test_bytes_that_are_no_huffman_string_are_refused_like_elsewhere(data: bytes) -> None:
    try:
        expected = decode_huffman(data)
    except HPACKDecodingError:
        with pytest.raises(HpackError):
            decoded(data)
    else:
        assert decoded(data) == expected


def text(value: bytes, huffman: bool) -> bytes:
    coded = HUFFMAN.encode(value) if huffman else value
    return number(0x80 if huffman else 0, 7, len(coded)) + coded


def literal(kind: tuple[int, int], index: int, name: bytes, value: bytes, huffman: bool) -> bytes:
    head = number(*kind, index)
    return head + text(value, huffman) if index else head + text(name, huffman) + text(value, huffman)


INDICES = st.integers(1, 66)
KINDS = st.sampled_from([(0x40, 6), (0x00, 4), (0x10, 4)])
INSTRUCTIONS = st.one_of(
    INDICES.map(lambda index: number(0x80, 7, index)),
    st.builds(literal, KINDS, st.just(0) | INDICES, NAMES, VALUES, st.booleans()),
)
SIZE_UPDATES = st.lists(st.sampled_from([0, 40, 100, 300, 4096]).map(lambda size: number(0x20, 5, size)), max_size=2)
BLOCKS = st.builds(
    lambda updates, instructions: b"".join([*updates, *instructions]),
    st.just([]) | SIZE_UPDATES,
    st.lists(INSTRUCTIONS, max_size=6),
)
# Few different blocks, each many times: what comes again often meets a table that has changed meanwhile.
CONNECTIONS = st.lists(BLOCKS, min_size=1, max_size=5).flatmap(
    lambda pool: st.lists(st.sampled_from(pool), min_size=1, max_size=30)
)


@settings(max_examples=300)
@given(CONNECTIONS)
def test_the_cache_is_exact_about_the_table(blocks: list[bytes]) -> None:
    cached, plain, theirs = Decoder(), Decoder(), hpack.Decoder()
    for block in blocks:
        plain.cache.clear()
        try:
            expected = plain.decode(block)
        except HpackError:
            with pytest.raises(HpackError):
                cached.decode(block)
            with pytest.raises(HPACKDecodingError):
                theirs.decode(block, raw=True)
            return
        assert cached.decode(block) == expected
        assert tuple(theirs.decode(block, raw=True)) == expected.fields
        assert (cached.table, cached.size, cached.maximum) == (plain.table, plain.size, plain.maximum)
        assert cached.table == tuple(theirs.header_table.dynamic_entries)


@settings(max_examples=500)
@given(st.lists(st.binary(max_size=60) | BLOCKS, max_size=8))
def test_no_bytes_do_worse_than_a_refusal(blocks: list[bytes]) -> None:
    decoder = Decoder(list_limit=500)
    for block in blocks:
        try:
            decoder.decode(block)
        except HpackError:
            return
        assert decoder.size == sum(len(name) + len(value) + 32 for name, value in decoder.table) <= decoder.maximum
        assert len(decoder.entries) == len(decoder.sizes)
