"""`python -m tests.golden.record`: keep a data folder of the version that is about to be released, for all later ones.

Once for each release, before it: what is there already is never written again. Every kind of command is in it, most of
them done and some refused; it has two segments, a snapshot and the event log. `digest` is that of its state.
`tests/experiments/test_09_golden_journals.py` reads every folder here, for ever.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import get_args

import outcry
from engine.commands import (
    AdvanceTime,
    CancelAll,
    CancelOrder,
    Command,
    CreateInvite,
    NewOrder,
    PutAccount,
    PutFeeSchedule,
    PutInstrument,
    PutRiskProfile,
    PutRole,
    PutVenue,
    Register,
    ReplaceOrder,
    RevokeKey,
    RotateKey,
)
from engine.instrument import FeeSchedule, RiskProfile, Role
from gateway.verification import verify
from tests.data_folders.recorder import Recorder
from tests.engine.desk import AAPL, BUY, CENT, FEES, FOK, GTC, GTD, IOC, LIMIT, MARKET, ONE, OPENING, SELL, SPX, key

FOLDER = Path(__file__).parent
HOUR_NS = 3_600 * 10**9


def configuration() -> list[Command]:
    return [
        PutVenue("invite", 3),
        PutInstrument(SPX),
        PutInstrument(AAPL),
        PutFeeSchedule(FEES),
        PutFeeSchedule(FeeSchedule("free", 0, 0)),
        PutRiskProfile(RiskProfile("limited")),
        PutRiskProfile(RiskProfile("unlimited", no_position_limit=True)),
        PutRole(Role("trader", "standard", "limited", OPENING)),
        PutRole(Role("operator", "free", "unlimited", {}, open_to_registration=False)),
        PutRole(Role("nobody", "no such schedule", "limited")),  # refused
        PutAccount("operator", "operator", "", key(1)),
        PutAccount("maker", "trader", "unlimited", key(2), {"USD": 1_000_000 * ONE, "AAPL": 1_000 * ONE}),
        CreateInvite(key(100), "trader"),
        Register("team one", "trader", key(3), key(100)),
        Register("team two", "trader", key(4), key(100)),  # refused: the invite is used up
        PutVenue("open", 3),
        Register("Ünïcödé ☃ \U0001f600", "trader", key(4)),
        RotateKey(3, key(5)),
        RevokeKey(4),
        RotateKey(4, key(6)),
    ]


def trading(now: int) -> list[Command]:
    maker, one, two = 2, 3, 4
    orders: list[Command] = []
    for step in range(4):
        price = 100 * ONE + step * CENT
        orders += [
            NewOrder(maker, f"ask {step}", "AAPL", SELL, LIMIT, GTC, 5 * ONE, price + CENT, None, 0, 1),
            NewOrder(maker, f"bid {step}", "SPX", BUY, LIMIT, GTC, 7 * ONE, price, None, 1, 2),
            NewOrder(one, "", "AAPL", BUY, LIMIT, IOC, 3 * ONE, price + CENT),
            NewOrder(two, f"sale {step}", "SPX", SELL, MARKET, IOC, 2 * ONE),
            NewOrder(two, "", "SPX", SELL, LIMIT, FOK, 50 * ONE, price),  # refused
            NewOrder(one, f"ask {step}", "SPX", 9, LIMIT, GTC, ONE, price),  # refused
            NewOrder(maker, f"ask {step}", "AAPL", SELL, LIMIT, GTC, 5 * ONE, price + CENT),  # a retry
            NewOrder(one, f"until {step}", "SPX", BUY, LIMIT, GTD, ONE, price - CENT, now + step * HOUR_NS + 1),
        ]
    return [
        *orders,
        ReplaceOrder(maker, 0, "bid 3", 9 * ONE, 101 * ONE),
        ReplaceOrder(maker, 0, "bid 2", 6 * ONE),
        ReplaceOrder(maker, 0, "nothing", 6 * ONE),  # refused
        CancelOrder(maker, 0, "bid 0"),
        CancelOrder(maker, 999),  # refused
        CancelAll(maker, "AAPL", SELL),
    ]


def record(folder: Path) -> None:
    recorder = Recorder(folder, segment_bytes=2_000, snapshots_after=(40,), opening=configuration())
    begun = recorder.now
    used: set[type] = {type(command) for command in configuration()}
    for command in trading(begun):
        recorder.now += 1_000_000
        recorder.record(command)
        used.add(type(command))
    for hour in range(3):
        recorder.now = max(recorder.now, begun + hour * HOUR_NS + 2)
        recorder.record(AdvanceTime())
    recorder.close()
    assert used | {AdvanceTime} == set(get_args(Command)), "every kind of command"
    report = verify(folder)
    assert report.fault is None
    (folder / "digest").write_text(f"{report.digest}\n")


def main() -> None:
    folder = FOLDER / outcry.__version__
    if folder.exists():
        sys.exit(f"{folder} is there already, and stays as it is")
    try:
        record(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


if __name__ == "__main__":
    main()
