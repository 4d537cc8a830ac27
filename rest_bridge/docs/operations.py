"""What the OpenAPI page says of each call: its body, its answers for every status it can have, and an example for each
scenario of the documents."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from rest_bridge.docs import examples, models, websocket
from rest_bridge.docs.examples import Example

Examples = dict[str, Example]
Errors = dict[int, Examples]
Document = dict[str, Any]

DESCRIPTIONS = {
    200: "Done",
    400: "Refused: the request does not fit, or the exchange says no",
    401: "The key is missing or wrong",
    403: "The account may not do this",
    404: "There is no such thing",
    409: "The client order id stands for another order",
    413: "The body is too large",
    429: "Too many requests; `Retry-After` says when to come back, `RateLimit-Policy` how many there may be",
    500: "An internal error; quote the reference",
    503: "The exchange is away or overloaded; `Retry-After` says when to come back",
    504: "No outcome within the time limit",
}
UNKNOWN_PARAMETER = examples.failure("INVALID_REQUEST", "…", {"field": "status"})
ANY: Errors = {
    400: {"parameter": UNKNOWN_PARAMETER},
    401: {"no key": examples.NO_KEY},
    429: {"too many": examples.RATE_LIMITED},
    500: {"system error": examples.INTERNAL},
    503: {"exchange away": examples.AWAY},
    504: {"timeout": examples.TIMEOUT},
}
WITH_BODY: Errors = {**ANY, 413: {"too large": examples.TOO_LARGE}}
SUBMISSION_ERRORS: Errors = {
    **WITH_BODY,
    400: {
        "position limit": examples.POSITION_LIMIT,
        "unknown instrument": examples.UNKNOWN_INSTRUMENT,
        "funds": examples.FUNDS,
        "not JSON": examples.NOT_JSON,
    },
    409: {"used client order id": examples.USED_ID},
}
CANCEL_ERRORS: Errors = {**WITH_BODY, 400: {"already filled": examples.CANCEL_FAILED}}
REPLACE_ERRORS: Errors = {**WITH_BODY, 400: {"already filled": examples.REPLACE_FAILED, "not JSON": examples.NOT_JSON}}
FIND_ERRORS: Errors = {**ANY, 404: {"no such order": examples.NO_ORDER}}
REGISTER_ERRORS: Errors = {
    **{status: ANY[status] for status in (500, 503, 504)},
    400: {"not JSON": examples.NOT_JSON},
    403: {"closed": examples.FORBIDDEN},
    413: {"too large": examples.TOO_LARGE},
    429: {"too many": examples.RATE_LIMITED},
}


def document(
    summary: str,
    answer: type[BaseModel],
    good: Examples,
    errors: Errors,
    *,
    error: type[BaseModel] = models.ErrorResponse,
    body: type[BaseModel] | None = None,
    bodies: Examples | None = None,
    parameters: tuple[Example, ...] = (),
    needs_key: bool = True,
) -> Document:
    """The documentation of one call, as FastAPI's route takes it."""
    responses: dict[int | str, Example] = {200: described(200, answer, good)}
    responses.update({status: described(status, error, errors[status]) for status in sorted(errors)})
    extra: Example = {"parameters": list(parameters), "security": [{"ApiKey": []}] if needs_key else []}
    if body is not None:
        content = {"schema": body.model_json_schema(), "examples": named(bodies or {})}
        extra["requestBody"] = {"required": True, "content": {"application/json": content}}
    return {"summary": summary, "responses": responses, "openapi_extra": extra}


def described(status: int, model: type[BaseModel], cases: Examples) -> Example:
    content = {"application/json": {"examples": named(cases)}}
    return {"model": model, "description": DESCRIPTIONS[status], "content": content}


def named(cases: Examples) -> Example:
    return {name: {"summary": name, "value": value} for name, value in cases.items()}


def at_orders(errors: Errors) -> Errors:
    return {status: {name: examples.refused(case) for name, case in cases.items()} for status, cases in errors.items()}


def parameter(name: str, where: str, description: str, schema: Example | None = None) -> Example:
    required = where == "path"
    kind = schema or {"type": "string"}
    return {"name": name, "in": where, "required": required, "description": description, "schema": kind}


def query_of(call: Document) -> tuple[str, ...]:
    """The names in the query of a documented call: those, and no others, are taken."""
    return tuple(row["name"] for row in call["openapi_extra"]["parameters"] if row["in"] == "query")


ORDER_ID = parameter("order_id", "path", "as `ORD_12345`")
STATUS = parameter("status", "query", "`open` (the default) or `all`", {"type": "string", "enum": ["open", "all"]})
INSTRUMENT = parameter("instrument_id", "query", "only this instrument's")
NAME = parameter("client_order_id", "query", "only the order under this name, which may have ended")
DEPTH = parameter("depth", "query", "levels a side; 0: all there are", {"type": "integer", "minimum": 0})
INSTRUMENT_ID = parameter("instrument_id", "path", "may hold a slash, plain or as %2F")
RETRY_KEY = parameter("Idempotency-Key", "header", "stands in for an absent `client_order_id`")

ORDER_DATA = models.ApiResponse[models.OrderData]
SUBMISSIONS: Examples = {
    "market order": examples.MARKET_ORDER,
    "limit order": examples.LIMIT_ORDER,
    "plain order": examples.PLAIN_ORDER,
    "named order": examples.NAMED_ORDER,
}
CHANGE: Examples = {"more": {"quantity": 25}, "another price": {"price": 127.5}}
LISTING = (
    "The account's orders",
    models.ApiResponse[models.Orders],
    {"open orders": examples.OPEN_ORDERS},
    ANY,
)
FINDING = ("One order", models.ApiResponse[models.OrderDetail], {"an order": examples.ONE_ORDER}, FIND_ERRORS)

EXCHANGE_SUBMIT = document(
    "Enter an order and wait for its outcome",
    ORDER_DATA,
    {"filled": examples.FILLED, "resting": examples.RESTING, "partially filled": examples.PARTIALLY_FILLED},
    SUBMISSION_ERRORS,
    body=models.Submission,
    bodies=SUBMISSIONS,
    parameters=(RETRY_KEY,),
)
EXCHANGE_CANCEL = document(
    "Cancel an order", ORDER_DATA, {"cancelled": examples.CANCELLED}, CANCEL_ERRORS, parameters=(ORDER_ID,)
)
EXCHANGE_REPLACE = document(
    "Change an order's quantity, price or both",
    ORDER_DATA,
    {"replaced": examples.REPLACED},
    REPLACE_ERRORS,
    body=models.Replacement,
    bodies=CHANGE,
    parameters=(ORDER_ID,),
)
LIST = document(*LISTING, parameters=(STATUS, INSTRUMENT, NAME))
FIND = document(*FINDING, parameters=(ORDER_ID,))
BOOK = document(
    "An order book",
    models.ApiResponse[models.Book],
    {"book": examples.BOOK},
    {**ANY, 400: {"unknown instrument": examples.UNKNOWN_INSTRUMENT}, 404: {"a name of lines": examples.NOWHERE}},
    parameters=(INSTRUMENT_ID, DEPTH),
)
ORDERS_SUBMIT = document(
    "Enter an order; its fills come on the WebSocket",
    models.AcceptedResponse,
    {"accepted": examples.ACCEPTED},
    at_orders(SUBMISSION_ERRORS),
    error=models.RefusedResponse,
    body=models.Submission,
    bodies=SUBMISSIONS,
    parameters=(RETRY_KEY,),
)
ORDERS_VALIDATE = document(
    "Ask whether an order would be accepted; nothing changes",
    models.AcceptedResponse,
    {"would be accepted": examples.WOULD_BE_ACCEPTED},
    at_orders(SUBMISSION_ERRORS),
    error=models.RefusedResponse,
    body=models.Submission,
    bodies=SUBMISSIONS,
)
ORDERS_CANCEL = document(
    "Cancel an order",
    models.AcceptedResponse,
    {"cancelled": examples.ACCEPTED},
    at_orders(CANCEL_ERRORS),
    error=models.RefusedResponse,
    parameters=(ORDER_ID,),
)
ORDERS_REPLACE = document(
    "Change an order's quantity, price or both",
    models.AcceptedResponse,
    {"replaced": examples.ACCEPTED},
    at_orders(REPLACE_ERRORS),
    error=models.RefusedResponse,
    body=models.Replacement,
    bodies=CHANGE,
    parameters=(ORDER_ID,),
)
POSITIONS = document(
    "Positions, trades since opening", models.ApiResponse[models.Positions], {"positions": examples.POSITIONS}, ANY
)
BALANCES = document("Balances", models.ApiResponse[models.Balances], {"balances": examples.BALANCES}, ANY)
REGISTER = document(
    "Open an account; its key is shown this once",
    models.RegisteredResponse,
    {"registered": examples.REGISTERED},
    REGISTER_ERRORS,
    body=models.Application,
    bodies={"a team": {"team_name": "Alpha", "role": "market_maker"}},
    needs_key=False,
)
ROTATE = document(
    "Take another key; it is shown this once, and the old one ends with its streams",
    models.RotatedResponse,
    {"rotated": examples.ROTATED},
    {**WITH_BODY, 400: {"not JSON": examples.NOT_JSON}},
)
WEBSOCKET_TEXT = """Open it with a WebSocket client; the examples are its messages.

Send `{action: subscribe | unsubscribe, channel: book | trades | ticker, instrument_id}` for market data, which
`/ws/market` gives without a key. A quantity of 0 in a `book_update` takes the level away; a `conflated` snapshot stands
in for updates that were missed."""
WEBSOCKET: Example = {
    "summary": "WebSocket: your account's numbered events, and market data on request",
    "description": WEBSOCKET_TEXT,
    "parameters": [
        parameter("api_key", "query", "or the X-API-Key header"),
        parameter("from_seq", "query", "resume after this number", {"type": "integer", "minimum": 0}),
        parameter("format", "query", "of the messages", {"type": "string", "enum": ["default", "flat"]}),
    ],
    "responses": {
        "101": {
            "description": "Switched to WebSocket",
            "content": {
                "application/json": {
                    "examples": named(
                        {f"default: {name}": message for name, message in websocket.DEFAULT_MESSAGES.items()}
                        | {f"flat: {name}": message for name, message in websocket.FLAT_MESSAGES.items()}
                        | {f"market data: {name}": message for name, message in websocket.MARKET_MESSAGES.items()}
                    )
                }
            },
        },
        "400": {
            "description": "No WebSocket handshake",
            "content": {"application/json": {"examples": named({"plain request": examples.NO_HANDSHAKE})}},
        },
        "403": {"description": "This origin may not open a WebSocket here"},
    },
}
