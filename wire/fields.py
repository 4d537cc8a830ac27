"""Whether a block of header fields may be what it claims to be (RFC 9113, section 8)."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

Fields = Sequence[tuple[bytes, bytes]]

REQUEST_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})
REQUEST_NEEDED = frozenset({b":method", b":scheme", b":path"})
RESPONSE_PSEUDO = frozenset({b":status"})
OF_THE_CONNECTION = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
NAME_BYTES = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
FORBIDDEN_IN_VALUES = (0, 10, 13)


class Verdict(Struct, frozen=True, gc=False):
    """`fault` is "" where there is none. `content_length` is None where it is not said."""

    fault: str
    content_length: int | None = None
    informational: bool = False


def request_verdict(fields: Fields) -> Verdict:
    return verdict(fields, REQUEST_PSEUDO, REQUEST_NEEDED)


def response_verdict(fields: Fields) -> Verdict:
    return verdict(fields, RESPONSE_PSEUDO, RESPONSE_PSEUDO)


def trailers_verdict(fields: Fields) -> Verdict:
    return verdict(fields, frozenset(), frozenset())


def verdict(fields: Fields, allowed: frozenset[bytes], needed: frozenset[bytes]) -> Verdict:
    """What is wrong with a block, and what it says of the stream."""
    seen: set[bytes] = set()
    content_length: int | None = None
    informational = in_regular = False
    for name, value in fields:
        if name[:1] == b":":
            if in_regular or name in seen or name not in allowed:
                return Verdict(f"the pseudo-header {name!r} is out of place")
            seen.add(name)
            informational = informational or (name == b":status" and value[:1] == b"1")
        else:
            in_regular = True
            if not name or not NAME_BYTES.issuperset(name):
                return Verdict(f"{name!r} is no name of a field")
            if name in OF_THE_CONNECTION or (name == b"te" and value != b"trailers"):
                return Verdict(f"{name!r} has no place in HTTP/2")
            if name == b"content-length":
                if not value.isdigit() or content_length not in (None, int(value)):
                    return Verdict("content-length is no length")
                content_length = int(value)
        if (
            any(byte in value for byte in FORBIDDEN_IN_VALUES)
            or value[:1] in (b" ", b"\t")
            or value[-1:] in (b" ", b"\t")
        ):
            return Verdict(f"the value of {name!r} is malformed")
    if not needed <= seen:
        return Verdict(f"{sorted(needed - seen)[0]!r} is missing")
    return Verdict("", content_length, informational)
