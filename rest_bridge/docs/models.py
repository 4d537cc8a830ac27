"""The forms of the contract as models, for the OpenAPI page and for the tests that hold real answers to it."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Data = TypeVar("Data")
Number = int | float
OrderStatus = Literal["new", "partially_filled", "filled", "cancelled", "rejected", "expired"]
Liquidity = Literal["maker", "taker", "mixed"] | None
Timestamp = str


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ApiError(Form):
    """What went wrong: a code for the bot, a sentence for its owner, and details to act on."""

    code: str
    message: str
    details: dict[str, Any]


class ApiResponse(Form, Generic[Data]):
    """Every answer, whatever its status."""

    success: Literal[True] = True
    request_id: str = Field(description="the body's `request_id` or the X-Request-Id header, else a fresh one")
    order_id: str | None
    data: Data
    error: None
    timestamp: Timestamp = Field(description="ISO 8601 in UTC, microseconds")


class ErrorResponse(Form):
    success: Literal[False]
    request_id: str
    order_id: str | None
    data: None
    error: ApiError
    timestamp: Timestamp


class RefusedResponse(ErrorResponse):
    status: Literal["rejected", "unknown"] = Field(description="`unknown`: ask by client order id, or send it again")


class OrderData(Form):
    """An order at the end of its own command."""

    order_id: str
    client_order_id: str | None
    status: OrderStatus
    timestamp: Timestamp
    filled_quantity: Number
    remaining_quantity: Number
    average_price: float | None
    fees: float = Field(description="positive when charged, negative when rebated")
    liquidity_type: Liquidity
    duplicate: bool = Field(description="a retry: the result is that of the first submission")


class AcceptedResponse(ApiResponse[None]):
    """Accepted: what becomes of the order is told on the WebSocket."""

    status: Literal["accepted"]
    filled_quantity: Literal[0]
    average_price: None
    fees: float
    liquidity_type: None
    client_order_id: str | None
    duplicate: bool


class OrderRow(Form):
    order_id: str
    client_order_id: str | None
    instrument_id: str
    side: Literal["buy", "sell"]
    price: float | None
    original_quantity: Number
    remaining_quantity: Number
    status: OrderStatus
    submitted_at: Timestamp


class OrderDetail(OrderRow):
    order_type: str
    time_in_force: str
    filled_quantity: Number
    average_price: float | None
    fees: float
    liquidity_type: Liquidity


class Orders(Form):
    orders: list[OrderRow] = Field(description="oldest first")


class Level(Form):
    price: float
    quantity: Number


class Book(Form):
    instrument_id: str
    seq: int = Field(description="the instrument's own number that the book is true at")
    timestamp: Timestamp
    bids: list[Level]
    asks: list[Level]


class Positions(Form):
    positions: dict[str, Number] = Field(description="by instrument, trades since opening")


class Balance(Form):
    total: Number
    reserved: Number
    available: Number


class Balances(Form):
    balances: dict[str, Balance] = Field(description="by asset")


class Account(Form):
    team_id: str
    team_name: str
    role: str
    api_key: str = Field(description="shown this once")


class RegisteredResponse(ApiResponse[Account]):
    team_id: str
    team_name: str
    role: str
    api_key: str


class AccountKey(Form):
    team_id: str
    api_key: str = Field(description="shown this once")


class RotatedResponse(ApiResponse[AccountKey]):
    team_id: str
    api_key: str


class Submission(Form):
    """An order. Numbers may be JSON numbers or strings; both are read exactly."""

    instrument_id: str
    side: str = Field(description="buy or sell")
    quantity: Number | str
    order_type: str | None = Field(None, description="`limit` when absent and a price is given, `market` without one")
    price: Number | str | None = None
    time_in_force: str | None = Field(None, description="GTC (the default), DAY, GTD with `expires_at`, IOC or FOK")
    expires_at: str | None = Field(None, description="ISO 8601 with a zone")
    client_order_id: str | None = Field(None, description="your own name for it; the same one cannot execute twice")
    request_id: str | None = None
    stop_price: Number | str | None = Field(None, description="refused until it is built")
    stop_loss: Number | str | None = Field(None, description="refused until it is built")
    take_profit: Number | str | None = Field(None, description="refused until it is built")
    display_quantity: Number | str | None = Field(None, description="refused until it is built")
    post_only: bool | None = Field(None, description="refused until it is built, where true")
    self_trade_prevention: str | None = Field(None, description="`none`; others are refused until they are built")
    signal_confidence: Number | str | None = Field(None, description="refused until it is built")


class Replacement(Form):
    """A new total quantity (what is filled included), a new price, or both."""

    quantity: Number | str | None = None
    price: Number | str | None = None
    request_id: str | None = None


class Application(Form):
    team_name: str
    role: str | None = Field(None, description="`trader` when absent")
    invite: str | None = None
    request_id: str | None = None
