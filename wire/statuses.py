"""How a call ended, told by what arrived: grpc-status, or where there is none an HTTP status or a reset's code.

The tables are those of gRPC's "HTTP to gRPC status code mapping" and "gRPC over HTTP/2".
"""

from collections.abc import Iterable
from typing import Final

from grpc import StatusCode

from wire.metadata import decode_message

__all__ = ["CODE_OF_HTTP", "CODE_OF_RESET", "VALUE_OF", "code_of", "code_of_http", "code_of_reset", "status_of"]

VALUE_OF: Final[dict[StatusCode, bytes]] = {code: b"%d" % code.value[0] for code in StatusCode}
CODE_OF_VALUE: Final = {value: code for code, value in VALUE_OF.items()}

CODE_OF_HTTP: Final = {
    400: StatusCode.INTERNAL,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.UNIMPLEMENTED,
    429: StatusCode.UNAVAILABLE,
    502: StatusCode.UNAVAILABLE,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.UNAVAILABLE,
}

CODE_OF_RESET: Final = {
    0x7: StatusCode.UNAVAILABLE,  # REFUSED_STREAM: nothing was done
    0x8: StatusCode.CANCELLED,  # CANCEL
    0xB: StatusCode.RESOURCE_EXHAUSTED,  # ENHANCE_YOUR_CALM
    0xC: StatusCode.PERMISSION_DENIED,  # INADEQUATE_SECURITY
}


def code_of(value: bytes) -> StatusCode:
    """Return the code that a grpc-status names: UNKNOWN for a number that is none, INTERNAL for what is no number."""
    if code := CODE_OF_VALUE.get(value):
        return code
    return StatusCode.UNKNOWN if value.isdigit() else StatusCode.INTERNAL


def code_of_http(status: int) -> StatusCode:
    """Return the code for an answer without grpc-status."""
    return CODE_OF_HTTP.get(status, StatusCode.UNKNOWN)


def code_of_reset(error_code: int) -> StatusCode:
    """Return the code for a stream that the peer reset."""
    return CODE_OF_RESET.get(error_code, StatusCode.INTERNAL)


def status_of(fields: Iterable[tuple[bytes, bytes]]) -> tuple[StatusCode, str] | None:
    """Return the code and the message that trailers (or an answer that is trailers only) tell; None without a code."""
    code, details = None, ""
    for name, value in fields:
        if name == b"grpc-status":
            code = code_of(value)
        elif name == b"grpc-message":
            details = decode_message(value)
    return None if code is None else (code, details)
