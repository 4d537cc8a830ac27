"""Whether a block of header fields may be what it claims to be (RFC 9113, section 8)."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from wire.hpack.static import Field

Fields = tuple[Field, ...]

REQUEST_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})
REQUEST_NEEDED = frozenset({b":method", b":scheme", b":path"})
RESPONSE_PSEUDO = frozenset({b":status"})
OF_THE_CONNECTION = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
NAME = re.compile(rb":?[!#$%&'*+.^_`|~0-9a-z-]+")
STATUS = re.compile(rb"[0-9]{3}")
LENGTH = re.compile(rb"[0-9]{1,18}")  # Python reads no number of thousands of digits
VALUE = re.compile(rb"[^\0\r\n]*")  # spaces around a value are let pass, because gRPC's own clients send them

PSEUDO_FIELDS = 4  # of nearly every request
KNOWN_LIMIT = 4_096  # fields that are remembered to be in order, and as many heads of requests
KNOWN_LENGTH = 256  # of names and values: remembering longer ones would take much memory
known_heads: set[Fields] = set()
known_fields: set[Field] = set()


class Verdict(Struct, frozen=True, gc=False):
    """`fault` is "" where there is none. `content_length` is None where it is not said."""

    fault: str
    content_length: int | None = None
    informational: bool = False


GOOD = Verdict("")


def request_verdict(fields: Fields) -> Verdict:
    """Most requests begin with four pseudo-headers that have come before, and differ from the last in one field."""
    head = fields[:PSEUDO_FIELDS]
    if head in known_heads:
        for field in fields[PSEUDO_FIELDS:]:
            if field not in known_fields and not is_plain(field):
                break
        else:
            return GOOD
    found = verdict(fields, REQUEST_PSEUDO, REQUEST_NEEDED)
    if not found.fault and len(head) == PSEUDO_FIELDS and all(name[:1] == b":" for name, _ in head):
        remember(known_heads, head, sum(len(name) + len(value) for name, value in head))
    return found


def is_plain(field: Field) -> bool:
    """Whether a field is in order wherever it stands behind the pseudo-headers, and says nothing of the stream."""
    name, value = field
    if name[:1] == b":" or name == b"content-length" or field_fault(field):
        return False
    remember(known_fields, field, len(name) + len(value))
    return True


def remember(known: set[Any], what: Any, size: int) -> None:
    """A full set starts again: what matters comes again soon. Large ones are not worth their memory."""
    if size <= KNOWN_LENGTH:
        if len(known) >= KNOWN_LIMIT:
            known.clear()
        known.add(what)


def response_verdict(fields: Fields) -> Verdict:
    return verdict(fields, RESPONSE_PSEUDO, RESPONSE_PSEUDO)


def trailers_verdict(fields: Fields) -> Verdict:
    return verdict(fields, frozenset(), frozenset())


def verdict(fields: Fields, allowed: frozenset[bytes], needed: frozenset[bytes]) -> Verdict:
    """What is wrong with a block, and what it says of the stream."""
    seen: list[bytes] = []
    content_length: int | None = None
    informational = in_regular = False
    for field in fields:
        name, value = field
        if name[:1] == b":":
            if in_regular or name in seen or name not in allowed:
                return Verdict(f"the pseudo-header {name!r} is out of place")
            seen.append(name)
            informational = informational or (name == b":status" and value[:1] == b"1")
        else:
            in_regular = True
            if name == b"content-length":
                if not LENGTH.fullmatch(value) or content_length not in (None, int(value)):
                    return Verdict("content-length is no length")
                content_length = int(value)
        fault = field_fault(field)
        if fault:
            return Verdict(fault)
    if not needed.issubset(seen):
        return Verdict(f"{sorted(needed.difference(seen))[0]!r} is missing")
    return Verdict("", content_length, informational) if informational or content_length is not None else GOOD


def field_fault(field: Field) -> str:
    name, value = field
    if not NAME.fullmatch(name):
        return f"{name!r} is no name of a field"
    if name in OF_THE_CONNECTION or (name == b"te" and value != b"trailers"):
        return f"{name!r} has no place in HTTP/2"
    if not VALUE.fullmatch(value) or (name == b":status" and not STATUS.fullmatch(value)):
        return f"the value of {name!r} is malformed"
    if name == b":path" and not value:
        return f"{name!r} is empty"
    return ""
