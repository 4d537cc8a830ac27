"""What the client answers with: frozen values, with exact decimals for prices, quantities and money.

Times are Unix nanoseconds. `seq` is always a number of the account's own events, or of an instrument's public ones, and
`journal_seq` the command's number in the exchange's journal. Words are those of the contract: sides `buy` and `sell`,
order types `limit`, `market` ..., times in force `GTC`, `IOC` ..., statuses `new`, `partially_filled`, `filled`,
`cancelled`, `rejected`, `expired`, liquidity `maker`, `taker`, `mixed` or None where nothing has traded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TypeVar

from msgspec import Struct

from outcry.errors import Details, ExchangeError

Value = TypeVar("Value")


class Fill(Struct, frozen=True):
    trade_id: int
    price: Decimal
    quantity: Decimal
    fees: Decimal
    liquidity: str | None
    time_ns: int


class OrderResult(Struct, frozen=True):
    """The state of an order at the end of its own command; `fills` are that command's own."""

    order_id: int
    client_order_id: str
    status: str
    filled_quantity: Decimal
    remaining_quantity: Decimal
    average_price: Decimal | None
    fees: Decimal
    liquidity: str | None
    fills: tuple[Fill, ...]
    seq: int
    journal_seq: int
    time_ns: int
    duplicate: bool


class CancelAllResult(Struct, frozen=True):
    """`order_ids` are what was cancelled, oldest first."""

    order_ids: tuple[int, ...]
    seq: int
    journal_seq: int
    time_ns: int


class Order(Struct, frozen=True):
    order_id: int
    client_order_id: str
    instrument_id: str
    side: str
    order_type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal | None
    filled_quantity: Decimal
    remaining_quantity: Decimal
    average_price: Decimal | None
    fees: Decimal
    liquidity: str | None
    status: str
    submitted_at_ns: int
    expires_at_ns: int | None
    seq: int


class OrdersPage(Struct, frozen=True):
    """A part of a list of orders; `more` says whether another follows."""

    orders: list[Order]
    seq: int
    more: bool


class Position(Struct, frozen=True):
    instrument_id: str
    position: Decimal
    open_buy_quantity: Decimal
    open_sell_quantity: Decimal


class Balance(Struct, frozen=True):
    asset: str
    total: Decimal
    reserved: Decimal
    available: Decimal


class Numbered(Mapping[str, Value]):
    """A read-only mapping that is true as of event `seq` of the account."""

    __slots__ = ("_values", "seq")

    def __init__(self, values: dict[str, Value], seq: int) -> None:
        self._values = values
        self.seq = seq

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values!r}, seq={self.seq})"


class Positions(Numbered[Decimal]):
    """Positions by instrument id, trades since opening; `rows` has what open orders could add."""

    __slots__ = ("rows",)

    def __init__(self, rows: tuple[Position, ...], seq: int) -> None:
        super().__init__({row.instrument_id: row.position for row in rows}, seq)
        self.rows = rows


class Balances(Numbered[Balance]):
    """Balances by asset."""

    __slots__ = ()


class Registration(Struct, frozen=True):
    """A new account. The key is shown this once."""

    account_id: int
    team_name: str
    role: str
    api_key: str


class AccountKey(Struct, frozen=True):
    """An account that was made or changed, and its new key: "" where it keeps the one it has, or has none now."""

    account_id: int
    api_key: str
    journal_seq: int


class RateLimit(Struct, frozen=True):
    """`limit` at once, and `limit` every `window_s` seconds after that."""

    limit: int
    window_s: int


class StateDigest(Struct, frozen=True):
    """The digest of books, orders, accounts and ids after command `journal_seq`: equal for equal histories."""

    digest: str
    journal_seq: int


class Instrument(Struct, frozen=True):
    """Prices are multiples of `tick_size`, quantities of `lot_size`. `base_asset` is "" where a trade delivers none."""

    instrument_id: str
    tick_size: Decimal
    lot_size: Decimal
    quote_asset: str
    base_asset: str
    settles_in_cash: bool
    position_limit: Decimal | None
    least_notional: Decimal | None


class BookLevel(Struct, frozen=True):
    """In a change, a quantity of 0 means that the level is gone."""

    price: Decimal
    quantity: Decimal


class OrderBook(Struct, frozen=True):
    """Levels, best first, as of the instrument's public event `seq`."""

    instrument_id: str
    seq: int
    time_ns: int
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]


class BookChange(Struct, frozen=True):
    """The levels that one command changed, with their new quantities."""

    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]


class PublicTrade(Struct, frozen=True):
    trade_id: int
    price: Decimal
    quantity: Decimal
    buyer_is_aggressor: bool


class Ticker(Struct, frozen=True):
    last_price: Decimal | None
    best_bid: Decimal | None
    best_ask: Decimal | None
    volume: Decimal


PublicUpdate = OrderBook | BookChange | PublicTrade | Ticker


class MarketDataUpdate(Struct, frozen=True):
    """One public message. `conflated`: a fresh book stands in for changes that this reader was too slow for."""

    instrument_id: str
    seq: int
    time_ns: int
    conflated: bool
    update: PublicUpdate


class Accepted(Struct, frozen=True):
    order_id: int
    client_order_id: str
    instrument_id: str
    side: str
    order_type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal | None
    expires_at_ns: int | None


class Rejected(Struct, frozen=True):
    client_order_id: str
    instrument_id: str
    code: str
    message: str
    details: Details


class Filled(Struct, frozen=True):
    """One side of one trade."""

    order_id: int
    client_order_id: str
    trade_id: int
    instrument_id: str
    side: str
    price: Decimal
    quantity: Decimal
    remaining_quantity: Decimal
    status: str
    liquidity: str | None
    fees: Decimal


class Cancelled(Struct, frozen=True):
    """`reason`: user_requested, no_liquidity, immediate_or_cancel, replaced."""

    order_id: int
    client_order_id: str
    cancelled_quantity: Decimal
    reason: str


class CancelRejected(Struct, frozen=True):
    """`reason`: already_filled, already_cancelled, not_found."""

    order_id: int
    client_order_id: str
    reason: str


class Replaced(Struct, frozen=True):
    order_id: int
    client_order_id: str
    quantity: Decimal
    price: Decimal | None
    remaining_quantity: Decimal


class ReplaceRejected(Struct, frozen=True):
    order_id: int
    client_order_id: str
    code: str
    message: str
    details: Details


class Expired(Struct, frozen=True):
    order_id: int
    client_order_id: str
    cancelled_quantity: Decimal


class PositionUpdated(Struct, frozen=True):
    """After each trade: the position, counted from the account's opening."""

    instrument_id: str
    position: Decimal


ExecutionEvent = (
    Accepted | Rejected | Filled | Cancelled | CancelRejected | Replaced | ReplaceRejected | Expired | PositionUpdated
)


class ExecutionReport(Struct, frozen=True):
    """One event of the account, numbered 1, 2, 3 ... for ever."""

    seq: int
    journal_seq: int
    time_ns: int
    event: ExecutionEvent


class SessionResult(Struct, frozen=True):
    """The answer to one instruction of a session: an outcome, or the error that a call of its own would have raised."""

    request_id: int
    outcome: OrderResult | CancelAllResult | OrderBook | None
    error: ExchangeError | None = None
