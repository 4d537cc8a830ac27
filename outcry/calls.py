"""Every call of the contract as a value: which method, which request, how to read the answer.

Both clients perform these; neither knows how a request is made or an answer read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypedDict, TypeVar, Unpack

from google.protobuf.message import Message
from msgspec import Struct
from msgspec.structs import asdict

from outcry import decoding, encoding, models, v1
from outcry.channels import Stubs
from outcry.encoding import Number, OrderOptions, exact, exact_or_none, message
from outcry.wording import in_words

Answer = TypeVar("Answer")


class Call(Struct, Generic[Answer], frozen=True):
    """`changes`: the call is a command, so that a lost answer leaves its outcome unknown."""

    method: Callable[[Stubs], Callable[..., Any]]
    request: Message
    read: Callable[[Any], Answer]
    changes: bool = False

    @property
    def client_order_id(self) -> str:
        """Of the order that the call is about, where it is named so; else ""."""
        return getattr(self.request, "client_order_id", "")


def journal_seq(answer: Any) -> int:
    number: int = answer.journal_seq
    return number


def submit_order(
    instrument_id: str, side: str, quantity: Number, price: Number | None, **options: Unpack[OrderOptions]
) -> Call[models.OrderResult]:
    request = encoding.new_order(instrument_id, side, quantity, price, options)
    read = in_words(decoding.order_result, {**options, "side": side})
    return Call(lambda stubs: stubs.orders.SubmitOrder, request, read, changes=True)


def validate_order(
    instrument_id: str, side: str, quantity: Number, price: Number | None, **options: Unpack[OrderOptions]
) -> Call[models.OrderResult]:
    request = encoding.new_order(instrument_id, side, quantity, price, options)
    read = in_words(decoding.order_result, {**options, "side": side})
    return Call(lambda stubs: stubs.orders.ValidateOrder, request, read)


def cancel_order(
    order_id: int | None, client_order_id: str | None, valid_until_ns: int | None
) -> Call[models.OrderResult]:
    request = encoding.cancel_request(order_id, client_order_id, valid_until_ns)
    return Call(lambda stubs: stubs.orders.CancelOrder, request, decoding.order_result, changes=True)


def replace_order(
    order_id: int | None,
    client_order_id: str | None,
    quantity: Number | None,
    price: Number | None,
    valid_until_ns: int | None,
) -> Call[models.OrderResult]:
    request = encoding.replace_request(order_id, client_order_id, quantity, price, valid_until_ns)
    return Call(lambda stubs: stubs.orders.ReplaceOrder, request, decoding.order_result, changes=True)


def cancel_all(instrument_id: str, side: str | None, valid_until_ns: int | None) -> Call[models.CancelAllResult]:
    request = encoding.cancel_all_request(instrument_id, side, valid_until_ns)
    read = in_words(decoding.cancel_all_result, {"side": side})
    return Call(lambda stubs: stubs.orders.CancelAll, request, read, changes=True)


def order(order_id: int | None, client_order_id: str | None) -> Call[models.Order]:
    request = message(v1.GetOrderRequest, **encoding.order_name(order_id, client_order_id))
    return Call(lambda stubs: stubs.accounts.GetOrder, request, decoding.order)


def orders_page(include_closed: bool, instrument_id: str, after_order_id: int) -> Call[models.OrdersPage]:
    request = message(
        v1.ListOrdersRequest,
        include_closed=include_closed,
        instrument_id=instrument_id,
        after_order_id=after_order_id,
    )
    return Call(lambda stubs: stubs.accounts.ListOrders, request, decoding.orders_page)


def positions() -> Call[models.Positions]:
    return Call(lambda stubs: stubs.accounts.GetPositions, v1.GetPositionsRequest(), decoding.positions)


def balances() -> Call[models.Balances]:
    return Call(lambda stubs: stubs.accounts.GetBalances, v1.GetBalancesRequest(), decoding.balances)


def register(team_name: str, role: str, invite: str) -> Call[models.Registration]:
    request = message(v1.RegisterRequest, team_name=team_name, role=role, invite=invite)
    return Call(lambda stubs: stubs.accounts.Register, request, decoding.registration, changes=True)


def rotate_key() -> Call[models.AccountKey]:
    return Call(lambda stubs: stubs.accounts.RotateKey, v1.RotateKeyRequest(), decoding.account_key, changes=True)


def instruments() -> Call[list[models.Instrument]]:
    return Call(lambda stubs: stubs.market_data.ListInstruments, v1.ListInstrumentsRequest(), decoding.instruments)


def order_book(instrument_id: str, depth: int) -> Call[models.OrderBook]:
    request = message(v1.GetOrderBookRequest, instrument_id=instrument_id, depth=depth)
    return Call(lambda stubs: stubs.market_data.GetOrderBook, request, decoding.order_book)


class InstrumentOptions(TypedDict, total=False):
    """What an instrument may have beside tick, lot and quote asset."""

    base_asset: str
    settles_in_cash: bool
    position_limit: Number | None
    least_notional: Number | None


def put_instrument(
    instrument_id: str, tick_size: Number, lot_size: Number, quote_asset: str, **options: Unpack[InstrumentOptions]
) -> Call[int]:
    instrument = message(
        v1.Instrument,
        instrument_id=instrument_id,
        tick_size=exact(tick_size, "tick_size"),
        lot_size=exact(lot_size, "lot_size"),
        quote_asset=quote_asset,
        base_asset=options.get("base_asset", ""),
        settles_in_cash=options.get("settles_in_cash", False),
        position_limit=exact_or_none(options.get("position_limit"), "position_limit"),
        least_notional=exact_or_none(options.get("least_notional"), "least_notional"),
    )
    request = v1.PutInstrumentRequest(instrument=instrument)
    return Call(lambda stubs: stubs.operations.PutInstrument, request, journal_seq, changes=True)


def put_account(
    name: str, role: str, risk_profile: str, opening_balances: Mapping[str, Number] | None, new_key: bool
) -> Call[models.AccountKey]:
    request = message(
        v1.PutAccountRequest,
        name=name,
        role=role,
        risk_profile=risk_profile,
        opening_balances=encoding.opening_balances(opening_balances),
        new_key=new_key,
    )
    return Call(lambda stubs: stubs.operations.PutAccount, request, decoding.account_key, changes=True)


def revoke_key(account_id: int | None, name: str | None, new_key: bool) -> Call[models.AccountKey]:
    if (account_id is None) == (name is None):
        raise TypeError("name the account by account_id or by name")
    request = message(v1.RevokeKeyRequest, account_id=account_id, name=name, new_key=new_key)
    return Call(lambda stubs: stubs.operations.RevokeKey, request, decoding.account_key, changes=True)


def put_risk_profile(name: str, no_position_limit: bool, rates: Mapping[str, models.RateLimit | None]) -> Call[int]:
    limits = {field: message(v1.RateLimit, **asdict(rate)) for field, rate in rates.items() if rate is not None}
    request = message(v1.PutRiskProfileRequest, name=name, no_position_limit=no_position_limit, **limits)
    return Call(lambda stubs: stubs.operations.PutRiskProfile, request, journal_seq, changes=True)


def create_invite(role: str) -> Call[str]:
    request = message(v1.CreateInviteRequest, role=role)
    return Call(lambda stubs: stubs.operations.CreateInvite, request, lambda answer: str(answer.invite), changes=True)


def state_digest() -> Call[models.StateDigest]:
    return Call(lambda stubs: stubs.operations.GetStateDigest, v1.GetStateDigestRequest(), decoding.state_digest)
