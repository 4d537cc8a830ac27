"""The whole exchange, simulated: it keeps its promises whatever befalls it, and it is seen when it does not."""

from __future__ import annotations

from random import Random
from unittest.mock import patch

import pytest

from gateway.journal import Durability
from gateway.space import Space
from gateway.upkeep import Wanted
from tests.simulation.controls import CONTROLS
from tests.simulation.loop import MS_NS
from tests.simulation.plan import STEPS, Author, Plan, Step, write_plan
from tests.simulation.verdict import command, play, shrink

SEEDS = 320
AT_ONCE = 20
CONTROL_SEEDS = 150


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_every_promise_is_kept_over_crashes_lost_power_failing_disks_and_lost_messages(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        plan = write_plan(seed)
        verdict = play(plan)
        assert not verdict.broken, f"seed {seed}: {verdict.broken}\nplay it again: {command(plan, STEPS)}"


@pytest.mark.parametrize("name", CONTROLS)
def test_the_simulation_finds_that(name: str) -> None:
    with CONTROLS[name]():
        assert any(play(write_plan(seed)).broken for seed in range(CONTROL_SEEDS))


def test_the_simulation_finds_that_orders_use_up_the_room_of_a_full_disk() -> None:
    author = Author(Random(1))
    bursts = (Step(number, 50 * MS_NS, "burst", author.burst()) for number in range(1, 25))
    plan = Plan(1, Durability.FSYNC, Wanted(0), (Step(0, MS_NS, "fill", {"room": 0}), *bursts))
    assert not play(plan).broken
    with patch.object(Space, "narrows", False):
        assert play(plan).broken


def test_a_seed_is_played_the_same_way_again() -> None:
    for seed in range(6):
        assert play(write_plan(seed)).trace == play(write_plan(seed)).trace


def test_a_plan_that_fails_is_cut_down_to_the_steps_that_it_takes() -> None:
    with CONTROLS["nothing is synced"]():
        plan = next(plan for plan in map(write_plan, range(CONTROL_SEEDS)) if play(plan).broken)
        small = shrink(plan, play(plan).broken)
        assert play(small).broken
        assert len(small.steps) < len(plan.steps) // 4
