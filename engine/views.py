"""What queries answer with: values that stay as they are while the state moves on. Amounts in units of 1e-9."""

from __future__ import annotations

from msgspec import Struct

from engine.order import Liquidity, OrderStatus


class OrderView(Struct, frozen=True, gc=False):
    order_id: int
    client_order_id: str
    instrument_id: str
    side: int
    order_type: int
    time_in_force: int
    quantity: int
    price: int | None
    filled_quantity: int
    remaining_quantity: int
    average_price: int | None
    fees: int
    liquidity: Liquidity
    status: OrderStatus
    submitted_at_ns: int
    expires_at_ns: int | None


class BookView(Struct, frozen=True, gc=False):
    """Levels as (price, quantity), best first. `number` is the instrument's last public event that they include.

    `last_price` is that of the last trade, None before the first; `volume` is all that has traded.
    """

    instrument_id: str
    number: int
    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]
    last_price: int | None = None
    volume: int = 0


class PositionView(Struct, frozen=True, gc=False):
    instrument_id: str
    position: int
    open_buy_quantity: int
    open_sell_quantity: int


class BalanceView(Struct, frozen=True, gc=False):
    asset: str
    total: int
    reserved: int
