"""A call: one request on its way through the bridge, and the edge that answers it whatever happens.

Every request is answered within 5 s. An order is valid for 4.5 s from its arrival, so that the engine itself refuses
what comes too late; the gRPC call is given up a little later, and the whole request at 4.8 s. By then the bridge says
what it knows: `not_executed` if it had not asked the engine yet, `unknown` if it had.

Authentication comes before syntax. The gateway alone knows the keys: when the bridge finds fault with a request by
itself, it asks the gateway about the key first, so that a stranger learns nothing but that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

import structlog
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response

from outcry import AsyncClient
from outcry.errors import ExchangeError, NotFound, OutcomeUnknown, Unauthenticated
from rest_bridge.answers import STATUS_OF, TIMEOUT_MS, fresh_request_id, fresh_support_reference, refusal
from rest_bridge.bodies import (
    TEXT_LIMIT,
    Body,
    Fields,
    NotAWord,
    invalid,
    parse_object,
    read_content,
    read_fields,
    read_query,
    shorten,
    text,
)

VALID_FOR_NS = 4_500_000_000
ASK_TIMEOUT_S = 4.7
GIVE_UP_S = 4.8
BODY_S = 4.0  # for a body to arrive; what is left is for asking about the key
NAMING_S = 1.0  # for a body that is read only for its request id
KEY_LIMIT = 256  # characters
TOO_LATE = "Order processing exceeded time limit"
AWAY = "The exchange is not available"
FAILED = "Internal system error during order processing"

log = structlog.get_logger()

Also = Callable[[ExchangeError], Mapping[str, Any] | None]


class Call:
    """Who asks, under which request id, and until when. `order_id` is echoed in an error."""

    def __init__(self, client: AsyncClient, request: Request) -> None:
        self.anonymous = client
        self.request = request
        self.request_id = name_of(request)
        self.valid_until_ns = time.time_ns() + VALID_FOR_NS
        self.order_id: str | None = None
        self.client_order_id: str | None = None
        self.query: dict[str, str] = {}
        self.client = client
        self.has_key = False
        self.has_asked = False
        self.has_read = False

    @property
    def exchange(self) -> AsyncClient:
        """The client, about to be asked something under the caller's key."""
        self.has_asked = True
        return self.client

    def require_key(self) -> None:
        """Take the key. Unauthenticated where there is none, or none that could be one."""
        key = self.request.headers.get("x-api-key", "")
        if not could_be_key(key):
            raise Unauthenticated("UNAUTHENTICATED", "A valid API key is needed")
        self.client = self.anonymous.with_key(key)
        self.has_key = True

    def header(self, name: str) -> str | None:
        """A header's text, None where there is none. InvalidRequest for one that is empty or too long."""
        value = self.request.headers.get(name)
        if value is None:
            return None
        try:
            return text(value)
        except NotAWord as misfit:
            raise invalid(name, str(misfit)) from None

    async def body(self, fields: Fields, required: tuple[str, ...] = ()) -> Body:
        """The body's fields, but for its request id, which names the call from now on."""
        return self.fields_of(await self.content(), fields, required)

    async def optional_body(self, fields: Fields) -> Body:
        """The same of a request that most often has no body at all."""
        content = await self.content()
        return self.fields_of(content, fields) if content else {}

    async def content(self) -> bytes:
        self.has_read = True
        try:
            async with asyncio.timeout(BODY_S):
                return await read_content(self.request)
        except TimeoutError:
            raise self.too_late() from None

    def fields_of(self, content: bytes, fields: Fields, required: tuple[str, ...] = ()) -> Body:
        body = parse_object(content)
        self.request_id = read_fields({"request_id": body.get("request_id")}, fields).get("request_id", self.request_id)
        values = read_fields(body, fields, required)
        values.pop("request_id", None)
        return values

    async def take_name(self) -> None:
        """Take the request id from a body that nobody has read: every answer has it. One that does not fit is none."""
        if not self.has_read and (
            "content-length" in self.request.headers or "transfer-encoding" in self.request.headers
        ):
            with suppress(TimeoutError, ClientDisconnect, ExchangeError, NotAWord):
                async with asyncio.timeout(NAMING_S):
                    self.request_id = text(parse_object(await self.content()).get("request_id"))

    async def precedent(self, error: ExchangeError) -> ExchangeError:
        """`error`, or that the key is wrong, which comes before it."""
        if self.has_key and not self.has_asked:
            try:
                await self.client.positions()  # `exchange` is for what the request itself asks
            except Unauthenticated as stranger:
                return stranger
            except ExchangeError:
                return error  # whether the key is good cannot be known now; what is wrong with the request can
        return error

    def too_late(self) -> ExchangeError:
        outcome = "unknown" if self.has_asked else "not_executed"
        kind = OutcomeUnknown if self.has_asked else ExchangeError
        return kind("PROCESSING_TIMEOUT", TOO_LATE, {"stage": "gateway", "outcome": outcome})

    def failed(self) -> ExchangeError:
        """What is told of a failure of the bridge's own; the rest is in the log, beside the reference."""
        reference = fresh_support_reference()
        log.exception("request_failed", reference=reference, request_id=self.request_id, path=self.request.url.path)
        return ExchangeError("INTERNAL_ERROR", FAILED, {"support_reference": reference, "stage": "gateway"})

    def complete(self, error: ExchangeError) -> ExchangeError:
        """`error` with the details that its code promises, and the way to ask where the outcome is unknown."""
        if error.code not in STATUS_OF:
            error = ExchangeError("INTERNAL_ERROR", FAILED, error.details)
        details = error.details
        if error.code == "SERVICE_UNAVAILABLE":
            error.message = AWAY
        if error.code == "PROCESSING_TIMEOUT":
            error.message = TOO_LATE
            details.update(timeout_ms=TIMEOUT_MS)
        if error.code in ("PROCESSING_TIMEOUT", "INTERNAL_ERROR"):
            details.setdefault("stage", "gateway")
        if STATUS_OF[error.code] >= 500:
            details.setdefault("outcome", "unknown" if is_unknown(error) and self.has_asked else "not_executed")
        if error.code == "INTERNAL_ERROR":
            keep_inside(error, request_id=self.request_id)
        if details.get("outcome") == "unknown" and self.client_order_id:
            details["client_order_id"] = self.client_order_id
        return error


Handler = Callable[[Call], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


def name_of(connection: HTTPConnection) -> str:
    """The request id in the header, where it can serve as one, else a fresh one."""
    name = connection.headers.get("x-request-id", "")
    return name if 1 <= len(name) <= TEXT_LIMIT else fresh_request_id()


def nothing_at(connection: HTTPConnection) -> NotFound:
    path = shorten(connection.url.path)
    return NotFound("NOT_FOUND", f"There is nothing at {path}", {"path": path})


def keep_inside(error: ExchangeError, **about: object) -> None:
    """Make what an internal error says a reference; the words go to the log beside it."""
    if "support_reference" not in error.details:
        reference = fresh_support_reference()
        log.error("engine_failed", reference=reference, words=error.message, **about)
        error.message = FAILED
        error.details["support_reference"] = reference


def could_be_key(key: str) -> bool:
    return 1 <= len(key) <= KEY_LIMIT and key.isascii() and key.isprintable()


def is_unknown(error: ExchangeError) -> bool:
    return isinstance(error, OutcomeUnknown) or error.code == "INTERNAL_ERROR"


def endpoint(
    client: AsyncClient,
    handler: Handler,
    *,
    needs_key: bool = True,
    parameters: Collection[str] | None = (),
    also: Also = lambda _: None,
) -> Endpoint:
    """`handler` behind the edge. `parameters` are those of its query, None any; `also` gives an error's fields beside
    ApiResponse's."""

    async def answer(request: Request) -> Response:
        call = Call(client, request)
        try:
            async with asyncio.timeout(GIVE_UP_S):
                response = await attempt(call, handler, needs_key, parameters)
                if call.client.rate_limits:
                    response.headers.update(call.client.rate_limits)
                return response
        except ExchangeError as found:
            error = found
        except TimeoutError:
            error = call.too_late()
        except ClientDisconnect:
            error = invalid("body", "did not arrive")  # nobody is there to read it
        except Exception:  # the edge: whatever it was, the client gets a reference and the log gets the rest
            error = call.failed()
        error = call.complete(error)
        headers = call.client.rate_limits
        return refusal(call.request_id, error, order_id=call.order_id, also=also(error), headers=headers)

    return answer


async def attempt(call: Call, handler: Handler, needs_key: bool, parameters: Collection[str] | None) -> Response:
    try:
        if needs_key:
            call.require_key()
        call.header("X-Request-Id")
        if parameters is not None:
            call.query = read_query(call.request, parameters)
        if call.request.method == "GET":
            await call.take_name()  # no query reads its body for more
        return await handler(call)
    except ExchangeError as error:
        found = await call.precedent(error)
        await call.take_name()
        raise found from None
