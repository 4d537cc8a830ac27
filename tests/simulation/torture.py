"""Many simulations, on all cores, and what they came to."""

from __future__ import annotations

import os
import time
from collections import Counter
from multiprocessing import get_context

from tests.simulation.plan import write_plan
from tests.simulation.verdict import Verdict, command, play, shrink

REPORT_S = 30


def torture(first: int, seeds: int, steps: int) -> int:
    """Play many seeds, say what they came to, and cut down the first that fails."""
    began, said = time.monotonic(), time.monotonic()
    counts, failed = Counter[str](), []
    work = [(seed, steps) for seed in range(first, first + seeds)]
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        for done, (seed, verdict) in enumerate(pool.imap_unordered(played, work, chunksize=10), 1):
            counts.update(verdict.counts)
            if verdict.broken:
                failed.append(seed)
                print(f"seed {seed}: {verdict.broken}", flush=True)
            if time.monotonic() - said > REPORT_S:
                said = time.monotonic()
                print(f"{done} of {seeds} seeds, {len(failed)} failed", flush=True)
    took = time.monotonic() - began
    print(f"seeds {first} to {first + seeds - 1} in {took:.0f} s: {len(failed)} failed\n{figures(counts)}")
    if failed:
        explain(min(failed), steps)
    return 1 if failed else 0


def played(work: tuple[int, int]) -> tuple[int, Verdict]:
    seed, steps = work
    return seed, play(write_plan(seed, steps))


def figures(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def explain(seed: int, steps: int) -> None:
    """The few steps that it takes, and how to play them."""
    plan = write_plan(seed, steps)
    small = shrink(plan, play(plan).broken)
    print("\n".join(play(small).trace))
    print(f"{play(small).broken}\nplay it again: {command(small, steps)}")
