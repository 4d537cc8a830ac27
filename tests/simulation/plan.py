"""What happens in one simulation: a list of steps from a seed, each with everything that it needs.

A step leaves the others as they are when it is taken out, so a plan that fails can be cut down to the few that matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from engine.fixed import SCALE
from gateway.journal import Durability
from gateway.upkeep import Wanted
from tests.simulation.exchange import INSTRUMENTS, TEAMS, TICK
from tests.simulation.loop import MS_NS

STEPS = 60
READERS = 4


class Step(Struct, frozen=True):
    """Something that is done after a while."""

    number: int
    wait_ns: int
    action: str
    values: dict[str, Any]

    def __str__(self) -> str:
        words = " ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{self.number:3} +{self.wait_ns / MS_NS:g} ms {self.action} {words}"


class Plan(Struct, frozen=True):
    seed: int
    durability: Durability
    wanted: Wanted
    steps: tuple[Step, ...]

    def keeping(self, numbers: Iterable[int]) -> Plan:
        kept = set(numbers)
        return replace(self, steps=tuple(step for step in self.steps if step.number in kept))


class Author:
    """Writes the steps of a plan."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.orders: list[str] = []

    def step(self, number: int) -> Step:
        action = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        wait_ms = self.random.choice((0, 0, 0, 1, 5, 20, 60, 400))
        values = WRITERS[action](self) if action in WRITERS else {}
        return Step(number, wait_ms * MS_NS, action, values)

    def account(self) -> int:
        return self.random.randint(1, len(TEAMS))

    def submit(self) -> dict[str, Any]:
        name = f"order-{len(self.orders) + 1}"
        self.orders.append(name)
        return {
            "name": name,
            "account": self.account(),
            "instrument": self.random.choice(INSTRUMENTS).instrument_id,
            "side": self.random.randint(1, 2),
            "quantity": self.random.randint(1, 6) * SCALE,
            "price": self.random.choice((*range(1, 9), None)),
            "time_in_force": self.random.choice((1, 1, 1, 1, 3, 4)),
            "expires_in_ms": self.random.choice((30, 200, 2000)),
        }

    def burst(self) -> dict[str, Any]:
        return {"orders": [self.submit() for _ in range(self.random.randint(5, 12))]}

    def named(self) -> dict[str, Any]:
        """Somebody's order, by its client order id or by a number."""
        known = self.orders[-12:] and self.random.random() < 0.7
        named = {"client_order_id": self.random.choice(self.orders[-12:])} if known else {"order_id": self.last_id()}
        return {"name": f"{self.random.random():.9f}", "account": self.account(), **named}

    def last_id(self) -> int:
        return self.random.randint(1, len(self.orders) + 1)

    def replace(self) -> dict[str, Any]:
        price = self.random.choice((None, self.random.randint(1, 8) * TICK))
        return {**self.named(), "quantity": self.random.randint(1, 8) * SCALE, "price": price}

    def cancel_all(self) -> dict[str, Any]:
        return {"name": f"{self.random.random():.9f}", "account": self.account()}

    def reader(self) -> dict[str, Any]:
        return {"reader": self.random.randrange(READERS)}

    def lag(self) -> dict[str, Any]:
        return {**self.reader(), "pause_ms": self.random.choice((0, 5, 100, 1000))}

    def die(self) -> dict[str, Any]:
        return {"operations": self.random.randint(0, 30), "power": self.random.random() < 0.6}

    def fail(self) -> dict[str, Any]:
        operation = self.random.choice(
            ("sync", "sync", "sync", "sync", "write", "write", "truncate", "rename", "read", "open")
        )
        return {"operation": operation, "after": self.random.randint(0, 4)}

    def slow(self) -> dict[str, Any]:
        return {"latency_ms": self.random.choice((20, 300, 3000, 9000)), "for_ms": self.random.choice((50, 1000, 8000))}

    def fill(self) -> dict[str, Any]:
        return {"room": self.random.choice((0, 100, 3000, 5000))}

    def flip(self) -> dict[str, Any]:
        newest = self.random.random() < 0.5
        return {
            "folder": self.random.random(),
            "file": 0.999 if newest else self.random.random(),
            "place": self.random.choice((1, 0.05)) * -self.random.random() % 1,
            "bit": self.random.randrange(8),
        }

    def switch(self) -> dict[str, Any]:
        return {"durability": self.random.choice(list(Durability))}

    def clock(self) -> dict[str, Any]:
        return {"step_ms": self.random.choice((-3_600_000, -100, 100, 5000))}


WRITERS: dict[str, Callable[[Author], dict[str, Any]]] = {
    "submit": Author.submit,
    "burst": Author.burst,
    "cancel": Author.named,
    "replace": Author.replace,
    "cancel_all": Author.cancel_all,
    "follow": Author.reader,
    "leave": Author.reader,
    "lag": Author.lag,
    "die": Author.die,
    "fail": Author.fail,
    "slow": Author.slow,
    "fill": Author.fill,
    "flip": Author.flip,
    "clock": Author.clock,
    "switch": Author.switch,
}
WEIGHTS = {
    "submit": 90,
    "burst": 5,
    "cancel": 12,
    "replace": 16,
    "cancel_all": 3,
    "follow": 16,
    "leave": 6,
    "lag": 4,
    "kill": 4,
    "cut_power": 6,
    "stop": 2,
    "die": 10,
    "fail": 12,
    "short_writes": 3,
    "slow": 4,
    "fill": 4,
    "free": 6,
    "flip": 8,
    "clock": 3,
    "lose_event_log": 2,
    "switch": 1,
}


def write_plan(seed: int, steps: int = STEPS) -> Plan:
    """The plan of a seed, always the same."""
    random = Random(seed)
    durability = random.choice((Durability.FSYNC, Durability.FSYNC, Durability.FSYNC, Durability.WRITE))
    wanted = Wanted(random.choice((0, 4, 20)), random.choice((None, 6 << 10)))
    author = Author(random)
    return Plan(seed, durability, wanted, tuple(author.step(number) for number in range(steps)))
