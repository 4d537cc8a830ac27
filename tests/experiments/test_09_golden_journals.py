"""Experiment 9: the data folders that earlier versions wrote are read by this one, and lead to the digests of then.

tests/golden has one for each release, and `python -m tests.golden.record` adds that of the next. A release may change
how a state is digested, or what the event log and snapshots look like, which are derived: then what is expected here is
said to have changed on purpose, version by version. What the journal says is never changed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

import outcry
from engine.commands import NewOrder
from engine.exchange import Exchange
from gateway.journal import Durability
from gateway.read_only import READ_ONLY_DISK
from gateway.recovery import recover
from gateway.segments import read_journal
from gateway.verification import verify
from tests.engine.desk import GTC, ONE
from tests.golden.record import FOLDER

RELEASES = sorted(path.parent.name for path in FOLDER.glob("*/digest"))


def recorded_digest(release: str) -> str:
    return (FOLDER / release / "digest").read_text().strip()


def test_there_is_a_golden_journal_of_this_release() -> None:
    assert outcry.__version__ in RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_the_journal_of_every_release_is_replayed_to_its_digest_and_all_that_is_beside_it_agrees(release: str) -> None:
    report = verify(FOLDER / release)
    assert report.fault is None
    assert report.digest == recorded_digest(release)
    assert report.snapshots
    assert report.event_log_last_seq == report.last_seq
    assert report.trades
    assert report.segments > 1


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("beside", ["snapshots", "nothing"])
def test_the_engine_starts_on_the_folder_of_every_release(release: str, beside: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(FOLDER / release, data)
    if beside == "nothing":
        for name in ("snapshots", "events"):
            shutil.rmtree(data / name)
    recovered = recover(data, Durability.WRITE)
    recovered.journal.close()
    recovered.event_log.close()
    assert recovered.exchange.digest() == recorded_digest(release)
    assert (recovered.snapshot_seq > 0) == (beside == "snapshots")


@pytest.mark.parametrize("release", RELEASES)
def test_it_is_small(release: str) -> None:
    assert sum(path.stat().st_size for path in (FOLDER / release).rglob("*") if path.is_file()) < 50_000


@pytest.mark.parametrize("release", RELEASES)
def test_control_a_journal_in_which_one_number_is_another_leads_to_another_digest(release: str) -> None:
    exchange, changed = Exchange(), 0
    for entry in read_journal(READ_ONLY_DISK, FOLDER / release / "journal", 0, verify(FOLDER / release).last_seq):
        command = entry.command
        if isinstance(command, NewOrder) and command.time_in_force == GTC and not changed:
            command, changed = replace(command, quantity=command.quantity + ONE), entry.seq
        exchange.apply(entry.seq, entry.time_ns, command)
    assert changed
    assert exchange.digest() != recorded_digest(release)
