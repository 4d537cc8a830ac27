"""The digest: equal for equal histories in any process, different for different states."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from engine.commands import PutVenue
from tests.engine.desk import ANN, BOB, GTD, Desk
from tests.engine.flows import Pair, instruction

ROOT = Path(__file__).resolve().parents[2]
PRINT = "from tests.engine.test_digest import busy_digest; print(busy_digest())"


def busy_digest() -> str:
    """The digest after a long random flow, the same each time."""
    pair, seeds = Pair(), Random(7)
    for _ in range(300):
        pair.run(*instruction(seeds.randrange(2**64)))
    return pair.exchange.digest()


def test_the_same_commands_give_the_same_digest_in_any_process_under_any_hash_seed() -> None:
    digests = {busy_digest()}
    for seed in ("0", "1", "random"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", PRINT], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        digests.add(run.stdout.strip())
    assert len(digests) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda desk: desk.buy(ANN, 1, 99),
        lambda desk: desk.buy(ANN, 1, 99, on="AAPL"),
        lambda desk: desk.sell(BOB, 1, 100),
        lambda desk: desk.cancel(ANN, 1),
        lambda desk: desk.replace(ANN, 1, 2),
        lambda desk: desk.pass_time(60),
        lambda desk: desk.do(PutVenue("closed")),
    ],
)
def test_whatever_changes_the_state_changes_the_digest(change: object) -> None:
    desk = Desk()
    desk.buy(ANN, 3, 100, tif=GTD, expires=50)
    before = desk.exchange.digest()
    assert callable(change)
    change(desk)
    assert desk.exchange.digest() != before


def test_the_digest_tells_a_place_in_the_queue() -> None:
    first, second = Desk(), Desk()
    for desk in (first, second):
        desk.buy(ANN, 3, 100)
        desk.buy(BOB, 2, 100)
    first.replace(ANN, 1, quantity=2)  # keeps its place
    second.replace(ANN, 1, at=99)
    second.replace(ANN, 1, at=100)  # has gone to the back
    second.replace(ANN, 1, quantity=2)
    assert first.bids() == second.bids()
    assert first.exchange.digest() != second.exchange.digest()


def test_the_counters_of_events_are_no_part_of_the_digest() -> None:
    desk = Desk()
    before = desk.exchange.digest()
    desk.cancel(ANN, 77)
    desk.buy(ANN, 51, 100)
    assert desk.exchange.last_number(ANN) == 2
    assert desk.exchange.digest() == before
