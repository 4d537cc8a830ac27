"""Refusals in their order, limits, cash, fees and sums: the rules, one test a sentence."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from msgspec.structs import replace

from engine import accounts, matching
from engine.commands import NewOrder, PutAccount, PutFeeSchedule, PutInstrument
from engine.events import OrderFilled, OrderOutcome, OrderRejected
from engine.fixed import INT64_MAX, average, notional, text
from engine.instrument import FeeSchedule, Instrument
from engine.order import OrderStatus
from tests.engine.desk import (
    AAPL,
    ANN,
    BOB,
    BUY,
    CAT,
    CENT,
    GTC,
    GTD,
    LIMIT,
    MARKET,
    ONE,
    SPX,
    Desk,
    fixed,
    key,
    reason,
)


@pytest.fixture
def desk() -> Desk:
    return Desk()


GOOD = NewOrder(ANN, "", "SPX", BUY, LIMIT, GTC, 10 * ONE, 100 * ONE)
# Each spoils one thing, in the documented precedence: an order with several faults is refused for the first.
FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("DUPLICATE_CLIENT_ORDER_ID", {"client_order_id": "taken"}),
    ("INVALID_INSTRUMENT", {"instrument_id": "NONE"}),
    ("INVALID_SIDE", {"side": 3}),
    ("INVALID_ORDER_TYPE", {"order_type": 3}),
    ("INVALID_TIME_IN_FORCE", {"time_in_force": 6}),
    ("INVALID_QUANTITY", {"quantity": 0}),
    ("MISSING_PRICE", {"price": None}),
]


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_an_order_is_refused_for_the_first_of_its_faults(desk: Desk, first: int) -> None:
    desk.do(replace(GOOD, client_order_id="taken"))
    spoilt = GOOD
    for _, change in FAULTS[first:]:
        spoilt = replace(spoilt, **change)
    assert reason(desk.outcome(spoilt)) == FAULTS[first][0]
    assert desk.kinds == ["OrderRejected", "OrderOutcome"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"side": 0}, "INVALID_SIDE"),
        ({"order_type": 0}, "INVALID_ORDER_TYPE"),
        ({"time_in_force": 0}, "INVALID_TIME_IN_FORCE"),
        ({"time_in_force": GTD}, "INVALID_TIME_IN_FORCE"),
        ({"time_in_force": GTD, "expires_at_ns": 1}, "INVALID_TIME_IN_FORCE"),
        ({"time_in_force": GTD, "expires_at_ns": 2}, None),
        ({"time_in_force": GTC, "expires_at_ns": 2}, "INVALID_TIME_IN_FORCE"),
        ({"quantity": -ONE}, "INVALID_QUANTITY"),
        ({"quantity": ONE + 1}, "INVALID_QUANTITY"),
        ({"price": 0}, "INVALID_PRICE"),
        ({"price": -CENT}, "INVALID_PRICE"),
        ({"price": CENT + 1}, "INVALID_PRICE"),
        ({"order_type": MARKET}, "INVALID_PRICE"),
        ({"order_type": MARKET, "price": None}, None),
    ],
)
def test_what_is_wrong_in_form_is_refused_never_rounded(
    desk: Desk, change: dict[str, Any], expected: str | None
) -> None:
    before = desk.exchange.digest()
    assert reason(desk.outcome(replace(GOOD, **change))) == expected
    assert (desk.exchange.digest() == before) == (expected is not None)


def test_an_unknown_instrument_is_refused_with_those_there_are(desk: Desk) -> None:
    refusal = desk.buy(ANN, 1, 100, on="NONE").refusal
    assert refusal is not None
    assert refusal.message == "Unknown instrument: NONE"
    assert refusal.texts == {"requested_instrument": "NONE", "available_instruments": ["AAPL", "SPX"]}


def test_the_dry_run_judges_as_the_order_would_be_and_changes_nothing(desk: Desk) -> None:
    before, number = desk.exchange.digest(), desk.exchange.last_number(ANN)
    good = desk.exchange.validate(1, GOOD)
    assert (good.refusal, good.status, good.order_id, good.remaining_quantity) == (None, OrderStatus.NEW, 0, 10 * ONE)
    assert reason(desk.exchange.validate(1, replace(GOOD, quantity=51 * ONE))) == "POSITION_LIMIT_EXCEEDED"
    assert reason(desk.exchange.validate(1, replace(GOOD, account=99))) == "PERMISSION_DENIED"
    assert (desk.exchange.digest(), desk.exchange.last_number(ANN)) == (before, number)
    assert desk.exchange.positions(ANN) == []
    desk.do(replace(GOOD, client_order_id="mine"))
    again = desk.exchange.validate(1, replace(GOOD, client_order_id="mine"))
    assert (again.duplicate, again.order_id) == (True, 1)


# Position limit


def test_a_position_limit_counts_the_position_and_the_open_orders_on_the_same_side(desk: Desk) -> None:
    desk.sell(BOB, 30, 100)
    desk.buy(ANN, 30, 100)
    desk.buy(ANN, 15, 99)
    outcome = desk.buy(ANN, 10, 98)
    refusal = outcome.refusal
    assert refusal is not None
    assert refusal.reason.name == "POSITION_LIMIT_EXCEEDED"
    assert refusal.message == "Order would exceed position limit of ±50"
    assert refusal.amounts == {
        "current_position": 30 * ONE,
        "open_quantity": 15 * ONE,
        "order_quantity": 10 * ONE,
        "position_limit": 50 * ONE,
        "limit": 50 * ONE,
    }
    assert desk.buy(ANN, 5, 98).refusal is None
    assert desk.sell(ANN, 80, 150).refusal is None
    assert reason(desk.sell(ANN, 1, 150)) == "POSITION_LIMIT_EXCEEDED"


def test_an_account_without_position_limit_is_not_held_to_one(desk: Desk) -> None:
    desk.do(PutAccount("maker", "trader", "unlimited", key(9)))
    assert desk.buy(4, 5_000, 100).refusal is None
    desk.do(PutAccount("maker", "trader", "", key(9)))
    assert reason(desk.buy(4, 1, 100)) == "POSITION_LIMIT_EXCEEDED"


# Cash


def test_cash_is_reserved_on_entry_and_released_on_every_terminal_path(desk: Desk) -> None:
    total = 10_000 * ONE
    desk.buy(ANN, 10, 100, on="AAPL")
    assert desk.cash(ANN) == (total, 1_000 * ONE)
    desk.replace(ANN, 1, quantity=5)
    assert desk.cash(ANN) == (total, 500 * ONE)
    desk.cancel(ANN, 1)
    assert desk.cash(ANN) == (total, 0)
    desk.buy(ANN, 10, 100, on="AAPL", tif=GTD, expires=50)
    desk.pass_time(50)
    assert desk.cash(ANN) == (total, 0)
    desk.buy(ANN, 10, 100, on="AAPL", tif=4)
    assert desk.cash(ANN) == (total, 0)
    desk.buy(ANN, 10, 100, on="AAPL")
    desk.sell(BOB, 10, 100, on="AAPL")
    assert desk.cash(ANN) == (total - 1_000 * ONE + fixed("0.2"), 0)


def test_holdings_are_reserved_on_entry(desk: Desk) -> None:
    desk.sell(ANN, 60, 100, on="AAPL")
    assert desk.cash(ANN, "AAPL") == (100 * ONE, 60 * ONE)
    refusal = desk.sell(ANN, 41, 100, on="AAPL").refusal
    assert refusal is not None
    assert refusal.message == "Insufficient funds for 41 AAPL order; available: 40 AAPL"
    assert refusal.amounts == {"required_balance": 41 * ONE, "available_balance": 40 * ONE}


def test_buying_needs_the_cash(desk: Desk) -> None:
    desk.buy(ANN, 50, 100, on="AAPL")
    refusal = desk.buy(ANN, 150, 100, on="AAPL").refusal
    assert refusal is not None
    assert refusal.reason.name == "INSUFFICIENT_FUNDS"
    assert refusal.message == "Insufficient funds for 15000 USD order; available: 5000 USD"
    assert refusal.amounts == {"required_balance": 15_000 * ONE, "available_balance": 5_000 * ONE}


def test_a_fill_at_a_better_price_releases_the_difference(desk: Desk) -> None:
    desk.sell(BOB, 10, 90, on="AAPL")
    desk.buy(ANN, 20, 100, on="AAPL")
    assert desk.cash(ANN) == ((10_000 - 900) * ONE - fixed("0.3"), 1_000 * ONE)


def test_fees_are_not_counted_on_entry_and_may_overdraw(desk: Desk) -> None:
    desk.sell(BOB, 100, 100, on="AAPL")
    assert desk.buy(ANN, 100, 100, on="AAPL").status == OrderStatus.FILLED
    assert desk.cash(ANN) == (-3 * ONE, 0)
    assert reason(desk.buy(ANN, 1, "0.01", on="AAPL")) == "INSUFFICIENT_FUNDS"


def test_what_does_not_settle_in_cash_moves_cash_and_may_go_negative_with_nothing_reserved(desk: Desk) -> None:
    desk.sell(BOB, 2, 9_000)
    desk.buy(ANN, 2, 9_000)
    assert desk.cash(ANN) == (-8_000 * ONE - fixed("0.06"), 0)
    desk.buy(ANN, 2, 9_000)
    assert desk.cash(ANN)[1] == 0
    assert desk.position(ANN) == 2
    assert [view.asset for view in desk.exchange.balances(ANN)] == ["AAPL", "USD"]


# Fees


def test_fees_are_positive_when_charged_and_negative_when_rebated(desk: Desk) -> None:
    desk.sell(BOB, 20, 100)
    outcome = desk.buy(ANN, 20, 100)
    assert outcome.fees == fixed("0.6")
    assert [fill.fees for fill in desk.events(OrderFilled)] == [fixed("0.6"), fixed("-0.4")]
    assert desk.cash(0)[0] == -30_000 * ONE + fixed("0.2")


def test_an_order_pays_the_fees_it_was_entered_under(desk: Desk) -> None:
    desk.sell(BOB, 1, 100)
    desk.do(PutFeeSchedule(FeeSchedule("standard", 5 * CENT, 7 * CENT)))
    desk.buy(ANN, 1, 100)
    assert [fill.fees for fill in desk.events(OrderFilled)] == [7 * CENT, -2 * CENT]


# Sums


def test_cash_and_positions_sum_to_zero_over_all_accounts_and_the_venue_s_own(desk: Desk) -> None:
    desk.sell(BOB, 5, 100, on="AAPL")
    desk.buy(ANN, 3, 101, on="AAPL")
    desk.buy(CAT, 9, 102)
    desk.sell(ANN, 4)
    for asset in ("USD", "AAPL"):
        assert sum(desk.cash(account, asset)[0] for account in (0, ANN, BOB, CAT)) == 0
    for name in ("SPX", "AAPL"):
        assert sum(desk.position(account, name) for account in (ANN, BOB, CAT)) == 0


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("cost - maker_fee", "cost"),
        ("-cost - taker_fee", "-cost"),
        ("taker_fee + maker_fee", "taker_fee"),
        ("-quantity", "0"),
    ],
)
def test_a_trade_that_does_not_come_to_zero_is_never_let_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str
) -> None:
    """Faults are put into the engine itself: nothing outside can make it lose a cent."""
    faulty = dict(vars(accounts))
    exec(inspect.getsource(accounts.settle).replace(right, wrong), faulty)
    monkeypatch.setattr(matching, "settle", faulty["settle"])
    desk.sell(BOB, 1, 100)
    with pytest.raises(accounts.OutOfBalance):
        desk.buy(ANN, 1, 100)


def test_an_average_price_is_rounded_half_even_and_cash_uses_the_exact_notional(desk: Desk) -> None:
    assert [average(total, 2 * ONE) for total in (1, 3, 5)] == [0, 2, 2]
    assert average(10, 3 * ONE) == 3
    assert average(11, 3 * ONE) == 4
    assert notional(128_500_000_000, 10_000) == 1_285_000
    desk.sell(BOB, 1, 100)
    desk.sell(BOB, 2, "100.01")
    outcome = desk.buy(ANN, 3, 101)
    assert outcome.average_price == 100_006_666_667
    assert desk.cash(ANN)[0] == 10_000 * ONE - fixed("300.02") - fixed("0.09")


def test_amounts_are_written_as_plain_decimals() -> None:
    assert [text(units) for units in (128_500_000_000, -50 * ONE, 1, 0)] == ["128.5", "-50", "0.000000001", "0"]


# Range


def test_an_order_whose_notional_is_beyond_int64_is_refused(desk: Desk) -> None:
    desk.do(PutAccount("maker", "trader", "unlimited", key(9)))
    most = INT64_MAX // ONE
    assert reason(desk.buy(4, most, 2)) == "NOTIONAL_OUT_OF_RANGE"
    assert reason(desk.buy(4, most, 1)) == "NOTIONAL_OUT_OF_RANGE"  # with its fees
    assert desk.buy(4, most, "0.9").refusal is None
    assert reason(desk.buy(4, 1, "0.01")) == "NOTIONAL_OUT_OF_RANGE"  # the position could not hold both


def test_a_balance_is_refused_to_leave_int64_by_anything_that_open_orders_could_bring(desk: Desk) -> None:
    desk.do(PutAccount("maker", "trader", "unlimited", key(9), {"USD": INT64_MAX - 1_000 * ONE}))
    assert desk.sell(4, 5, 100).refusal is None
    assert reason(desk.sell(4, 5, 100)) == "NOTIONAL_OUT_OF_RANGE"
    assert desk.sell(4, 4, 100).refusal is None
    desk.cancel(4, 1)
    assert desk.sell(4, 5, 100).refusal is None


def test_a_replaced_order_counts_for_what_it_has_become(desk: Desk) -> None:
    desk.do(PutAccount("maker", "trader", "unlimited", key(9), {"USD": INT64_MAX - 1_000 * ONE}))
    desk.sell(4, 5, 100)
    assert desk.replace(4, 1, quantity=8).refusal is None
    assert reason(desk.sell(4, 3, 100)) == "NOTIONAL_OUT_OF_RANGE"
    assert reason(desk.replace(4, 1, quantity=10)) == "NOTIONAL_OUT_OF_RANGE"


def test_the_rebates_that_open_orders_could_bring_are_counted_too(desk: Desk) -> None:
    desk.do(PutAccount("maker", "trader", "unlimited", key(9), {"USD": INT64_MAX - fixed("100.05")}))
    assert desk.sell(4, 1, 100).refusal is None
    assert reason(desk.sell(4, 1, "0.02")) == "NOTIONAL_OUT_OF_RANGE"
    assert desk.sell(4, 1, "0.01").refusal is None


def test_a_level_never_holds_more_than_int64(desk: Desk) -> None:
    for number in (7, 8):
        desk.do(PutAccount(f"maker {number}", "trader", "unlimited", key(number)))
    most = 5_000_000_000
    assert desk.buy(4, most, "0.01").refusal is None
    assert reason(desk.buy(5, most, "0.01")) == "NOTIONAL_OUT_OF_RANGE"
    assert desk.buy(5, most, "0.02").refusal is None


def test_a_seller_better_paid_than_it_asks_is_judged_by_what_it_would_get(desk: Desk) -> None:
    desk.do(PutAccount("maker", "trader", "unlimited", key(9), {"USD": INT64_MAX - 1_000 * ONE}))
    desk.buy(ANN, 1, 2_000)
    assert reason(desk.sell(4, 1, 1)) == "NOTIONAL_OUT_OF_RANGE"
    assert reason(desk.sell(4, 1)) == "NOTIONAL_OUT_OF_RANGE"


def test_an_order_below_the_least_notional_is_refused(desk: Desk) -> None:
    desk.do(PutInstrument(replace(AAPL, least_notional=50 * ONE)))
    refusal = desk.buy(ANN, 4, "12.49", on="AAPL").refusal
    assert refusal is not None
    assert refusal.reason.name == "NOTIONAL_OUT_OF_RANGE"
    assert refusal.amounts == {"notional": fixed("49.96"), "least_notional": 50 * ONE}
    assert desk.sell(BOB, 4, "12.5", on="AAPL").refusal is None
    assert reason(desk.buy(ANN, 3, on="AAPL")) == "NOTIONAL_OUT_OF_RANGE"
    assert desk.buy(ANN, 4, on="AAPL").status == OrderStatus.FILLED
    assert desk.buy(ANN, 1, on="AAPL").status == OrderStatus.CANCELLED  # nothing to judge it by


def test_checks_come_in_the_order_notional_position_funds(desk: Desk) -> None:
    limited = replace(AAPL, position_limit=10 * ONE, least_notional=50 * ONE)
    desk.do(PutInstrument(limited))
    assert reason(desk.buy(ANN, 11, 4, on="AAPL")) == "NOTIONAL_OUT_OF_RANGE"
    assert reason(desk.buy(ANN, 11, 4_000, on="AAPL")) == "POSITION_LIMIT_EXCEEDED"
    assert reason(desk.buy(ANN, 10, 4_000, on="AAPL", tif=5)) == "INSUFFICIENT_FUNDS"
    assert reason(desk.buy(ANN, 10, 40, on="AAPL", tif=5)) == "FOK_NOT_FILLABLE"


def test_a_refusal_is_said_to_the_account_and_to_the_sender(desk: Desk) -> None:
    outcome = desk.buy(ANN, 51, 100, named="mine")
    event = desk.said[0]
    assert isinstance(event, OrderRejected)
    assert event.refusal is outcome.refusal
    assert (event.client_order_id, event.instrument_id, event.number) == ("mine", "SPX", 1)
    assert isinstance(outcome, OrderOutcome)
    assert (outcome.order_id, outcome.status, outcome.number) == (0, OrderStatus.REJECTED, 1)


def test_instruments_share_the_balances_of_their_assets(desk: Desk) -> None:
    desk.do(PutInstrument(Instrument("AAPL/EUR", CENT, ONE, "EUR", "AAPL", settles_in_cash=True)))
    desk.sell(ANN, 60, 100, on="AAPL/EUR")
    assert reason(desk.sell(ANN, 60, 100, on="AAPL")) == "INSUFFICIENT_FUNDS"
    assert SPX.base_asset == ""
