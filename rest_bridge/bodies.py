"""Bodies: JSON whatever the Content-Type says, read exactly, and refused where it does not fit.

A body is an object whose fields are named in a table beside what reads each of them. Nothing is guessed: an unknown
field, one that comes twice, a number that would lose digits or a string that is no Unicode are refused, and the refusal
names the field. `null` is as good as absent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any, NoReturn

from starlette.requests import HTTPConnection, Request

from outcry.errors import ExchangeError, InvalidRequest
from rest_bridge.decimals import NotANumber, parse_number
from rest_bridge.moments import NotAMoment, parse_moment

BODY_LIMIT = 64 * 1024  # bytes
TEXT_LIMIT = 128  # characters
SHOWN_LIMIT = 64  # characters of a client's own words in a message to it

Body = dict[str, Any]
Fields = Mapping[str, Callable[[object], object]]


class NotAWord(ValueError):
    """What stands for a word or a switch in a body and is none."""


def text(value: object) -> str:
    if not isinstance(value, str):
        raise NotAWord("is not a string")
    if not 1 <= len(value) <= TEXT_LIMIT:
        raise NotAWord(f"is not 1 to {TEXT_LIMIT} characters long")
    if not is_unicode(value):
        raise NotAWord("is not Unicode text")
    return value


def switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise NotAWord("is neither true nor false")
    return value


SUBMISSION: Fields = {
    "instrument_id": text,
    "order_type": text,
    "side": text,
    "quantity": parse_number,
    "price": parse_number,
    "time_in_force": text,
    "stop_price": parse_number,
    "stop_loss": parse_number,
    "take_profit": parse_number,
    "display_quantity": parse_number,
    "post_only": switch,
    "expires_at": parse_moment,
    "self_trade_prevention": text,
    "signal_confidence": parse_number,
    "client_order_id": text,
    "request_id": text,
}
REPLACEMENT: Fields = {"quantity": parse_number, "price": parse_number, "request_id": text}
CANCELLATION: Fields = {"request_id": text}
REGISTRATION: Fields = {"team_name": text, "role": text, "invite": text, "request_id": text}
ROTATION: Fields = {"request_id": text}
SUBSCRIPTION: Fields = {"action": text, "channel": text, "instrument_id": text, "request_id": text}


def is_unicode(value: str) -> bool:
    """Whether UTF-8 can say it: JSON's escapes can also make half of a surrogate pair."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def invalid(field: str, complaint: str) -> InvalidRequest:
    shown = shorten(field)
    return InvalidRequest("INVALID_REQUEST", f"{shown} {complaint}", {"field": shown})


def shorten(words: str) -> str:
    """A client's own words, fit to be shown to it."""
    return words[:SHOWN_LIMIT] if is_unicode(words) else ascii(words[:SHOWN_LIMIT])


def once(pairs: list[tuple[str, object]]) -> Body:
    body: Body = {}
    for name, value in pairs:
        if name in body:
            raise invalid(name, "comes more than once")
        body[name] = value
    return body


def no_constant(name: str) -> NoReturn:
    raise invalid("body", f"holds {name}, which is not JSON")


PARSER = json.JSONDecoder(object_pairs_hook=once, parse_float=Decimal, parse_constant=no_constant)


def parse_object(content: bytes | str) -> Body:
    """The JSON object in `content`, its numbers as int and Decimal. InvalidRequest for anything else."""
    try:
        body = PARSER.decode(content if isinstance(content, str) else content.decode())
    except (ValueError, ArithmeticError, RecursionError):
        raise invalid("body", "is not JSON") from None
    if not isinstance(body, dict):
        raise invalid("body", "is not a JSON object")
    return body


def read_fields(body: Body, fields: Fields, required: tuple[str, ...] = ()) -> Body:
    """The fields of `body` that are there, each as its reader in `fields` gives it. InvalidRequest names the misfit."""
    values: Body = {}
    for name, value in body.items():
        read = fields.get(name)
        if read is None:
            raise invalid(name, "is not a field of this request")
        if value is not None:
            try:
                values[name] = read(value)
            except (NotANumber, NotAMoment, NotAWord) as misfit:
                raise invalid(name, str(misfit)) from None
    for name in required:
        if name not in values:
            raise invalid(name, "is missing")
    return values


def read_query(connection: HTTPConnection, known: Collection[str]) -> dict[str, str]:
    """The query's parameters. InvalidRequest for one that is not `known` or comes twice."""
    values: dict[str, str] = {}
    for name, value in connection.query_params.multi_items():
        if name not in known:
            raise invalid(name, "is not a parameter of this request")
        if name in values:
            raise invalid(name, "is a parameter that comes more than once")
        values[name] = value
    return values


def too_large() -> ExchangeError:
    words = f"The body is larger than {BODY_LIMIT} bytes"
    return InvalidRequest("PAYLOAD_TOO_LARGE", words, {"limit_bytes": BODY_LIMIT})


async def read_content(request: Request) -> bytes:
    """The bytes of the body. PAYLOAD_TOO_LARGE as soon as it is known, before the rest is read."""
    length = request.headers.get("content-length")
    if length is not None and int(length) > BODY_LIMIT:
        raise too_large()
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > BODY_LIMIT:
            raise too_large()
    return bytes(content)
