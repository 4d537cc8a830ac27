"""Snapshots: an exchange that went through bytes is, for all that follows, the one that did not."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.commands import (
    Command,
    CreateInvite,
    NewOrder,
    PutAccount,
    PutFeeSchedule,
    PutRiskProfile,
    PutVenue,
    Register,
    RevokeKey,
    RotateKey,
)
from engine.events import Event, OrderCancelled, OrderFilled
from engine.exchange import Exchange
from engine.instrument import FeeSchedule, RiskProfile
from engine.snapshot import VERSION, SnapshotInvalid, restore, snapshot
from tests.engine.desk import ANN, BOB, CAT, CENT, DAY, GTD, Desk, key
from tests.engine.flows import FLOWS, HOLDERS, INSTRUMENTS, KEPT, Pair, instruction
from tests.engine.test_oracle import RICH, Flow, huge_order

ROOT = Path(__file__).resolve().parents[2]
PRINT = "from tests.engine.test_snapshot import busy; print(busy().hex())"
CUTS = st.sets(st.integers(0, 60), min_size=1, max_size=6)


def written(exchange: Exchange) -> bytes:
    return b"".join(snapshot(exchange))


def again(exchange: Exchange) -> Exchange:
    return restore(written(exchange))


class Twins(Pair):
    """An exchange that is never restored, and its twin, which is wherever a test says so; they must agree."""

    def __init__(self, kept: int = KEPT, **more: object) -> None:
        super().__init__(kept=kept, **more)  # type: ignore[arg-type]
        self.twin = again(self.exchange)

    def apply(self, command: Command) -> list[Event]:
        first, second = self.exchange, self.twin
        if isinstance(command, NewOrder):
            owner, name = command.account, command.client_order_id
            assert second.is_known(owner, name) == first.is_known(owner, name)
            assert second.validate(self.now, command) == first.validate(self.now, command)
        events = super().apply(command)
        assert self.twin.apply(self.seq, self.now, command) == events
        assert self.twin.digest() == self.exchange.digest()
        return events

    def restart(self) -> None:
        before = written(self.twin)
        assert before == written(self.exchange)
        self.twin = restore(before)
        assert self.twin.digest() == self.exchange.digest()
        assert written(self.twin) == before


def questions(exchange: Exchange) -> list[object]:
    """Every answer that a query can get."""
    answers: list[object] = [exchange.next_expiry_ns, exchange.venue, exchange.instruments, exchange.account_by_key]
    answers += [exchange.fee_schedules, exchange.risk_profiles, exchange.roles, exchange.named_accounts]
    names = [instrument.instrument_id for instrument in INSTRUMENTS]
    answers += [exchange.book(name) for name in names]
    for number in exchange.accounts:
        answers += [exchange.positions(number), exchange.balances(number), exchange.last_number(number)]
        for include_closed in (False, True):
            for name in ("", *names):
                for after in range(0, 40, 7):
                    answers.append(exchange.orders(number, include_closed, name, after, limit=3))
        answers += [exchange.order(number, order_id) for order_id in range(50)]
        answers += [exchange.order(number, 0, name) for name in ("", *"abcd")]
    return answers


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(FLOWS, CUTS, st.sampled_from([0, 1, KEPT, 8, 100_000]))
def test_an_exchange_that_is_restored_anywhere_says_what_one_that_never_was_says(
    flow: Flow, cuts: set[int], kept: int
) -> None:
    twins = Twins(kept)
    for at, (wait, command) in enumerate(flow):
        if at in cuts:
            twins.restart()
        twins.run(wait, command)
    assert questions(twins.twin) == questions(twins.exchange)
    twins.restart()
    assert questions(twins.twin) == questions(twins.exchange)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 2**64).map(huge_order), min_size=15, max_size=40), CUTS)
def test_numbers_at_the_end_of_their_range_and_the_venue_s_beyond_it_are_restored(
    orders: list[NewOrder], cuts: set[int]
) -> None:
    twins = Twins(holders=RICH)
    for at, order in enumerate(orders):
        if at in cuts:
            twins.restart()
        twins.run(0, order)
    twins.restart()
    assert questions(twins.twin) == questions(twins.exchange)


def test_everything_that_operators_put_in_is_restored() -> None:
    configuration: list[Command] = [
        PutFeeSchedule(FeeSchedule("special", CENT, 4 * CENT)),
        PutRiskProfile(RiskProfile("other", no_position_limit=True)),
        PutAccount("desk", "trader", "other", key(9), {"USD": 7}),
        RotateKey(ANN, key(8)),
        RevokeKey(BOB),
        CreateInvite(b"i" * 32),
        CreateInvite(b"j" * 32, "trader"),
        PutVenue("invite", 5),
    ]
    first, second = Desk(*configuration), Desk(*configuration)
    second.exchange = again(second.exchange)
    assert second.exchange.digest() == first.exchange.digest()
    assert questions(second.exchange) == questions(first.exchange)
    later: list[Command] = [
        PutFeeSchedule(FeeSchedule("standard", 0, CENT)),
        PutAccount("desk", "trader", "", key(10)),
        Register("newcomer", "trader", key(8), b"i" * 32),
        Register("newcomer", "trader", key(2), b"i" * 32),
        Register("newcomer", "trader", key(11), b"j" * 32),
    ]
    for command in later:
        assert second.do(command) == first.do(command)
    for desk in (first, second):
        desk.buy(ANN, 1, 100)
        desk.sell(BOB, 1, 100)
    assert second.said == first.said
    assert written(second.exchange) == written(first.exchange)


def test_open_orders_keep_their_place_their_fees_and_their_turn_to_expire_and_to_be_cancelled() -> None:
    first, second = Desk(), Desk()
    for desk in (first, second):
        desk.buy(ANN, 3, 100, named="early")
        desk.buy(BOB, 2, 100, tif=GTD, expires=50)
        desk.buy(ANN, 1, 99, tif=GTD, expires=50)
        desk.buy(CAT, 1, 98, tif=DAY)
        desk.buy(BOB, 1, 98, tif=DAY)
        desk.replace(ANN, 1, at=99)
        desk.replace(ANN, 1, at=100)  # behind BOB's, and still the first of ANN's
        desk.sell(CAT, 1, 100)
        desk.buy(ANN, 1, 97)
        desk.buy(ANN, 1, 98)
        desk.do(PutFeeSchedule(FeeSchedule("standard", CENT, 9 * CENT)))
    second.exchange = again(second.exchange)
    for desk in (first, second):
        desk.sell(CAT, 2, 100)
    assert second.said == first.said
    assert [(fill.order_id, fill.fees) for fill in second.events(OrderFilled)][1::2] == [(2, -2 * CENT), (1, -2 * CENT)]
    for desk in (first, second):
        desk.pass_time(60)
    assert second.said == first.said
    for desk in (first, second):
        desk.cancel_all(ANN)
    assert second.said == first.said
    assert len(second.events(OrderCancelled)) == 3
    assert written(second.exchange) == written(first.exchange)


def test_an_exchange_in_which_nothing_was_put_is_restored() -> None:
    assert again(Exchange()).digest() == Exchange().digest()


def test_taking_a_snapshot_changes_nothing() -> None:
    desk = Desk()
    desk.buy(ANN, 1, 100, named="a")
    desk.sell(BOB, 1, 100, named="b")
    before = written(desk.exchange), desk.exchange.digest()
    assert (written(desk.exchange), desk.exchange.digest()) == before


def busy() -> bytes:
    """A snapshot after a long random flow, the same each time."""
    pair, seeds = Pair(kept=50), Random(7)
    for _ in range(300):
        pair.run(*instruction(seeds.randrange(2**64)))
    return written(pair.exchange)


def test_the_same_commands_give_the_same_bytes_in_any_process_under_any_hash_seed() -> None:
    snapshots = {busy().hex()}
    for seed in ("0", "1", "random"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", PRINT], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        snapshots.add(run.stdout.strip())
    assert len(snapshots) == 1


def test_what_ends_too_early_or_goes_on_is_refused() -> None:
    data = busy()
    for end in range(len(data)):
        with pytest.raises(SnapshotInvalid):
            restore(data[:end])
    with pytest.raises(SnapshotInvalid, match="goes on after its end"):
        restore(data + b"\0")


@settings(max_examples=300, deadline=None)
@given(st.integers(0), st.integers(1, 255))
def test_what_was_damaged_is_refused_in_one_way_or_restored(place: int, change: int) -> None:
    data = bytearray(BUSY)
    data[place % len(data)] ^= change
    with suppress(SnapshotInvalid):
        restore(bytes(data))


BUSY = busy()


def test_a_snapshot_of_another_version_is_refused_by_its_number() -> None:
    data = bytearray(written(Exchange()))
    assert data[9] == VERSION
    data[9] = VERSION + 1
    with pytest.raises(SnapshotInvalid, match=f"version {VERSION + 1}, this engine reads version {VERSION}"):
        restore(bytes(data))


def test_every_account_of_the_flows_has_something_in_the_snapshots_that_are_damaged() -> None:
    exchange = restore(BUSY)
    for number in HOLDERS:
        account = exchange.accounts[number]
        assert account.archive is not None
        assert len(account.archive) > 5
    assert any(account.resting for account in exchange.accounts.values())
