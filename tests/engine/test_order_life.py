"""Cancel, replace, identity and the states of an order: the rules, one test a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from engine.commands import CancelAll, NewOrder, PutInstrument, PutVenue, ReplaceOrder
from engine.events import (
    BookChanged,
    CancelAllOutcome,
    CancelRejected,
    OrderCancelled,
    OrderFilled,
    OrderReplaced,
    ReplaceRejected,
)
from engine.instrument import Instrument
from engine.order import ALLOWED, IllegalTransition, Liquidity, OrderStatus, diagram, move
from tests.engine.desk import ANN, BOB, BUY, CENT, GTC, GTD, IOC, LIMIT, ONE, SELL, Desk, fixed, reason


@pytest.fixture
def desk() -> Desk:
    return Desk()


def details(outcome: object) -> dict[str, object]:
    refusal = getattr(outcome, "refusal", None)
    assert refusal is not None
    return dict(refusal.texts)


# Cancel


def test_a_cancel_takes_what_is_left_and_keeps_what_was_filled(desk: Desk) -> None:
    order = desk.buy(ANN, 3, 100, named="mine")
    desk.sell(BOB, 1, 100)
    outcome = desk.cancel(ANN, named="mine")
    assert desk.kinds == ["OrderCancelled", "BookChanged", "OrderOutcome"]
    cancelled = desk.events(OrderCancelled)[0]
    assert (cancelled.order_id, cancelled.cancelled_quantity, cancelled.reason) == (
        order.order_id,
        2 * ONE,
        "user_requested",
    )
    assert (outcome.status, outcome.filled_quantity, outcome.remaining_quantity) == (OrderStatus.CANCELLED, ONE, 0)
    assert outcome.liquidity == Liquidity.MAKER
    assert desk.bids() == []


@pytest.mark.parametrize("by_name", [False, True])
def test_a_cancel_fails_with_the_reason(desk: Desk, by_name: bool) -> None:
    desk.buy(ANN, 1, 100, named="filled")
    desk.sell(BOB, 1, 100)
    desk.buy(ANN, 1, 100, named="cancelled")
    desk.cancel(ANN, 3)
    desk.buy(ANN, 1, 100, tif=GTD, expires=5, named="expired")
    desk.pass_time(5)
    cases = [
        (1, "filled", "already_filled"),
        (3, "cancelled", "already_cancelled"),
        (4, "expired", "already_cancelled"),
    ]
    for order_id, name, because in [*cases, (77, "other", "not_found")]:
        outcome = desk.cancel(ANN, 0, name) if by_name else desk.cancel(ANN, order_id)
        asked = name if by_name else f"ORD_{order_id}"
        assert reason(outcome) == "CANCEL_FAILED"
        assert outcome.refusal is not None
        assert outcome.refusal.message == "Order not found or already filled"
        assert details(outcome) == {"order_id": asked, "reason": because}
        assert [event.reason for event in desk.events(CancelRejected)] == [because]


def test_another_account_s_order_is_not_found_indistinguishable_from_an_id_that_never_was(desk: Desk) -> None:
    desk.buy(ANN, 1, 100)
    theirs, never = desk.cancel(BOB, 1), desk.cancel(BOB, 99)
    assert details(theirs) == {"order_id": "ORD_1", "reason": "not_found"}
    assert details(never) == {"order_id": "ORD_99", "reason": "not_found"}
    assert (theirs.status, theirs.filled_quantity) == (never.status, never.filled_quantity)
    assert reason(desk.replace(BOB, 1, quantity=2)) == "REPLACE_FAILED"
    assert desk.exchange.order(BOB, 1, "") is None


def test_cancel_all_takes_the_oldest_first_and_what_it_is_asked_for(desk: Desk) -> None:
    desk.buy(ANN, 1, 99)
    desk.sell(ANN, 1, 105)
    desk.buy(ANN, 1, 98, on="AAPL")
    desk.buy(BOB, 1, 99)
    desk.replace(ANN, 1, at=97)
    desk.do(CancelAll(ANN, "SPX", SELL))
    assert outcome_ids(desk) == (2,)
    desk.do(CancelAll(ANN))
    assert outcome_ids(desk) == (1, 3)
    assert desk.kinds == ["OrderCancelled", "OrderCancelled", "BookChanged", "BookChanged", "CancelAllOutcome"]
    assert desk.bids() == [(99, 1)]


def outcome_ids(desk: Desk) -> tuple[int, ...]:
    last = desk.said[-1]
    assert isinstance(last, CancelAllOutcome)
    return last.order_ids


def test_cancel_all_of_an_unknown_instrument_or_side_is_refused(desk: Desk) -> None:
    for command, expected in ((CancelAll(ANN, "NONE"), "INVALID_INSTRUMENT"), (CancelAll(ANN, "", 7), "INVALID_SIDE")):
        last = desk.do(command)[-1]
        assert isinstance(last, CancelAllOutcome)
        assert last.refusal is not None
        assert last.refusal.reason.name == expected


# Replace


def test_a_smaller_quantity_at_the_same_price_keeps_its_place(desk: Desk) -> None:
    desk.buy(ANN, 5, 100)
    desk.buy(BOB, 5, 100)
    desk.replace(ANN, 1, quantity=2)
    assert desk.kinds == ["OrderReplaced", "BookChanged", "OrderOutcome"]
    desk.sell(BOB, 3, 100)
    assert makers(desk) == [1, 2]


@pytest.mark.parametrize(("quantity", "price"), [(6, None), (None, 101), (2, 101)])
def test_a_new_price_or_a_larger_quantity_goes_to_the_back(desk: Desk, quantity: int | None, price: int | None) -> None:
    desk.buy(ANN, 5, 100)
    desk.buy(BOB, 5, price or 100)
    desk.replace(ANN, 1, quantity, price)
    desk.sell(BOB, 6, price or 100)
    assert makers(desk) == [2, 1]


def makers(desk: Desk) -> list[int]:
    return [fill.order_id for fill in desk.events(OrderFilled) if fill.liquidity == Liquidity.MAKER]


def test_a_replaced_order_keeps_its_id_and_may_trade_after_it_is_said_to_be_replaced(desk: Desk) -> None:
    desk.buy(ANN, 3, 100)
    desk.sell(BOB, 1, 102)
    outcome = desk.replace(ANN, 1, at=102)
    assert desk.kinds[:3] == ["OrderReplaced", "OrderFilled", "OrderFilled"]
    assert desk.kinds[-2:] == ["BookChanged", "OrderOutcome"]
    replaced = desk.events(OrderReplaced)[0]
    assert (replaced.order_id, replaced.price, replaced.remaining_quantity) == (1, 102 * ONE, 3 * ONE)
    assert (outcome.order_id, outcome.filled_quantity, outcome.remaining_quantity) == (1, ONE, 2 * ONE)
    assert (outcome.liquidity, len(outcome.fills)) == (Liquidity.TAKER, 1)
    assert desk.bids() == [(102, 2)]
    assert desk.events(BookChanged)[0].levels == ((BUY, 100 * ONE, 0), (SELL, 102 * ONE, 0), (BUY, 102 * ONE, 2 * ONE))


def test_a_replace_s_quantity_is_the_new_total(desk: Desk) -> None:
    desk.buy(ANN, 5, 100)
    desk.sell(BOB, 2, 100)
    outcome = desk.replace(ANN, 1, quantity=4)
    assert (outcome.filled_quantity, outcome.remaining_quantity) == (2 * ONE, 2 * ONE)
    assert outcome.status == OrderStatus.PARTIALLY_FILLED


@pytest.mark.parametrize("quantity", [2, 1])
def test_at_or_below_what_is_filled_the_rest_is_cancelled(desk: Desk, quantity: int) -> None:
    desk.buy(ANN, 5, 100)
    desk.sell(BOB, 2, 100)
    outcome = desk.replace(ANN, 1, quantity=quantity)
    assert desk.kinds == ["OrderCancelled", "BookChanged", "OrderOutcome"]
    assert desk.events(OrderCancelled)[0].reason == "replaced"
    assert (outcome.status, outcome.filled_quantity) == (OrderStatus.CANCELLED, 2 * ONE)


@pytest.mark.parametrize(
    ("quantity", "price", "expected"),
    [
        (0, None, "INVALID_QUANTITY"),
        ("1.5", None, "INVALID_QUANTITY"),
        (None, 0, "INVALID_PRICE"),
        (None, "100.001", "INVALID_PRICE"),
        (51, None, "POSITION_LIMIT_EXCEEDED"),
        (None, None, "INVALID_REQUEST"),
    ],
)
def test_a_refused_replace_changes_nothing(
    desk: Desk, quantity: int | str | None, price: int | str | None, expected: str
) -> None:
    desk.buy(ANN, 5, 100)
    desk.buy(BOB, 5, 100)
    before = desk.exchange.digest()
    outcome = desk.replace(ANN, 1, quantity, price)
    assert reason(outcome) == expected
    assert desk.kinds == ["ReplaceRejected", "OrderOutcome"]
    assert desk.exchange.digest() == before
    desk.sell(BOB, 1, 100)
    assert makers(desk) == [1]


def test_a_replace_is_checked_with_the_order_itself_counted_out(desk: Desk) -> None:
    desk.buy(ANN, 50, 100)
    assert desk.replace(ANN, 1, at=101).refusal is None
    desk.buy(ANN, 99, 100, on="AAPL")
    assert desk.replace(ANN, 2, quantity=100).refusal is None
    assert desk.cash(ANN) == (10_000 * ONE, 10_000 * ONE)
    assert reason(desk.replace(ANN, 2, at="100.01")) == "INSUFFICIENT_FUNDS"
    assert desk.cash(ANN) == (10_000 * ONE, 10_000 * ONE)


def test_wanting_less_is_allowed_whatever_the_limits_have_become(desk: Desk) -> None:
    desk.buy(ANN, 20, 100)
    desk.do(PutInstrument(Instrument("SPX", CENT, ONE, "USD", position_limit=10 * ONE)))
    assert desk.replace(ANN, 1, quantity=15).refusal is None
    assert reason(desk.replace(ANN, 1, at=101)) == "POSITION_LIMIT_EXCEEDED"


def test_if_the_original_is_gone_nothing_new_is_created(desk: Desk) -> None:
    desk.buy(ANN, 1, 100)
    desk.sell(BOB, 1, 100)
    outcome = desk.replace(ANN, 1, quantity=5)
    assert reason(outcome) == "REPLACE_FAILED"
    assert details(outcome) == {"order_id": "ORD_1", "reason": "already_filled"}
    assert isinstance(desk.said[0], ReplaceRejected)
    assert desk.bids() == []


def test_a_replaced_order_still_expires(desk: Desk) -> None:
    desk.buy(ANN, 1, 100, tif=GTD, expires=50)
    desk.replace(ANN, 1, at=101)
    desk.pass_time(50)
    assert desk.bids() == []


# Identity


def test_the_same_id_with_the_same_content_returns_the_original_result_marked_duplicate(desk: Desk) -> None:
    desk.sell(BOB, 1, 100)
    first = desk.buy(ANN, 2, 100, named="mine")
    desk.sell(BOB, 1, 100)
    before = desk.exchange.digest()
    again = desk.buy(ANN, 2, 100, named="mine", attempt=1)
    assert desk.kinds == ["OrderOutcome"]
    assert again.duplicate
    assert (again.order_id, again.status, again.fills) == (first.order_id, OrderStatus.PARTIALLY_FILLED, first.fills)
    assert (again.number, again.journal_seq, again.time_ns) == (first.number, first.journal_seq, first.time_ns)
    assert desk.exchange.digest() == before


@pytest.mark.parametrize(
    "change",
    [{"quantity": 3 * ONE}, {"price": 99 * ONE}, {"instrument_id": "AAPL"}, {"time_in_force": IOC}, {"side": SELL}],
)
def test_the_same_id_with_other_content_is_refused(desk: Desk, change: dict[str, Any]) -> None:
    first = NewOrder(ANN, "mine", "SPX", BUY, LIMIT, GTC, 2 * ONE, 100 * ONE)
    desk.do(first)
    assert reason(desk.outcome(replace(first, **change))) == "DUPLICATE_CLIENT_ORDER_ID"


def test_a_client_order_id_is_the_account_s_own(desk: Desk) -> None:
    assert desk.buy(ANN, 2, 100, named="mine").order_id == 1
    assert desk.buy(BOB, 2, 100, named="mine").order_id == 2
    assert desk.exchange.is_known(ANN, "mine")
    assert not desk.exchange.is_known(ANN, "other")
    assert not desk.exchange.is_known(99, "mine")


def test_a_refused_order_does_not_use_up_its_client_order_id(desk: Desk) -> None:
    assert reason(desk.buy(ANN, 51, 100, named="mine")) == "POSITION_LIMIT_EXCEEDED"
    assert not desk.exchange.is_known(ANN, "mine")
    assert desk.buy(ANN, 50, 100, named="mine").refusal is None


def test_client_order_ids_are_known_among_open_orders_and_the_last_closed_ones() -> None:
    desk = Desk(kept=2)
    desk.buy(ANN, 1, 99, named="open")
    for name in "abc":
        desk.buy(ANN, 1, 100, named=name)
        desk.cancel(ANN, named=name)
    assert [desk.exchange.is_known(ANN, name) for name in ("open", "a", "b", "c")] == [True, False, True, True]
    assert desk.exchange.order(ANN, 2, "") is None
    assert desk.buy(ANN, 1, 100, named="a").order_id == 5
    desk.do(PutVenue("open", 1))
    assert [desk.exchange.is_known(ANN, name) for name in ("a", "b", "c")] == [True, False, True]
    assert [view.order_id for view in desk.exchange.orders(ANN, True, "", 0, 10)[0]] == [1, 4, 5]


def test_a_forgotten_order_is_not_found() -> None:
    desk = Desk(kept=0)
    desk.buy(ANN, 1, 100)
    desk.cancel(ANN, 1)
    assert details(desk.cancel(ANN, 1))["reason"] == "not_found"


def test_orders_are_listed_oldest_first_in_pages(desk: Desk) -> None:
    for price in (100, 99, 98, 97):
        desk.buy(ANN, 1, price)
    desk.buy(ANN, 1, 100, on="AAPL")
    desk.cancel(ANN, 2)

    def page(*asked: Any) -> tuple[list[int], bool]:
        views, more = desk.exchange.orders(ANN, *asked)
        return [view.order_id for view in views], more

    assert page(False, "", 0, 10) == ([1, 3, 4, 5], False)
    assert page(True, "", 0, 2) == ([1, 2], True)
    assert page(True, "", 2, 3) == ([3, 4, 5], False)
    assert page(False, "SPX", 1, 2) == ([3, 4], False)
    assert desk.exchange.orders(99, True, "", 0, 5) == ([], False)


# States


def test_an_order_in_a_final_state_never_leaves_it() -> None:
    final = {OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED, OrderStatus.EXPIRED}
    assert {status for status, after in ALLOWED.items() if not after} == final
    assert set(ALLOWED) == set(OrderStatus)


@pytest.mark.parametrize("status", list(OrderStatus))
@pytest.mark.parametrize("after", list(OrderStatus))
def test_a_status_changes_only_as_the_table_allows(desk: Desk, status: OrderStatus, after: OrderStatus) -> None:
    desk.buy(ANN, 1, 100)
    order = desk.exchange.accounts[ANN].orders[1]
    order.status = status
    if after in ALLOWED[status]:
        move(order, after)
        assert order.status == after
    else:
        with pytest.raises(IllegalTransition):
            move(order, after)
        assert order.status == status


def test_the_diagram_is_the_table() -> None:
    arrows = {line.strip() for line in diagram().splitlines()[1:]}
    assert "new --> filled" in arrows
    assert len(arrows) == 2 + sum(max(1, len(after)) for after in ALLOWED.values())


def test_a_partial_fill_on_entry_is_taker_and_a_later_fill_as_maker_makes_it_mixed(desk: Desk) -> None:
    desk.sell(BOB, 1, 100)
    assert desk.buy(ANN, 3, 100).liquidity == Liquidity.TAKER
    desk.sell(BOB, 1, 100)
    view = desk.exchange.order(ANN, 2, "")
    assert view is not None
    assert view.liquidity == Liquidity.MIXED


def test_an_order_shows_its_words_as_entered_and_its_state_as_it_is(desk: Desk) -> None:
    desk.now = 17
    desk.buy(ANN, 3, 100, tif=GTD, expires=50, named="mine")
    desk.sell(BOB, 1, 100)
    desk.replace(ANN, 1, quantity=5)
    view = desk.exchange.order(ANN, 0, "mine")
    assert view is not None
    assert (view.order_id, view.client_order_id, view.instrument_id, view.side) == (1, "mine", "SPX", BUY)
    assert (view.quantity, view.price, view.filled_quantity, view.remaining_quantity) == (
        5 * ONE,
        100 * ONE,
        ONE,
        4 * ONE,
    )
    assert (view.submitted_at_ns, view.expires_at_ns, view.average_price) == (17, 50, 100 * ONE)
    assert desk.exchange.order(ANN, 9, "") is None


def test_an_unknown_account_is_told_so_and_numbers_nothing(desk: Desk) -> None:
    assert reason(desk.buy(99, 1, 100)) == "PERMISSION_DENIED"
    assert reason(desk.buy(0, 1, 100)) == "PERMISSION_DENIED"
    assert details(desk.cancel(99, 1))["reason"] == "not_found"
    assert reason(desk.outcome(ReplaceOrder(99, 1, "", fixed(1)))) == "REPLACE_FAILED"
    last = desk.do(CancelAll(99))[-1]
    assert isinstance(last, CancelAllOutcome)
    assert last.refusal is not None
