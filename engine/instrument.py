"""What is traded, and what trading it costs."""

from __future__ import annotations

from msgspec import Struct


class Instrument(Struct, frozen=True, array_like=True):
    """One listing. Amounts in units of 1e-9.

    Prices are multiples of `tick_size`, quantities of `lot_size`. A trade moves `quote_asset` and the position, and
    where `base_asset` is named, that too. `settles_in_cash`: buying needs the quote asset and selling the base asset,
    reserved on entry; otherwise the quote balance may go negative. `position_limit` bounds the position on either side.
    `least_notional` is the smallest price x quantity of an order.
    """

    instrument_id: str
    tick_size: int
    lot_size: int
    quote_asset: str
    base_asset: str = ""
    settles_in_cash: bool = False
    position_limit: int | None = None
    least_notional: int | None = None


class FeeSchedule(Struct, frozen=True, array_like=True):
    """Fees for a quantity of one, in units of 1e-9 of the quote asset: positive charged, negative rebated."""

    name: str
    maker: int
    taker: int


class RateLimit(Struct, frozen=True, array_like=True):
    """`limit` at once, and `limit` every `window_s` seconds after that."""

    limit: int
    window_s: int


class RiskProfile(Struct, frozen=True, array_like=True):
    """Which limits an account is held to. What is off is never checked.

    The rates are how often it may ask: orders and replaces, cancels, queries. They are kept here and enforced at the
    gateway, because what is too much is never sequenced.
    """

    name: str
    no_position_limit: bool = False
    order_rate: RateLimit | None = None
    cancel_rate: RateLimit | None = None
    query_rate: RateLimit | None = None


class Role(Struct, frozen=True, array_like=True):
    """What an account is made from. `opening_balances` are debited to the venue's account."""

    name: str
    fee_schedule: str
    risk_profile: str
    opening_balances: dict[str, int] = {}
    # Whether anyone may register with this role, or only an operator may give it.
    open_to_registration: bool = True
