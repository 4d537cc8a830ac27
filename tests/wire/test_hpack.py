"""HPACK by the book: the examples of RFC 7541, appendix C, and the rules a broken or hostile block meets."""

from __future__ import annotations

import tracemalloc

import pytest

from wire.hpack import SIZE_UPDATE_TO_ZERO, Decoder, HpackError, encode
from wire.hpack.decoder import CACHED_BLOCKS, CACHED_BYTES
from wire.hpack.huffman import decoded
from wire.hpack.static import FIELD_OVERHEAD, Field, field_size

Fields = tuple[Field, ...]


def fields(text: str) -> Fields:
    """One `name: value` a line, as the RFC prints them."""
    pairs = (line.strip().rpartition(": ") for line in text.strip().splitlines())
    return tuple((name.encode(), value.encode()) for name, _, value in pairs)


def literal(name: bytes, value: bytes, kind: int = 0x40) -> bytes:
    """A short literal, new in name: 0x40 goes into the table, 0x00 does not, 0x10 never does."""
    assert len(name) < 0x7F
    assert len(value) < 0x7F
    return bytes([kind, len(name)]) + name + bytes([len(value)]) + value


GET = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com"
REQUESTS = (
    (fields(GET), 57),
    (fields(GET + "\ncache-control: no-cache"), 110),
    (
        fields(
            ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value"
        ),
        164,
    ),
)


def pairs_of(status: str, second: int, *more: str) -> Fields:
    date = (b"date", b"Mon, 21 Oct 2013 20:13:%d GMT" % second)
    head = fields(f":status: {status}\ncache-control: private")
    location = (b"location", b"https://www.example.com")
    return (*head, date, location, *((b, c) for a in more for b, c in fields(a)))


COOKIE = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
RESPONSES = (
    (pairs_of("302", 21), 222),
    (pairs_of("307", 21), 222),
    (pairs_of("200", 22, "content-encoding: gzip", f"set-cookie: {COOKIE}"), 215),
)

PLAIN_REQUESTS = """
828684410f7777772e6578616d706c652e636f6d
828684be58086e6f2d6361636865
828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565
"""
HUFFMAN_REQUESTS = """
828684418cf1e3c2e5f23a6ba0ab90f4ff
828684be5886a8eb10649cbf
828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf
"""
PLAIN_RESPONSES = """
4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777\
772e6578616d706c652e636f6d
4803333037c1c0bf
88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a58\
4f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31
"""
HUFFMAN_RESPONSES = """
488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3
4883640effc1c0bf
88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672\
c1ab270fb5291f9587316065c003ed4ee5b1063d5007
"""


@pytest.mark.parametrize(
    ("block", "expected", "kept"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", "custom-key: custom-header", True),
        ("040c2f73616d706c652f70617468", ":path: /sample/path", False),
        ("100870617373776f726406736563726574", "password: secret", False),
        ("82", ":method: GET", False),
    ],
)
def test_each_way_to_say_a_field_c_2(block: str, expected: str, kept: bool) -> None:
    decoder = Decoder()
    assert decoder.decode(bytes.fromhex(block)).fields == fields(expected)
    assert decoder.table == (fields(expected) if kept else ())


@pytest.mark.parametrize(
    ("blocks", "expected", "table_limit"),
    [
        (PLAIN_REQUESTS, REQUESTS, 4096),
        (HUFFMAN_REQUESTS, REQUESTS, 4096),
        (PLAIN_RESPONSES, RESPONSES, 256),
        (HUFFMAN_RESPONSES, RESPONSES, 256),
    ],
    ids=["C.3", "C.4", "C.5", "C.6"],
)
def test_connections_of_three_blocks_c_3_to_c_6(
    blocks: str, expected: tuple[tuple[Fields, int], ...], table_limit: int
) -> None:
    decoder = Decoder(table_limit)
    for block, (pairs, size) in zip(blocks.split(), expected, strict=True):
        assert decoder.decode(bytes.fromhex(block)).fields == pairs
        assert decoder.size == size


def test_the_last_table_of_c_5_after_its_evictions() -> None:
    decoder = Decoder(256)
    for block in PLAIN_RESPONSES.split():
        decoder.decode(bytes.fromhex(block))
    assert decoder.table == fields(f"set-cookie: {COOKIE}\ncontent-encoding: gzip\ndate: Mon, 21 Oct 2013 20:13:22 GMT")


def test_a_number_longer_than_its_prefix_c_1() -> None:
    decoder = Decoder()
    decoder.decode(bytes.fromhex("3f9a0a"))
    assert decoder.maximum == 1337


BROKEN = {
    "no index": "800000",
    "an index beyond the table": "be",
    "a literal's name beyond the table": "7e0161",
    "an index that never ends": "ff",
    "an index out of range": "ffffffffffffff7f",
    "a number of empty continuations": "3f8080808000",
    "a literal without its name": "40",
    "a literal without its value": "400161",
    "a name that runs past the block": "40036162",
    "a value that runs past the block": "40016104616263",
    "a length out of range": "4001617fffffffff7f00",
    "Huffman: ends within a symbol": "40016181fe",
    "Huffman: eight bits of padding": "40016182f8ff",
    "Huffman: padding of zeros": "4001618118",
    "Huffman: the end-of-string symbol": "40016184ffffffff",
    "a table above its limit": "3fe21f",
    "a change of size behind a field": "8220",
    "three changes of size": "202020",
    "a change of size that never ends": "3f",
}


@pytest.mark.parametrize("block", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_block_is_refused(block: str) -> None:
    with pytest.raises(HpackError):
        Decoder().decode(bytes.fromhex(block))


def test_a_huffman_string_may_end_in_up_to_seven_ones() -> None:
    assert decoded(b"") == b""
    assert decoded(b"\x1f") == b"a"  # 00011, 111
    assert decoded(b"\xf8") == b"&"  # no padding
    assert decoded(b"\xfe\x3f") == b"!"  # 1111111000, 111111


def test_an_empty_block_has_no_fields() -> None:
    assert Decoder().decode(b"").fields == ()


def test_two_changes_of_size_may_begin_a_block_and_the_smaller_one_evicts() -> None:
    decoder = Decoder()
    decoder.decode(literal(b"a", b"1"))
    assert decoder.decode(b"\x20\x3f\xe1\x1f\x82").fields == ((b":method", b"GET"),)
    assert (decoder.table, decoder.size, decoder.maximum) == ((), 0, 4096)


def test_an_entry_larger_than_the_table_leaves_it_empty() -> None:
    decoder = Decoder(table_limit=40)
    decoder.decode(literal(b"a", b"1"))
    assert decoder.decode(literal(b"name", b"value")).fields == ((b"name", b"value"),)
    assert (decoder.table, decoder.size) == ((), 0)


def test_a_new_entry_may_take_its_name_from_the_one_it_evicts() -> None:
    decoder = Decoder(table_limit=40)
    decoder.decode(literal(b"a", b"1"))
    decoder.decode(b"\x7e\x012")
    assert decoder.table == ((b"a", b"2"),)


def test_a_table_above_4096_bytes_is_used_only_once_the_peer_asks() -> None:
    decoder = Decoder(table_limit=8192)
    assert decoder.maximum == 4096
    decoder.decode(b"\x3f\xe1\x3f")
    assert decoder.maximum == 8192


def test_a_list_of_just_the_limit_is_not_too_large() -> None:
    block = literal(b"name", b"value", kind=0)
    size = len(b"name") + len(b"value") + FIELD_OVERHEAD
    assert Decoder(list_limit=size).decode(block).fields == ((b"name", b"value"),)
    over = Decoder(list_limit=size - 1).decode(block)
    assert (over.too_large, over.fields) == (True, ())


def test_a_list_too_large_still_changes_the_table() -> None:
    decoder = Decoder(list_limit=100)
    block = decoder.decode(literal(b"a", b"1") + b"\xbe" * 50 + literal(b"b", b"2"))
    assert (block.too_large, block.fields) == (True, ())
    assert decoder.table == ((b"b", b"2"), (b"a", b"1"))
    assert decoder.decode(b"\xbe").fields == ((b"b", b"2"),)


def test_a_list_too_large_takes_no_more_memory_than_one_that_is_not() -> None:
    block = literal(b"", b"xx", kind=0) * 30_000
    decoder = Decoder()
    tracemalloc.start()
    try:
        assert decoder.decode(block).too_large
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()


def test_a_block_that_comes_again_is_the_same_object_until_the_table_changes() -> None:
    decoder = Decoder()
    block = literal(b"a", b"1", kind=0)
    first = decoder.decode(block)
    first.memo = "parsed"
    assert decoder.decode(bytes(bytearray(block))) is first
    decoder.decode(literal(b"b", b"2"))
    again = decoder.decode(block)
    assert again is not first
    assert (again.fields, again.memo) == (first.fields, None)


def test_a_block_is_read_anew_where_its_indices_have_moved() -> None:
    decoder = Decoder()
    decoder.decode(literal(b"a", b"1"))
    assert decoder.decode(b"\xbe").fields == ((b"a", b"1"),)
    decoder.decode(literal(b"b", b"2"))
    assert decoder.decode(b"\xbe").fields == ((b"b", b"2"),)


def test_a_block_that_fills_the_table_fills_it_each_time() -> None:
    decoder = Decoder()
    for _ in range(3):
        decoder.decode(literal(b"a", b"1"))
    assert decoder.table == ((b"a", b"1"),) * 3


def test_a_block_with_a_change_of_size_that_changes_nothing_is_kept() -> None:
    decoder = Decoder(table_limit=0)
    block = SIZE_UPDATE_TO_ZERO + b"\x82"
    assert decoder.decode(block) is decoder.decode(block)


@pytest.mark.parametrize("times", [1, 10])
def test_the_cache_is_bounded_in_blocks_and_in_what_they_say(times: int) -> None:
    decoder = Decoder()
    decoder.decode(literal(b"n", b"v" * 100))
    for number in range(3 * CACHED_BLOCKS):
        decoder.decode(b"\xbe" * times + literal(b"n", b"%d" % number, kind=0))
        assert len(decoder.cache) <= CACHED_BLOCKS
        said = [field for block in decoder.cache.values() for field in block.fields]
        assert sum(map(field_size, said)) == decoder.cached_bytes <= CACHED_BYTES


@pytest.mark.parametrize("list_limit", [CACHED_BYTES, 1 << 24])
def test_a_block_that_says_too_much_is_not_kept(list_limit: int) -> None:
    decoder = Decoder(list_limit=list_limit)
    decoder.decode(b"\x82" * 2_000)
    assert not decoder.cache


def test_what_is_in_the_static_table_goes_out_as_its_number() -> None:
    assert encode([(b":method", b"POST"), (b":status", b"200")]) == b"\x83\x88"
    assert encode([(b":path", b"/a"), (b"content-type", b"x")]) == b"\x04\x02/a\x0f\x10\x01x"


def test_secrets_go_out_as_never_to_be_indexed() -> None:
    assert encode([(b"authorization", b"s")]) == b"\x1f\x08\x01s"
    assert encode([(b"x-api-key", b"s")]) == b"\x10\x09x-api-key\x01s"
    assert encode([(b"x-service-key", b"s")]) == b"\x10\x0dx-service-key\x01s"


def test_the_same_fields_give_the_same_bytes_and_no_table() -> None:
    pairs = [(b":path", b"/a"), (b"grpc-timeout", b"1S"), (b"cookie", b"c")]
    decoder = Decoder(table_limit=0)
    assert encode(pairs) == encode(iter(pairs))
    assert decoder.decode(SIZE_UPDATE_TO_ZERO + encode(pairs)).fields == tuple(pairs)


def test_a_name_in_upper_case_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="upper case"):
        encode([(b"Grpc-Timeout", b"1S")])
