"""From arguments to messages: the one place where requests are built, for both clients and every channel.

Numbers are exact: Decimal, int or str, never float. Words are case-insensitive; one that the contract does not know
goes out as a number that it does not know either, so that the exchange refuses it by its own code, in its own order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypedDict, TypeVar
from uuid import uuid4

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from outcry import v1
from outcry.errors import InvalidRequest
from outcry.v1.fixed import NotExact, to_fixed

Number = Decimal | int | str
Request = TypeVar("Request", bound=Message)

UNKNOWN_WORD = 99  # no enum of the contract has it


class OrderOptions(TypedDict, total=False):
    """What an order may say beside instrument, side, quantity and price.

    `order_type` is `limit` where a price is given and `market` where none is. `expires_at_ns` and `valid_until_ns` are
    Unix nanoseconds. Without a `client_order_id` the order gets a fresh one; the exchange knows it as long as the order
    is open or among the account's last closed ones (100,000, unless the venue says otherwise), and never executes
    another order under it. `attempt` and `channel` are for the record.
    """

    order_type: str | None
    time_in_force: str | None
    stop_price: Number | None
    stop_loss: Number | None
    take_profit: Number | None
    display_quantity: Number | None
    post_only: bool
    self_trade_prevention: str | None
    expires_at_ns: int | None
    valid_until_ns: int | None
    client_order_id: str | None
    attempt: int
    channel: int
    signal_confidence: Number | None


def words(enum: EnumDescriptor) -> dict[str, int]:
    """The contract's words for an enum's numbers: its names in lower case, without the prefix they all share."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.name.removeprefix(prefix).lower(): value.number for value in enum.values if value.number}


SIDES = words(v1.Side.DESCRIPTOR)
ORDER_TYPES = words(v1.OrderType.DESCRIPTOR)
TIMES_IN_FORCE = words(v1.TimeInForce.DESCRIPTOR)
SELF_TRADE_PREVENTIONS = words(v1.SelfTradePrevention.DESCRIPTOR)
CHANNELS = words(v1.MarketDataChannel.DESCRIPTOR)


def fresh_client_order_id() -> str:
    return uuid4().hex


def number_of(known: Mapping[str, int], word: str, field: str) -> int:
    """The enum number of a word, UNKNOWN_WORD where nobody knows it. TypeError for what is no word at all."""
    if not isinstance(word, str):
        raise TypeError(f"{field} must be a str, not {type(word).__name__}")
    return known.get(word.lower(), UNKNOWN_WORD)


def number_or_none(known: Mapping[str, int], word: str | None, field: str) -> int:
    """The same of a word that need not be given; 0 where it is not."""
    return 0 if word is None else number_of(known, word, field)


def exact(number: Number, field: str) -> int:
    """`number` in units of 1e-9. TypeError for a float or bool, InvalidRequest for what does not fit."""
    if isinstance(number, bool) or not isinstance(number, Decimal | int | str):
        raise TypeError(f"{field} must be a Decimal, int or str, not {type(number).__name__}")
    try:
        return to_fixed(Decimal(number))
    except InvalidOperation:
        raise invalid(field, f"{number!r} is not a number") from None
    except NotExact as error:
        raise invalid(field, str(error)) from None


def exact_or_none(number: Number | None, field: str) -> int | None:
    return None if number is None else exact(number, field)


def invalid(field: str, complaint: str) -> InvalidRequest:
    return InvalidRequest("INVALID_REQUEST", f"{field}: {complaint}", {"field": field})


def message(kind: type[Request], **fields: Any) -> Request:
    """A message; InvalidRequest names the field whose value its type cannot hold."""
    try:
        return kind(**fields)
    except ValueError:
        raise next(misfits(kind, fields)) from None


def misfits(kind: type[Message], fields: Mapping[str, Any]) -> Iterator[InvalidRequest]:
    for field, value in fields.items():
        try:
            kind(**{field: value})
        except ValueError as error:
            yield invalid(field, str(error))


def new_order(
    instrument_id: str, side: str, quantity: Number, price: Number | None = None, options: OrderOptions | None = None
) -> v1.NewOrder:
    given = options or {}
    order_type = given.get("order_type")
    if order_type is None:
        order_type = "market" if price is None else "limit"
    return message(
        v1.NewOrder,
        instrument_id=instrument_id,
        side=number_of(SIDES, side, "side"),
        order_type=number_of(ORDER_TYPES, order_type, "order_type"),
        time_in_force=number_or_none(TIMES_IN_FORCE, given.get("time_in_force"), "time_in_force"),
        quantity=exact(quantity, "quantity"),
        price=exact_or_none(price, "price"),
        stop_price=exact_or_none(given.get("stop_price"), "stop_price"),
        stop_loss=exact_or_none(given.get("stop_loss"), "stop_loss"),
        take_profit=exact_or_none(given.get("take_profit"), "take_profit"),
        display_quantity=exact_or_none(given.get("display_quantity"), "display_quantity"),
        post_only=given.get("post_only", False),
        self_trade_prevention=number_or_none(
            SELF_TRADE_PREVENTIONS, given.get("self_trade_prevention"), "self_trade_prevention"
        ),
        expires_at_ns=given.get("expires_at_ns"),
        valid_until_ns=given.get("valid_until_ns"),
        client_order_id=given.get("client_order_id") or fresh_client_order_id(),
        attempt=given.get("attempt", 0),
        channel=given.get("channel", 0),
        signal_confidence=exact_or_none(given.get("signal_confidence"), "signal_confidence"),
    )


def order_name(order_id: int | None, client_order_id: str | None) -> dict[str, int | str]:
    """How an order is named: by exactly one of its two ids."""
    if (order_id is None) == (client_order_id is None):
        raise TypeError("name the order by order_id or by client_order_id")
    return {"client_order_id": client_order_id} if client_order_id is not None else {"order_id": order_id or 0}


def cancel_request(
    order_id: int | None = None, client_order_id: str | None = None, valid_until_ns: int | None = None
) -> v1.CancelRequest:
    return message(v1.CancelRequest, valid_until_ns=valid_until_ns, **order_name(order_id, client_order_id))


def replace_request(
    order_id: int | None = None,
    client_order_id: str | None = None,
    quantity: Number | None = None,
    price: Number | None = None,
    valid_until_ns: int | None = None,
) -> v1.ReplaceRequest:
    return message(
        v1.ReplaceRequest,
        quantity=exact_or_none(quantity, "quantity"),
        price=exact_or_none(price, "price"),
        valid_until_ns=valid_until_ns,
        **order_name(order_id, client_order_id),
    )


def cancel_all_request(
    instrument_id: str = "", side: str | None = None, valid_until_ns: int | None = None
) -> v1.CancelAllRequest:
    return message(
        v1.CancelAllRequest,
        instrument_id=instrument_id,
        side=number_or_none(SIDES, side, "side"),
        valid_until_ns=valid_until_ns,
    )


INSTRUCTION_FIELDS: dict[type[Message], str] = {
    v1.NewOrder: "submit",
    v1.CancelRequest: "cancel",
    v1.ReplaceRequest: "replace",
    v1.CancelAllRequest: "cancel_all",
    v1.GetOrderBookRequest: "get_order_book",
}


def instruction(request_id: int, request: Message) -> v1.Instruction:
    """One instruction of a session; its result echoes `request_id`."""
    return message(v1.Instruction, request_id=request_id, **{INSTRUCTION_FIELDS[type(request)]: request})


def market_data_request(instruments: Iterable[str], channels: Iterable[str]) -> v1.StreamMarketDataRequest:
    numbers = [number_of(CHANNELS, channel, "channel") for channel in channels]
    return message(v1.StreamMarketDataRequest, instruments=list(instruments), channels=numbers)


def opening_balances(balances: Mapping[str, Number] | None) -> list[v1.AssetAmount]:
    return [v1.AssetAmount(asset=asset, amount=exact(amount, asset)) for asset, amount in (balances or {}).items()]
