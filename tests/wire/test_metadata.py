"""What applications say and see, and what goes over the wire for it."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.metadata import TRANSPORT, decode_message, encode_message, from_fields, to_fields

keys = st.from_regex(r"[0-9a-z_.-]{1,12}", fullmatch=True).filter(
    lambda key: not key.endswith("-bin") and key.encode() not in TRANSPORT
)
texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)).map(lambda text: text.strip(" "))
pairs = st.tuples(keys, texts) | st.tuples(keys.map(lambda key: key + "-bin"), st.binary())


@given(st.lists(pairs))
def test_metadata_comes_as_it_was_sent(metadata: list[tuple[str, str | bytes]]):
    assert from_fields(to_fields(metadata)) == tuple(metadata)


def test_order_and_repeated_keys_hold():
    metadata = (("b", "1"), ("a", "2"), ("b", "3"))
    assert from_fields(to_fields(metadata)) == metadata


def test_a_pair_has_grpcio_s_names():
    (pair,) = from_fields([(b"k", b"v")])
    assert (pair.key, pair.value) == ("k", "v")


def test_a_request_shows_what_its_caller_said_and_not_how_it_came():
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/a/b"),
        (b":authority", b"x"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"grpc-timeout", b"5S"),
        (b"grpc-encoding", b"gzip"),
        (b"grpc-accept-encoding", b"gzip"),
        (b"content-length", b"7"),
        (b"user-agent", b"me/1"),
        (b"accept-encoding", b"gzip"),
        (b"grpc-previous-rpc-attempts", b"1"),
        (b"grpc-foo", b"1"),
    ]
    assert from_fields(fields) == (
        ("user-agent", "me/1"),
        ("accept-encoding", "gzip"),
        ("grpc-previous-rpc-attempts", "1"),
        ("grpc-foo", "1"),
    )


def test_trailers_show_no_status_but_its_details():
    fields = [(b"grpc-status", b"5"), (b"grpc-message", b"m"), (b"grpc-status-details-bin", b"AAE")]
    assert from_fields(fields) == (("grpc-status-details-bin", b"\0\1"),)


@pytest.mark.parametrize("key", ["", "UP", "sp ace", ":path", "é", "a\n", "a:b", "GRPC-X", b"a", 1])
def test_an_illegal_key_is_not_sent(key):
    with pytest.raises(ValueError, match="Illegal metadata key"):
        to_fields([(key, "x")])


@pytest.mark.parametrize("key", ["te", "content-type", "grpc-timeout", "grpc-status", "grpc-message", "connection"])
def test_a_key_of_the_transport_is_not_sent(key: str):
    with pytest.raises(ValueError, match="transport's own"):
        to_fields([(key, "x")])


def test_keys_may_hold_digits_dots_dashes_and_underscores():
    metadata = (("a.b_c-9", "x"), ("-a", "x"), ("_", "x"), ("grpc-retry-pushback-ms", "5"))
    assert from_fields(to_fields(metadata)) == metadata


@pytest.mark.parametrize("value", ["é", "x\n", "\t", "\x7f", "\0", b"\xff", 1, None])
def test_a_value_that_is_not_printable_ascii_is_not_sent_nor_told(value):
    with pytest.raises(ValueError, match=r"printable ASCII: 'secret'$"):
        to_fields([("secret", value)])


@pytest.mark.parametrize("value", ["text", bytearray(b"x"), memoryview(b"x"), None])
def test_a_binary_value_is_bytes(value):
    with pytest.raises(ValueError, match="must be bytes: 'a-bin'"):
        to_fields([("a-bin", value)])


def test_ascii_bytes_do_as_text():
    assert to_fields([("a", b"bytes"), ("b", "")]) == [(b"a", b"bytes"), (b"b", b"")]


def test_spaces_around_a_value_are_kept_as_grpcio_keeps_them():
    assert to_fields([("a", " x y ")]) == [(b"a", b" x y ")]


def test_binary_goes_out_without_padding():
    assert to_fields([("a-bin", b"\0"), ("b-bin", b""), ("c-bin", b"\0\xff\xfe")]) == [
        (b"a-bin", b"AA"),
        (b"b-bin", b""),
        (b"c-bin", b"AP/+"),
    ]


@given(st.lists(st.binary(), min_size=1), st.booleans(), st.sampled_from([b",", b", "]))
def test_binary_is_read_with_and_without_padding_and_joined(values: list[bytes], padded: bool, comma: bytes):
    digits = [base64.b64encode(value) for value in values]
    field = comma.join(digits if padded else [one.rstrip(b"=") for one in digits])
    assert from_fields([(b"a-bin", field)]) == tuple(("a-bin", value) for value in values)


@pytest.mark.parametrize("value", [b"!!!", b"A", b"AAEC AwQ=", b"A-_B", b"AA=C", b"AAEC,!", b"\xff\xff"])
def test_what_is_not_base64_is_refused_in_grpcio_s_words(value: bytes):
    with pytest.raises(ValueError, match=r"^Error parsing 'a-bin' metadata: illegal base64 encoding$"):
        from_fields([(b"a-bin", value)])


def test_text_is_utf8_or_else_latin1():
    assert from_fields([(b"k", b"a\xc3\xa9"), (b"k", b"\x80\xff")]) == (("k", "aé"), ("k", "\x80ÿ"))


@given(st.text())
def test_a_message_comes_as_it_was_sent_in_printable_ascii(message: str):
    value = encode_message(message)
    assert all(0x20 <= byte <= 0x7E for byte in value)
    assert value == value.strip(b" ")
    assert decode_message(value) == message


@given(st.binary())
def test_any_bytes_are_a_message(value: bytes):
    assert isinstance(decode_message(value), str)


def test_a_message_is_escaped_as_grpcio_does():
    message = "".join(map(chr, range(130))) + "é€😀"
    assert encode_message(message) == (
        b"%00%01%02%03%04%05%06%07%08%09%0A%0B%0C%0D%0E%0F%10%11%12%13%14%15%16%17%18%19%1A%1B%1C%1D%1E%1F"
        b" !\"#$%25&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"
        b"%7F%C2%80%C2%81%C3%A9%E2%82%AC%F0%9F%98%80"
    )


def test_spaces_around_a_message_which_http2_has_not_are_escaped():
    assert encode_message(" a b") == b"%20a%20b"
    assert encode_message("a b ") == b"a%20b%20"


def test_a_message_that_is_no_unicode_is_sent_all_the_same():
    assert encode_message("a\ud800") == b"a?"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"a%20b", "a b"),
        (b"a%2", "a%2"),
        (b"a%", "a%"),
        (b"%zz", "%zz"),
        (b"%c3%a9", "é"),
        (b"\xc3\xa9", "é"),
        (b"%ff", "ÿ"),
        (b"%E2%82", "â\x82"),
        (b"+", "+"),
        (b"", ""),
    ],
)
def test_a_message_is_read_as_grpcio_does(value: bytes, message: str):
    assert decode_message(value) == message
