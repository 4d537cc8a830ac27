"""How figures are taken. What they are is no matter for tests."""

from __future__ import annotations

import os
import time

from load.bench.figures import alternating, cpu_seconds
from outcry.replay.report import percentile


def test_measures_take_turns_and_the_median_counts() -> None:
    order: list[str] = []
    values = {"a": [1.0, 9.0, 2.0], "b": [5.0, 4.0, 6.0]}

    def measure(name: str) -> float:
        order.append(name)
        return values[name][order.count(name) - 1]

    assert alternating({"a": lambda: measure("a"), "b": lambda: measure("b")}) == {"a": 2.0, "b": 5.0}
    assert order == ["a", "b"] * 3


def test_the_cpu_time_of_a_process_is_its_own() -> None:
    before, own = cpu_seconds(os.getpid()), time.process_time()
    assert before <= own < before + 1


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = list(range(100, 0, -1))
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (50, 99, 100)
    assert percentile([7], 50) == 7
    assert percentile([], 99) == 0
