"""From messages to models: the one place where answers are read, for both clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from outcry import models, v1
from outcry.encoding import ORDER_TYPES, SIDES, TIMES_IN_FORCE, words
from outcry.errors import Details, DetailValue, ExchangeError, OrderRejected, exchange_error
from outcry.v1.fixed import to_decimal
from outcry.wording import without_number


def names(numbers: Mapping[str, int]) -> dict[int, str]:
    return {number: word for word, number in numbers.items()}


SIDE_WORDS = names(SIDES)
ORDER_TYPE_WORDS = names(ORDER_TYPES)
TIME_IN_FORCE_WORDS = {number: word.upper() for word, number in TIMES_IN_FORCE.items()}
STATUS_WORDS = names(words(v1.OrderStatus.DESCRIPTOR))
LIQUIDITY_WORDS = names(words(v1.Liquidity.DESCRIPTOR))
CODES = {value.number: value.name for value in v1.RejectReason.DESCRIPTOR.values}


def word(known: Mapping[int, str], number: int) -> str:
    """The word for an enum's number; the number itself where a newer exchange says what this client does not know."""
    return known.get(number) or str(number)


def optional_decimal(answer: Any, field: str) -> Decimal | None:
    return to_decimal(getattr(answer, field)) if answer.HasField(field) else None


def detail(value: v1.Detail) -> DetailValue:
    match value.WhichOneof("value"):
        case "amount":
            return to_decimal(value.amount)
        case "count":
            return value.count
        case "texts":
            return list(value.texts.values)
        case _:
            return value.text


def details(reject: v1.Reject) -> Details:
    return {name: detail(value) for name, value in reject.details.items()}


def rejection(reject: v1.Reject, otherwise: type[ExchangeError] = OrderRejected) -> ExchangeError:
    code = word(CODES, reject.reason)
    return exchange_error(code, without_number(code, reject.message), details(reject), otherwise)


def fill(fill: v1.Fill) -> models.Fill:
    return models.Fill(
        trade_id=fill.trade_id,
        price=to_decimal(fill.price),
        quantity=to_decimal(fill.quantity),
        fees=to_decimal(fill.fees),
        liquidity=LIQUIDITY_WORDS.get(fill.liquidity),
        time_ns=fill.time_ns,
    )


def order_result(result: v1.OrderResult) -> models.OrderResult:
    """The result of an order command; raises its refusal."""
    if result.HasField("reject"):
        raise rejection(result.reject)
    return models.OrderResult(
        order_id=result.order_id,
        client_order_id=result.client_order_id,
        status=word(STATUS_WORDS, result.status),
        filled_quantity=to_decimal(result.filled_quantity),
        remaining_quantity=to_decimal(result.remaining_quantity),
        average_price=optional_decimal(result, "average_price"),
        fees=to_decimal(result.fees),
        liquidity=LIQUIDITY_WORDS.get(result.liquidity),
        fills=tuple(map(fill, result.fills)),
        seq=result.seq,
        journal_seq=result.journal_seq,
        time_ns=result.time_ns,
        duplicate=result.duplicate,
    )


def cancel_all_result(result: v1.CancelAllResult) -> models.CancelAllResult:
    """What was cancelled; raises the refusal."""
    if result.HasField("reject"):
        raise rejection(result.reject)
    return models.CancelAllResult(
        order_ids=tuple(result.order_ids),
        seq=result.seq,
        journal_seq=result.journal_seq,
        time_ns=result.time_ns,
    )


def order(order: v1.Order) -> models.Order:
    return models.Order(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        instrument_id=order.instrument_id,
        side=word(SIDE_WORDS, order.side),
        order_type=word(ORDER_TYPE_WORDS, order.order_type),
        time_in_force=word(TIME_IN_FORCE_WORDS, order.time_in_force),
        quantity=to_decimal(order.quantity),
        price=optional_decimal(order, "price"),
        filled_quantity=to_decimal(order.filled_quantity),
        remaining_quantity=to_decimal(order.remaining_quantity),
        average_price=optional_decimal(order, "average_price"),
        fees=to_decimal(order.fees),
        liquidity=LIQUIDITY_WORDS.get(order.liquidity),
        status=word(STATUS_WORDS, order.status),
        submitted_at_ns=order.submitted_at_ns,
        expires_at_ns=order.expires_at_ns if order.HasField("expires_at_ns") else None,
        seq=order.seq,
    )


def orders_page(page: v1.ListOrdersResponse) -> models.OrdersPage:
    return models.OrdersPage(orders=list(map(order, page.orders)), seq=page.seq, more=page.more)


def position(row: v1.Position) -> models.Position:
    return models.Position(
        instrument_id=row.instrument_id,
        position=to_decimal(row.position),
        open_buy_quantity=to_decimal(row.open_buy_quantity),
        open_sell_quantity=to_decimal(row.open_sell_quantity),
    )


def positions(answer: v1.Positions) -> models.Positions:
    return models.Positions(tuple(map(position, answer.positions)), answer.seq)


def balance(row: v1.Balance) -> models.Balance:
    return models.Balance(
        asset=row.asset,
        total=to_decimal(row.total),
        reserved=to_decimal(row.reserved),
        available=to_decimal(row.available),
    )


def balances(answer: v1.Balances) -> models.Balances:
    return models.Balances({row.asset: balance(row) for row in answer.balances}, answer.seq)


def registration(answer: v1.RegisterResponse) -> models.Registration:
    return models.Registration(answer.account_id, answer.team_name, answer.role, answer.api_key)


def account_key(answer: v1.PutAccountResponse | v1.RotateKeyResponse | v1.RevokeKeyResponse) -> models.AccountKey:
    return models.AccountKey(answer.account_id, answer.api_key, answer.journal_seq)


def state_digest(answer: v1.StateDigest) -> models.StateDigest:
    return models.StateDigest(answer.digest, answer.journal_seq)


def instrument(instrument: v1.Instrument) -> models.Instrument:
    return models.Instrument(
        instrument_id=instrument.instrument_id,
        tick_size=to_decimal(instrument.tick_size),
        lot_size=to_decimal(instrument.lot_size),
        quote_asset=instrument.quote_asset,
        base_asset=instrument.base_asset,
        settles_in_cash=instrument.settles_in_cash,
        position_limit=optional_decimal(instrument, "position_limit"),
        least_notional=optional_decimal(instrument, "least_notional"),
    )


def instruments(answer: v1.ListInstrumentsResponse) -> list[models.Instrument]:
    return list(map(instrument, answer.instruments))


def level(level: v1.BookLevel) -> models.BookLevel:
    return models.BookLevel(to_decimal(level.price), to_decimal(level.quantity))


def order_book(book: v1.OrderBook) -> models.OrderBook:
    return models.OrderBook(
        instrument_id=book.instrument_id,
        seq=book.seq,
        time_ns=book.time_ns,
        bids=tuple(map(level, book.bids)),
        asks=tuple(map(level, book.asks)),
    )


def book_change(change: v1.BookChange) -> models.BookChange:
    return models.BookChange(bids=tuple(map(level, change.bids)), asks=tuple(map(level, change.asks)))


def public_trade(trade: v1.PublicTrade) -> models.PublicTrade:
    return models.PublicTrade(
        trade_id=trade.trade_id,
        price=to_decimal(trade.price),
        quantity=to_decimal(trade.quantity),
        buyer_is_aggressor=trade.buyer_is_aggressor,
    )


def ticker(ticker: v1.Ticker) -> models.Ticker:
    return models.Ticker(
        last_price=optional_decimal(ticker, "last_price"),
        best_bid=optional_decimal(ticker, "best_bid"),
        best_ask=optional_decimal(ticker, "best_ask"),
        volume=to_decimal(ticker.volume),
    )


PUBLIC_UPDATES: dict[str, Callable[[Any], models.PublicUpdate]] = {
    "book": order_book,
    "change": book_change,
    "trade": public_trade,
    "ticker": ticker,
}


def market_data_update(update: v1.MarketDataUpdate) -> models.MarketDataUpdate | None:
    """One public message; None for a kind that this client does not know."""
    kind = update.WhichOneof("update")
    if kind is None:
        return None
    return models.MarketDataUpdate(
        instrument_id=update.instrument_id,
        seq=update.seq,
        time_ns=update.time_ns,
        conflated=update.conflated,
        update=PUBLIC_UPDATES[kind](getattr(update, kind)),
    )


def accepted(event: v1.OrderAccepted) -> models.Accepted:
    return models.Accepted(
        order_id=event.order_id,
        client_order_id=event.client_order_id,
        instrument_id=event.instrument_id,
        side=word(SIDE_WORDS, event.side),
        order_type=word(ORDER_TYPE_WORDS, event.order_type),
        time_in_force=word(TIME_IN_FORCE_WORDS, event.time_in_force),
        quantity=to_decimal(event.quantity),
        price=optional_decimal(event, "price"),
        expires_at_ns=event.expires_at_ns if event.HasField("expires_at_ns") else None,
    )


def rejected(event: v1.OrderRejected) -> models.Rejected:
    reject = event.reject
    code = word(CODES, reject.reason)
    return models.Rejected(
        client_order_id=event.client_order_id,
        instrument_id=event.instrument_id,
        code=code,
        message=without_number(code, reject.message),
        details=details(reject),
    )


def filled(event: v1.OrderFilled) -> models.Filled:
    return models.Filled(
        order_id=event.order_id,
        client_order_id=event.client_order_id,
        trade_id=event.trade_id,
        instrument_id=event.instrument_id,
        side=word(SIDE_WORDS, event.side),
        price=to_decimal(event.price),
        quantity=to_decimal(event.quantity),
        remaining_quantity=to_decimal(event.remaining_quantity),
        status=word(STATUS_WORDS, event.status),
        liquidity=LIQUIDITY_WORDS.get(event.liquidity),
        fees=to_decimal(event.fees),
    )


def cancelled(event: v1.OrderCancelled) -> models.Cancelled:
    cancelled_quantity = to_decimal(event.cancelled_quantity)
    return models.Cancelled(event.order_id, event.client_order_id, cancelled_quantity, event.reason)


def cancel_rejected(event: v1.CancelRejected) -> models.CancelRejected:
    return models.CancelRejected(event.order_id, event.client_order_id, event.reason)


def replaced(event: v1.OrderReplaced) -> models.Replaced:
    return models.Replaced(
        order_id=event.order_id,
        client_order_id=event.client_order_id,
        quantity=to_decimal(event.quantity),
        price=optional_decimal(event, "price"),
        remaining_quantity=to_decimal(event.remaining_quantity),
    )


def replace_rejected(event: v1.ReplaceRejected) -> models.ReplaceRejected:
    reject = event.reject
    return models.ReplaceRejected(
        order_id=event.order_id,
        client_order_id=event.client_order_id,
        code=word(CODES, reject.reason),
        message=reject.message,
        details=details(reject),
    )


def expired(event: v1.OrderExpired) -> models.Expired:
    return models.Expired(event.order_id, event.client_order_id, to_decimal(event.cancelled_quantity))


def position_updated(event: v1.PositionUpdated) -> models.PositionUpdated:
    return models.PositionUpdated(event.instrument_id, to_decimal(event.position))


EXECUTION_EVENTS: dict[str, Callable[[Any], models.ExecutionEvent]] = {
    "accepted": accepted,
    "rejected": rejected,
    "filled": filled,
    "cancelled": cancelled,
    "cancel_rejected": cancel_rejected,
    "replaced": replaced,
    "replace_rejected": replace_rejected,
    "expired": expired,
    "position": position_updated,
}


def execution_report(report: v1.ExecutionReport) -> models.ExecutionReport | None:
    """One private event; None for a kind that this client does not know."""
    kind = report.WhichOneof("event")
    if kind is None:
        return None
    return models.ExecutionReport(
        seq=report.seq,
        journal_seq=report.journal_seq,
        time_ns=report.time_ns,
        event=EXECUTION_EVENTS[kind](getattr(report, kind)),
    )


SESSION_OUTCOMES: dict[str, Callable[[Any], models.OrderResult | models.CancelAllResult | models.OrderBook]] = {
    "order": order_result,
    "cancel_all": cancel_all_result,
    "order_book": order_book,
}


def session_result(result: v1.Result) -> models.SessionResult:
    kind = result.WhichOneof("result")
    try:
        if kind is None or kind == "reject":
            raise rejection(result.reject)
        return models.SessionResult(result.request_id, SESSION_OUTCOMES[kind](getattr(result, kind)))
    except ExchangeError as error:
        return models.SessionResult(result.request_id, None, error)
