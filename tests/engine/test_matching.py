"""Matching, market orders, time in force: the rules, one test a sentence."""

from __future__ import annotations

import pytest

from engine.events import BookChanged, OrderCancelled, OrderExpired, OrderFilled, TradePrinted
from engine.fixed import INT64_MAX
from engine.order import Liquidity, OrderStatus
from tests.engine.desk import (
    ANN,
    BOB,
    BUY,
    CAT,
    DAY,
    FOK,
    GTC,
    GTD,
    IOC,
    MARKET,
    ONE,
    SELL,
    Desk,
    reason,
)

DAY_NS = 86_400 * ONE


@pytest.fixture
def desk() -> Desk:
    return Desk()


def makers(desk: Desk) -> list[tuple[int, int]]:
    """The makers of the last command's trades and what each traded, in order."""
    fills = [fill for fill in desk.events(OrderFilled) if fill.liquidity == Liquidity.MAKER]
    return [(fill.order_id, fill.quantity // ONE) for fill in fills]


@pytest.mark.parametrize(("side", "best", "worse", "limit"), [(BUY, 101, 100, 99), (SELL, 100, 101, 102)])
def test_a_better_price_trades_first(desk: Desk, side: int, best: int, worse: int, limit: int) -> None:
    second = desk.enter(ANN, side, 1, worse).order_id
    first = desk.enter(ANN, side, 1, best).order_id
    desk.enter(BOB, 3 - side, 2, limit)
    assert makers(desk) == [(first, 1), (second, 1)]


@pytest.mark.parametrize(("side", "limit"), [(BUY, 99), (SELL, 101)])
def test_at_one_price_the_older_order_trades_first(desk: Desk, side: int, limit: int) -> None:
    orders = [desk.enter(account, side, 2, 100).order_id for account in (ANN, BOB, ANN)]
    desk.enter(CAT, 3 - side, 5, limit)
    assert makers(desk) == [(orders[0], 2), (orders[1], 2), (orders[2], 1)]


def test_a_trade_s_price_is_the_resting_order_s(desk: Desk) -> None:
    desk.sell(ANN, 1, 100)
    assert desk.buy(BOB, 1, 105).average_price == 100 * ONE


def test_an_order_never_trades_beyond_its_limit(desk: Desk) -> None:
    desk.sell(ANN, 1, 100)
    desk.sell(ANN, 1, 102)
    outcome = desk.buy(BOB, 2, 101)
    assert (outcome.filled_quantity, outcome.status) == (ONE, OrderStatus.PARTIALLY_FILLED)
    assert (desk.bids(), desk.asks()) == ([(101, 1)], [(102, 1)])


def test_events_come_as_one_batch_acknowledgement_first_then_taker_and_maker_of_each_trade(desk: Desk) -> None:
    desk.sell(ANN, 1, 100)
    desk.sell(CAT, 1, 101)
    desk.buy(BOB, 3, 101, tif=IOC)
    trade = ["OrderFilled", "OrderFilled", "PositionUpdated", "PositionUpdated", "TradePrinted"]
    assert desk.kinds == ["OrderAccepted", *trade, *trade, "OrderCancelled", "BookChanged", "OrderOutcome"]
    assert [fill.account for fill in desk.events(OrderFilled)] == [BOB, ANN, BOB, CAT]


def test_each_account_s_events_are_numbered_1_2_3(desk: Desk) -> None:
    desk.sell(ANN, 2, 100)
    desk.buy(BOB, 1, 100)
    assert [event.number for event in desk.said if getattr(event, "account", 0) == BOB] == [1, 2, 3, 3]
    assert [event.number for event in desk.said if getattr(event, "account", 0) == ANN] == [2, 3]
    desk.buy(ANN, -1, 100)
    assert desk.exchange.last_number(ANN) == 4
    assert desk.exchange.last_number(99) == 0


def test_public_events_are_numbered_by_instrument(desk: Desk) -> None:
    desk.sell(ANN, 2, 100)
    desk.sell(ANN, 2, 100, on="AAPL")
    desk.buy(BOB, 1, 100)
    assert [event.number for event in desk.said if isinstance(event, TradePrinted | BookChanged)] == [2, 3]
    view = desk.exchange.book("SPX", 0)
    assert view is not None
    assert view.number == 3


def test_the_last_event_is_the_outcome_with_the_command_s_own_fills(desk: Desk) -> None:
    desk.sell(ANN, 1, 100)
    outcome = desk.buy(BOB, 2, 100)
    assert outcome.fills == tuple(fill for fill in desk.events(OrderFilled) if fill.account == BOB)
    assert (outcome.number, outcome.journal_seq, outcome.time_ns) == (3, desk.seq, desk.now)


def test_a_changed_level_is_told_once_with_its_final_quantity(desk: Desk) -> None:
    desk.sell(ANN, 1, 100)
    desk.sell(ANN, 2, 100)
    desk.sell(ANN, 2, 101)
    desk.buy(BOB, 6, 101)
    levels = desk.events(BookChanged)[0].levels
    assert levels == ((SELL, 100 * ONE, 0), (SELL, 101 * ONE, 0), (BUY, 101 * ONE, ONE))


def test_a_command_that_changes_no_level_tells_of_none(desk: Desk) -> None:
    desk.buy(ANN, 1, 100, tif=IOC)
    assert desk.kinds == ["OrderAccepted", "OrderCancelled", "OrderOutcome"]


def test_both_sides_of_a_trade_with_oneself_are_reported(desk: Desk) -> None:
    desk.sell(ANN, 1, 100)
    desk.buy(ANN, 1, 100)
    assert [fill.side for fill in desk.events(OrderFilled)] == [BUY, SELL]
    assert desk.position(ANN) == 0


def test_orders_trades_and_accounts_are_counted_from_1_and_a_refused_order_takes_no_number(desk: Desk) -> None:
    assert sorted(desk.exchange.accounts) == [0, ANN, BOB, CAT]
    assert desk.sell(ANN, 1, 100).order_id == 1
    assert desk.sell(ANN, 0, 100).order_id == 0
    assert desk.buy(BOB, 1, 100).order_id == 2
    assert desk.events(TradePrinted)[0].trade_id == 1


def test_the_book_is_given_to_the_depth_asked_for(desk: Desk) -> None:
    for price in (100, 99, 98):
        desk.buy(ANN, 1, price)
    view = desk.exchange.book("SPX", 2)
    assert view is not None
    assert [price // ONE for price, _ in view.bids] == [100, 99]
    assert desk.exchange.book("NONE", 0) is None


# Market orders


def test_what_a_market_order_cannot_trade_is_cancelled_with_no_liquidity(desk: Desk) -> None:
    desk.sell(ANN, 1, 100)
    outcome = desk.buy(BOB, 3)
    cancelled = desk.events(OrderCancelled)[0]
    assert (cancelled.reason, cancelled.cancelled_quantity) == ("no_liquidity", 2 * ONE)
    assert (outcome.status, outcome.filled_quantity, outcome.remaining_quantity) == (OrderStatus.CANCELLED, ONE, 0)
    assert desk.bids() == []


@pytest.mark.parametrize("tif", [GTC, DAY, IOC])
def test_a_market_order_on_an_empty_book_is_accepted_then_cancelled_with_zero_filled(desk: Desk, tif: int) -> None:
    outcome = desk.sell(ANN, 3, tif=tif)
    assert desk.kinds == ["OrderAccepted", "OrderCancelled", "OrderOutcome"]
    assert desk.events(OrderCancelled)[0].reason == "no_liquidity"
    assert (outcome.refusal, outcome.filled_quantity, outcome.average_price) == (None, 0, None)


def test_a_market_order_trades_through_every_level(desk: Desk) -> None:
    desk.sell(ANN, 1, 100)
    desk.sell(ANN, 1, 4000)
    outcome = desk.buy(BOB, 2)
    assert (outcome.status, outcome.average_price) == (OrderStatus.FILLED, 2050 * ONE)


def test_a_market_buy_that_cash_cannot_cover_now_is_refused_before_it_matches(desk: Desk) -> None:
    desk.sell(ANN, 1, 9_000, on="AAPL")
    desk.sell(ANN, 5, 9_500, on="AAPL")
    outcome = desk.buy(BOB, 2, on="AAPL")
    assert reason(outcome) == "INSUFFICIENT_FUNDS"
    assert desk.asks("AAPL") == [(9_000, 1), (9_500, 5)]
    assert desk.buy(BOB, 1, on="AAPL").status == OrderStatus.FILLED


def test_a_market_sell_needs_the_whole_holding(desk: Desk) -> None:
    desk.buy(ANN, 1, 10, on="AAPL")
    assert reason(desk.sell(BOB, 101, on="AAPL")) == "INSUFFICIENT_FUNDS"
    assert desk.sell(BOB, 100, on="AAPL").filled_quantity == ONE


# Time in force


def test_a_gtc_order_rests_until_it_is_cancelled_or_filled(desk: Desk) -> None:
    desk.buy(ANN, 1, 100, tif=GTC)
    desk.pass_time(10**18)
    assert desk.bids() == [(100, 1)]
    assert desk.exchange.next_expiry_ns == INT64_MAX


def test_an_ioc_remainder_is_cancelled_and_never_rests(desk: Desk) -> None:
    desk.sell(ANN, 1, 100)
    outcome = desk.buy(BOB, 3, 100, tif=IOC)
    assert (outcome.filled_quantity, outcome.status) == (ONE, OrderStatus.CANCELLED)
    cancelled = desk.events(OrderCancelled)[0]
    assert (cancelled.reason, cancelled.cancelled_quantity) == ("immediate_or_cancel", 2 * ONE)
    assert desk.bids() == []


@pytest.mark.parametrize("price", [101, None])
def test_a_fok_order_fills_whole_or_is_refused_and_nothing_changes(desk: Desk, price: int | None) -> None:
    desk.sell(ANN, 1, 100)
    desk.sell(ANN, 1, 101)
    desk.sell(CAT, 1, 101)
    before = desk.exchange.digest()
    outcome = desk.buy(BOB, 4, price, tif=FOK)
    assert reason(outcome) == "FOK_NOT_FILLABLE"
    assert outcome.refusal is not None
    assert outcome.refusal.amounts == {"order_quantity": 4 * ONE, "available_quantity": 3 * ONE}
    assert desk.exchange.digest() == before
    assert desk.buy(BOB, 3, price, tif=FOK).status == OrderStatus.FILLED


def test_a_fok_order_counts_only_what_is_within_its_limit(desk: Desk) -> None:
    desk.sell(ANN, 1, 100)
    desk.sell(ANN, 1, 102)
    assert reason(desk.buy(BOB, 2, 101, tif=FOK)) == "FOK_NOT_FILLABLE"


def test_a_day_order_lasts_until_midnight_utc(desk: Desk) -> None:
    desk.now = 5 * DAY_NS + 123
    desk.buy(ANN, 1, 100, tif=DAY)
    assert desk.exchange.next_expiry_ns == 6 * DAY_NS
    desk.pass_time(6 * DAY_NS - 1)
    assert desk.bids() == [(100, 1)]
    desk.pass_time(6 * DAY_NS)
    assert desk.bids() == []


def test_a_day_order_entered_at_midnight_has_the_whole_day(desk: Desk) -> None:
    desk.now = 5 * DAY_NS
    desk.buy(ANN, 1, 100, tif=DAY)
    assert desk.exchange.next_expiry_ns == 6 * DAY_NS


def test_a_gtd_order_expires_at_its_time(desk: Desk) -> None:
    desk.buy(ANN, 3, 100, tif=GTD, expires=50, named="mine")
    desk.sell(BOB, 1, 100)
    desk.pass_time(50)
    assert desk.kinds == ["OrderExpired", "BookChanged", "AdminOutcome"]
    expired = desk.events(OrderExpired)[0]
    assert (expired.order_id, expired.client_order_id, expired.cancelled_quantity) == (1, "mine", 2 * ONE)
    view = desk.exchange.order(ANN, 1, "")
    assert view is not None
    assert (view.status, view.filled_quantity, view.remaining_quantity) == (OrderStatus.EXPIRED, ONE, 0)


def test_orders_expire_by_time_and_then_by_entry(desk: Desk) -> None:
    for expires in (30, 20, 30, 20):
        desk.buy(ANN, 1, 100, tif=GTD, expires=expires)
    assert [event.order_id for event in desk.pass_time(30) if isinstance(event, OrderExpired)] == [2, 4, 1, 3]


def test_what_was_cancelled_or_filled_does_not_expire(desk: Desk) -> None:
    desk.buy(ANN, 1, 100, tif=GTD, expires=50)
    desk.buy(ANN, 1, 101, tif=GTD, expires=40)
    desk.cancel(ANN, 1)
    assert desk.exchange.next_expiry_ns == 40
    desk.sell(BOB, 1, 101)
    assert desk.exchange.next_expiry_ns == INT64_MAX
    assert desk.pass_time(60)[:-1] == []


def test_nothing_but_time_expires_an_order(desk: Desk) -> None:
    desk.buy(ANN, 1, 100, tif=GTD, expires=50)
    desk.now = 60
    assert desk.sell(BOB, 1, 100).status == OrderStatus.FILLED


@pytest.mark.parametrize("tif", [GTD, IOC, FOK, GTC, DAY])
def test_a_market_order_takes_any_time_in_force(desk: Desk, tif: int) -> None:
    desk.sell(ANN, 1, 100)
    expires = 50 if tif == GTD else None
    assert desk.buy(BOB, 1, tif=tif, expires=expires, order_type=MARKET).status == OrderStatus.FILLED
