"""`python -m tests.simulation SEED` plays one simulation again; `--seeds N` plays many, on all cores."""

from __future__ import annotations

import argparse
import sys

from tests.simulation.plan import STEPS, write_plan
from tests.simulation.torture import figures, torture
from tests.simulation.verdict import play


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", default=0, help="the seed to play, or the first of many")
    parser.add_argument("--seeds", type=int, help="play so many")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each plan")
    parser.add_argument("--keep", help="play these steps of the plan alone: their numbers, with commas")
    parser.add_argument("--trace", action="store_true", help="say what happens")
    options = parser.parse_args()
    if options.seeds is not None:
        return torture(options.seed, options.seeds, options.steps)
    plan = write_plan(options.seed, options.steps)
    if options.keep is not None:
        plan = plan.keeping(map(int, options.keep.split(",")))
    verdict = play(plan)
    if options.trace:
        print("\n".join(verdict.trace))
    print(figures(verdict.counts))
    print(verdict.broken or "every promise was kept")
    return 1 if verdict.broken else 0


if __name__ == "__main__":
    sys.exit(main())
