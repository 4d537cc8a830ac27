"""Protobuf <-> commands and events. Pure: no state, no I/O, no judgement beyond the form of a request.

What is asked for and not built is refused by name, never ignored. An enum value that the engine does not know goes in
as the number it is, so that the engine refuses it in its place among the reasons.
"""

from __future__ import annotations

from engine.commands import CancelAll, CancelOrder, NewOrder, ReplaceOrder
from engine.events import AdminOutcome, CancelAllOutcome, OrderFilled, OrderOutcome
from engine.instrument import Instrument
from engine.order import Liquidity, OrderStatus, OrderType, Side, TimeInForce
from engine.reject import Refusal, RejectReason
from engine.views import BalanceView, BookView, OrderView, PositionView
from gateway.refusals import Refused, detail, invalid_request
from outcry import v1

WORD_LENGTH = 128
NOT_BUILT_YET = {
    "stop_price",
    "stop_loss",
    "take_profit",
    "display_quantity",
    "signal_confidence",
    "post_only",
    "self_trade_prevention",
}
STP_NONE = (v1.SELF_TRADE_PREVENTION_UNSPECIFIED, v1.SELF_TRADE_PREVENTION_NONE)


# The contract's enum values, by the engine's.
REASON: dict[RejectReason, v1.RejectReason] = {reason: getattr(v1, reason.name) for reason in RejectReason}
STATUS: dict[OrderStatus, v1.OrderStatus] = {
    status: getattr(v1, f"ORDER_STATUS_{status.name}") for status in OrderStatus
}
SIDE: dict[int, v1.Side] = {side: getattr(v1, f"SIDE_{side.name}") for side in Side}
ORDER_TYPE: dict[int, v1.OrderType] = {kind: getattr(v1, f"ORDER_TYPE_{kind.name}") for kind in OrderType}
TIME_IN_FORCE: dict[int, v1.TimeInForce] = {tif: getattr(v1, f"TIME_IN_FORCE_{tif.name}") for tif in TimeInForce}
LIQUIDITY: dict[Liquidity, v1.Liquidity] = {
    Liquidity.NONE: v1.LIQUIDITY_UNSPECIFIED,
    Liquidity.MAKER: v1.LIQUIDITY_MAKER,
    Liquidity.TAKER: v1.LIQUIDITY_TAKER,
    Liquidity.MIXED: v1.LIQUIDITY_MIXED,
}


def new_order(account: int, request: v1.NewOrder) -> NewOrder:
    """The command in `request`; Refused with INVALID_REQUEST where it asks for what is not built."""
    present = request.HasField
    if (
        present("stop_price")
        or present("stop_loss")
        or present("take_profit")
        or present("display_quantity")
        or present("signal_confidence")
        or request.post_only
        or request.self_trade_prevention not in STP_NONE
    ):
        raise not_built_yet(request)
    client_order_id, instrument_id = request.client_order_id, request.instrument_id
    if len(client_order_id) > WORD_LENGTH or len(instrument_id) > WORD_LENGTH:
        word(client_order_id, "client_order_id")
        word(instrument_id, "instrument_id")
    return NewOrder(
        account,
        client_order_id,
        instrument_id,
        request.side,
        request.order_type,
        request.time_in_force or v1.TIME_IN_FORCE_GTC,
        request.quantity,
        request.price if present("price") else None,
        request.expires_at_ns if present("expires_at_ns") else None,
        request.attempt,
        request.channel,
    )


def not_built_yet(request: v1.NewOrder) -> Refused:
    field = next(descriptor.name for descriptor, _ in request.ListFields() if descriptor.name in NOT_BUILT_YET)
    return invalid_request(f"{field} is not supported yet", field)


def word(text: str, field: str) -> str:
    """A name that a request gives; whatever it names, the journal must not be filled with it. Refused if too long."""
    if len(text) > WORD_LENGTH:
        raise invalid_request(f"{field} is longer than {WORD_LENGTH} characters", field)
    return text


def named(request: v1.CancelRequest | v1.ReplaceRequest | v1.GetOrderRequest) -> tuple[int, str]:
    """The order id and client order id that a request names; one of them, or it is refused."""
    if request.order_id:
        return request.order_id, ""
    if request.client_order_id:
        return 0, word(request.client_order_id, "client_order_id")
    raise invalid_request("order_id or client_order_id is needed", "order_id")


def cancel_order(account: int, request: v1.CancelRequest) -> CancelOrder:
    return CancelOrder(account, *named(request))


def replace_order(account: int, request: v1.ReplaceRequest) -> ReplaceOrder:
    order_id, client_id = named(request)
    quantity = request.quantity if request.HasField("quantity") else None
    price = request.price if request.HasField("price") else None
    if quantity is None and price is None:
        raise invalid_request("quantity or price is needed", "quantity")
    return ReplaceOrder(account, order_id, client_id, quantity, price)


def cancel_all(account: int, request: v1.CancelAllRequest) -> CancelAll:
    return CancelAll(account, word(request.instrument_id, "instrument_id"), request.side)


def reject(refusal: Refusal) -> v1.Reject:
    details = {name: v1.Detail(amount=units) for name, units in refusal.amounts.items()}
    details.update((name, detail(words)) for name, words in refusal.texts.items())
    return v1.Reject(reason=REASON[refusal.reason], message=refusal.message, details=details)


def require_done(outcome: AdminOutcome) -> None:
    """Raise the refusal of a command that has no other way to say it."""
    if (refusal := outcome.refusal) is not None:
        raise Refused(REASON[refusal.reason], refusal.message, refusal.texts)


def order_result(outcome: OrderOutcome) -> v1.OrderResult:
    result = v1.OrderResult()
    write_order_result(outcome, result)
    return result


def write_order_result(outcome: OrderOutcome, result: v1.OrderResult) -> None:
    """Write `outcome` into an empty message. In place, and only what is not zero: that halves the cost."""
    result.order_id = outcome.order_id
    result.client_order_id = outcome.client_order_id
    result.status = STATUS[outcome.status]
    result.remaining_quantity = outcome.remaining_quantity
    result.seq = outcome.number
    result.journal_seq = outcome.journal_seq
    result.time_ns = outcome.time_ns
    if outcome.average_price is not None:
        result.filled_quantity = outcome.filled_quantity
        result.average_price = outcome.average_price
        result.fees = outcome.fees
        result.liquidity = LIQUIDITY[outcome.liquidity]
    for event in outcome.fills:
        write_fill(event, outcome.time_ns, result.fills.add())
    if outcome.duplicate:
        result.duplicate = True
    if outcome.refusal is not None:
        result.reject.CopyFrom(reject(outcome.refusal))


def write_fill(event: OrderFilled, time_ns: int, fill: v1.Fill) -> None:
    fill.trade_id = event.trade_id
    fill.price = event.price
    fill.quantity = event.quantity
    fill.fees = event.fees
    fill.liquidity = LIQUIDITY[event.liquidity]
    fill.time_ns = time_ns


def cancel_all_result(outcome: CancelAllOutcome) -> v1.CancelAllResult:
    return v1.CancelAllResult(
        order_ids=outcome.order_ids,
        seq=outcome.number,
        journal_seq=outcome.journal_seq,
        time_ns=outcome.time_ns,
        reject=None if outcome.refusal is None else reject(outcome.refusal),
    )


def order_book(view: BookView, time_ns: int) -> v1.OrderBook:
    book = v1.OrderBook()
    write_order_book(view, time_ns, book)
    return book


def write_order_book(view: BookView, time_ns: int, book: v1.OrderBook) -> None:
    """Write `view` into an empty message, in place."""
    book.instrument_id = view.instrument_id
    book.seq = view.number
    book.time_ns = time_ns
    for levels, add in ((view.bids, book.bids.add), (view.asks, book.asks.add)):
        for price, quantity in levels:
            level = add()
            level.price = price
            level.quantity = quantity


def order(view: OrderView, number: int) -> v1.Order:
    return v1.Order(
        order_id=view.order_id,
        client_order_id=view.client_order_id,
        instrument_id=view.instrument_id,
        side=SIDE[view.side],
        order_type=ORDER_TYPE[view.order_type],
        time_in_force=TIME_IN_FORCE[view.time_in_force],
        quantity=view.quantity,
        price=view.price,
        filled_quantity=view.filled_quantity,
        remaining_quantity=view.remaining_quantity,
        average_price=view.average_price,
        fees=view.fees,
        liquidity=LIQUIDITY[view.liquidity],
        status=STATUS[view.status],
        submitted_at_ns=view.submitted_at_ns,
        expires_at_ns=view.expires_at_ns,
        seq=number,
    )


def instrument(listing: Instrument) -> v1.Instrument:
    return v1.Instrument(
        instrument_id=listing.instrument_id,
        tick_size=listing.tick_size,
        lot_size=listing.lot_size,
        quote_asset=listing.quote_asset,
        base_asset=listing.base_asset,
        settles_in_cash=listing.settles_in_cash,
        position_limit=listing.position_limit,
        least_notional=listing.least_notional,
    )


def listing(message: v1.Instrument) -> Instrument:
    return Instrument(
        word(message.instrument_id, "instrument_id"),
        message.tick_size,
        message.lot_size,
        word(message.quote_asset, "quote_asset"),
        word(message.base_asset, "base_asset"),
        message.settles_in_cash,
        message.position_limit if message.HasField("position_limit") else None,
        message.least_notional if message.HasField("least_notional") else None,
    )


def position(view: PositionView) -> v1.Position:
    return v1.Position(
        instrument_id=view.instrument_id,
        position=view.position,
        open_buy_quantity=view.open_buy_quantity,
        open_sell_quantity=view.open_sell_quantity,
    )


def balance(view: BalanceView) -> v1.Balance:
    return v1.Balance(asset=view.asset, total=view.total, reserved=view.reserved, available=view.total - view.reserved)
