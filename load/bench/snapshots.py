"""Snapshots of the engine's state: how long they take to write and to read, and what orders cost behind one.

Files and checksums are left out: what is timed is state to bytes and back. Nearly all of it is closed orders, which
an account keeps to recognise what is sent again.
"""

from __future__ import annotations

import gc
import time
from itertools import islice

from engine.snapshot import restore, snapshot
from load import flows
from load.bench.engine_alone import MIXED, TRADERS, Bench, mixed_command
from load.bench.figures import Figure, alternating

COMMANDS = 1_000_000
BATCH = 100_000
RESTORE_GOAL_S = 5.0


def busy() -> Bench:
    """An exchange after a million commands of the mix."""
    bench = Bench()
    acts = flows.half_cancels(6, COMMANDS, TRADERS)
    while batch := list(islice(acts, BATCH)):
        bench.apply(bench.commands(batch))
    return bench


def restored_command(data: bytes) -> float:
    """Microseconds a command of the mix, in an exchange that came out of a snapshot."""
    bench = Bench()
    bench.exchange, bench.seq = restore(data), COMMANDS
    commands = bench.commands(list(flows.half_cancels(2, MIXED, TRADERS, run="restored ")))
    return bench.apply(commands) / MIXED * 1e6


def figures() -> list[Figure]:
    bench = busy()
    closed = sum(len(account.closed) for account in bench.exchange.accounts.values())
    gc.freeze()  # as the server does with what is there at its start
    started = time.perf_counter()
    data = b"".join(snapshot(bench.exchange))
    written = time.perf_counter() - started
    gc.unfreeze()
    del bench
    started = time.perf_counter()
    exchange = restore(data)
    read = time.perf_counter() - started
    del exchange
    medians = alternating({"fresh": mixed_command, "restored": lambda: restored_command(data)}, rounds=5)
    workload = f"{COMMANDS:,} commands, {TRADERS} accounts, {closed:,} closed orders"
    size = len(data) / closed
    ratio = medians["restored"] / medians["fresh"]
    return [
        Figure("snapshot, state to bytes", workload, f"{written:.2f} s, {size:.0f} bytes a closed order"),
        Figure(
            "snapshot, bytes to state", workload, f"{read:.3f} s", f"<= {RESTORE_GOAL_S:.0f} s", read <= RESTORE_GOAL_S
        ),
        Figure(
            "engine alone, a command of the mix behind a snapshot",
            f"{MIXED:,} commands, half cancels, {TRADERS} accounts",
            f"{ratio:.2f}x ({medians['fresh']:.2f} to {medians['restored']:.2f} us)",
        ),
    ]
