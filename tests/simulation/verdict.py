"""What became of a simulation, and the fewest steps of a plan with which the same becomes of it."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from tests.simulation.plan import Plan
from tests.simulation.promises import Broken
from tests.simulation.world import World

RUNS = 300  # spent on cutting down one plan


class Verdict(Struct, frozen=True):
    """`broken` says which promise is; "" where all were kept."""

    broken: str
    trace: list[str]
    counts: Counter[str]


def play(plan: Plan) -> Verdict:
    world = World(plan)
    broken = ""
    try:
        world.run()
    except Broken as words:
        broken = str(words)
    except Exception as problem:  # no fault in the world may make the exchange, or this, raise it
        broken = f"{type(problem).__name__}: {problem}"
    return Verdict(broken, world.trace, world.counts + world.promises.checked)


def kind(broken: str) -> str:
    """What is broken, without the particulars."""
    return broken.partition(":")[0]


def shrink(plan: Plan, broken: str) -> Plan:
    """A part of a plan with which the same promise is broken, and of which nothing more can be left out at once."""
    runs, size = 0, max(len(plan.steps) // 2, 1)
    while True:
        at = 0
        while at < len(plan.steps) and runs < RUNS:
            rest = plan.keeping(step.number for step in (*plan.steps[:at], *plan.steps[at + size :]))
            runs += 1
            if kind(play(rest).broken) == kind(broken):
                plan = rest
            else:
                at += size
        if size == 1 or runs >= RUNS:
            return plan
        size //= 2


def command(plan: Plan, steps: int) -> str:
    """The one command that plays a plan again."""
    numbers = [step.number for step in plan.steps]
    kept = "" if numbers == list(range(steps)) else f" --keep {','.join(map(str, numbers))}"
    return f"python -m tests.simulation {plan.seed}{'' if kept else f' --steps {steps}'}{kept} --trace"
