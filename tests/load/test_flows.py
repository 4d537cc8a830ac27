"""Order flow from a seed."""

from __future__ import annotations

from engine.commands import CancelOrder, NewOrder
from load import flows


def test_the_same_seed_gives_the_same_flow_and_another_seed_another() -> None:
    assert list(flows.half_cancels(7, 500, traders=3)) == list(flows.half_cancels(7, 500, traders=3))
    assert list(flows.half_cancels(7, 500, traders=3)) != list(flows.half_cancels(8, 500, traders=3))


def test_half_of_the_mix_are_cancels_of_orders_entered_before_and_none_comes_twice() -> None:
    entered: set[tuple[int, str]] = set()
    cancels = 0
    for act in flows.half_cancels(1, 10_000, traders=5):
        if isinstance(act, flows.Cancel):
            entered.remove((act.trader, act.name))
            cancels += 1
        else:
            entered.add((act.trader, act.name))
    assert 4_500 < cancels < 5_500


def test_orders_that_rest_never_cross_and_aggressive_ones_do() -> None:
    for order in flows.orders(2, 1_000):
        below = order.price < flows.MIDDLE
        assert order.price != flows.MIDDLE
        assert order.price % flows.TICK == 0
        assert below == (order.buys is not order.aggressive)


def test_an_act_is_the_same_to_the_engine_and_to_a_session() -> None:
    for act in flows.half_cancels(3, 200, traders=2):
        command, instruction = flows.command(act, "X", [11, 12]), flows.instruction(act, "X")
        if isinstance(command, CancelOrder):
            assert (command.account, command.client_order_id) == ([11, 12][act.trader], act.name)
            assert instruction.cancel.client_order_id == act.name
        else:
            assert isinstance(command, NewOrder)
            submit = instruction.submit
            assert (command.side, command.quantity, command.price) == (submit.side, submit.quantity, submit.price)
            assert (command.time_in_force, command.order_type) == (submit.time_in_force, submit.order_type)
            assert command.client_order_id == submit.client_order_id
