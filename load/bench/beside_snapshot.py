"""What orders wait for while a snapshot is made beside them, at half of the engine's capacity.

The snapshot is made as the engine has it made: by a process that replays the journal, at a lower priority. Nothing is
measured but orders that were sent while it ran; those of before are of the same run, a moment earlier.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import grpc
from msgspec import Struct

from load.bench.echo_server import METHOD
from load.bench.figures import ROUNDS, Figure, Skipped
from load.bench.h2load import need_h2load
from load.bench.open_loop import MICROSECOND, Driver, Load, Row, grpc_driver, seconds
from load.bench.overload import CAPACITY, taken
from load.bench.trader import TIMEOUT_S, resting_order, trader
from outcry import v1
from outcry.own_engine import OwnEngine, own_engine

PEAK_S = 5.0
BEFORE_S = 5.0
LONGEST_S = 15.0  # that the load goes on beside a snapshot
GOAL = 1.5


class Waits(Struct, frozen=True):
    """99% of the orders took at most this, in seconds; how long the snapshot took, or the load beside it."""

    before: float
    during: float
    snapshot_s: float


def figures() -> Iterator[Figure | Skipped]:
    try:
        need_h2load()
    except Skipped as reason:
        yield reason
        return
    for durability in ("write", "fsync"):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            rate, waits = measured(durability, Path(folder))
        ratio = median(w.during / w.before for w in waits)
        before, during = (median(w.before for w in waits) * 1e3, median(w.during for w in waits) * 1e3)
        yield Figure(
            "p99 of orders during a snapshot beside them",
            f"{durability}, native, {rate:,.0f}/s, {before:.1f} ms before, {during:.1f} ms during, "
            f"snapshot {median(w.snapshot_s for w in waits):.1f} s",
            f"{ratio:.2f}x",
            f"<= {GOAL}x",
            ratio <= GOAL,
        )


def measured(durability: str, folder: Path) -> tuple[float, list[Waits]]:
    with own_engine(durability, "--snapshot-every", "0") as engine:
        driver = grpc_driver(engine.address, METHOD, resting_order(), trader(engine), folder)
        driver.run(CAPACITY, PEAK_S)  # everything is warm, and there is something to replay
        rate = taken(engine, driver, CAPACITY, PEAK_S).rate / 2
        half = Load(CAPACITY.connections, CAPACITY.streams, rate)
        return rate, [one_round(engine, driver, half) for _ in range(ROUNDS)]


def one_round(engine: OwnEngine, driver: Driver, load: Load) -> Waits:
    before = driver.run(load, BEFORE_S)
    until = str(journal_seq(engine))  # before the load goes on: the engine works on the answer, and orders wait
    process = driver.start(load, LONGEST_S)
    time.sleep(1)  # the load has begun
    began = time.time()
    subprocess.run(
        [sys.executable, "-m", "gateway.snapshotter", "--data", str(engine.data), "--until", until],
        stdout=subprocess.DEVNULL,
        timeout=10 * LONGEST_S,
        check=True,
    )
    lasted = time.time() - began
    process.wait()
    during = [row for row in driver.rows() if began <= row.sent_us * MICROSECOND <= began + lasted]
    return Waits(p99(before), p99(during), lasted)


def p99(rows: list[Row]) -> float:
    return seconds(rows, 99)


def journal_seq(engine: OwnEngine) -> int:
    """The last command that is on the disk."""
    with grpc.insecure_channel(engine.address) as channel:
        call = v1.OperationsStub(channel).GetStateDigest
        answer = call(v1.GetStateDigestRequest(), metadata=(("x-api-key", engine.operator_key),), timeout=TIMEOUT_S)
    return int(answer.journal_seq)
