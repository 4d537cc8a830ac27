"""How a call ended, from what arrived."""

import pytest
from grpc import StatusCode

from wire.statuses import VALUE_OF, code_of, code_of_http, code_of_reset, status_of


def test_every_code_has_its_number():
    assert {code.value[0] for code in StatusCode} == set(range(17))
    assert all(code_of(VALUE_OF[code]) is code for code in StatusCode)
    assert VALUE_OF[StatusCode.UNAUTHENTICATED] == b"16"


@pytest.mark.parametrize("value", [b"17", b"99", b"9" * 50])
def test_a_number_that_is_no_code_is_unknown(value: bytes):
    assert code_of(value) is StatusCode.UNKNOWN


@pytest.mark.parametrize("value", [b"", b"-1", b"x", b" 5", b"5 ", b"\xb2"])
def test_what_is_no_number_is_internal(value: bytes):
    assert code_of(value) is StatusCode.INTERNAL


# As grpcio's client reads them.
HTTP = {
    400: "INTERNAL",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "UNIMPLEMENTED",
    429: "UNAVAILABLE",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "UNAVAILABLE",
}
RESET = {7: "UNAVAILABLE", 8: "CANCELLED", 11: "RESOURCE_EXHAUSTED", 12: "PERMISSION_DENIED"}


def test_http_statuses_are_read_as_grpc_s_table_says():
    assert {code_of_http(s).name for s in (100, 200, 204, 301, 405, 413, 415, 431, 499, 500, 501, 505)} == {"UNKNOWN"}
    assert {status: code_of_http(status).name for status in HTTP} == HTTP


def test_resets_are_read_as_grpc_s_table_says():
    assert {code: code_of_reset(code).name for code in range(20)} == dict.fromkeys(range(20), "INTERNAL") | RESET


def test_trailers_tell_code_and_message():
    assert status_of([(b"k", b"v"), (b"grpc-status", b"5"), (b"grpc-message", b"a%20b")]) == (
        StatusCode.NOT_FOUND,
        "a b",
    )
    assert status_of([(b"grpc-status", b"0")]) == (StatusCode.OK, "")
    assert status_of([(b"grpc-message", b"m")]) is None
