"""Starts: a journal of many commands replayed, beside the engine alone on the same commands; and behind a snapshot.

The engine that starts is a process of its own, on a copy of the folder, and says itself how long it took. What it
replays was sent by a Session: half cancels, one account.
"""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from msgspec import Struct

from load import flows
from load.bench.engine_alone import Bench
from load.bench.figures import Figure, alternating
from load.bench.session_stream import encoded, exchanged
from load.bench.trader import Metadata, trader
from outcry.channels import open_async_channel
from outcry.own_engine import own_engine, ready_address, running

COMMANDS = 500_000
REPLAY_GOAL, START_GOAL_S = 0.8, 5.0


class Start(Struct, frozen=True):
    """How an engine started: seconds until it was ready, commands replayed, and the CPU seconds that this took."""

    ready_s: float
    replayed: int
    replay_s: float


async def fill(address: str, metadata: Metadata) -> None:
    acts = list(flows.half_cancels(7, COMMANDS))
    async with open_async_channel(address, None) as channel:
        await exchanged(channel, metadata, encoded(acts))


def start(data: Path) -> Start:
    """Start an engine on a folder, and stop it."""
    command = [sys.executable, "-m", "gateway", "--grpc", "127.0.0.1:0", "--data", str(data), "--durability", "write"]
    log = data.with_suffix(".log")
    begun = time.perf_counter()
    with log.open("wb") as errors, running([*command, "--snapshot-every", "0"], errors.fileno()) as child:
        ready_address(child, log)
        ready_s = time.perf_counter() - begun
    said = next(json.loads(line) for line in log.read_text().splitlines() if '"recovered"' in line)
    return Start(ready_s, said["replayed"], said["seconds"])


def engine_alone() -> float:
    """Commands a CPU second of the engine alone, on the same flow, without garbage collections, as in a replay."""
    bench = Bench(traders=1)
    commands = bench.commands(list(flows.half_cancels(7, COMMANDS)))
    gc.disable()
    begun = time.process_time()
    bench.apply(commands)
    taken = time.process_time() - begun
    gc.enable()
    return COMMANDS / taken


def replay(data: Path) -> float:
    """Commands a CPU second of a start that replays them all."""
    begun = start(data)
    return begun.replayed / begun.replay_s


def figures() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with own_engine("write", "--snapshot-every", "0") as engine:
            metadata = trader(engine)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(fill(engine.address, metadata))
            shutil.copytree(engine.data, data)
        medians = alternating({"alone": engine_alone, "replay": lambda: replay(data)})
        ratio = medians["replay"] / medians["alone"]
        command = [sys.executable, "-m", "gateway.snapshotter", "--data", str(data), "--until", str(COMMANDS)]
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        made_s = time.perf_counter() - begun
        behind = start(data)
    workload = f"{COMMANDS:,} commands, half cancels"
    return [
        Figure(
            "replay at a start / the engine alone",
            workload,
            f"{ratio:.2f}x ({medians['replay']:,.0f} commands/s)",
            f">= {REPLAY_GOAL}x",
            ratio >= REPLAY_GOAL,
        ),
        Figure(
            "start behind a snapshot",
            f"{workload} before it, {behind.replayed} after",
            f"{behind.ready_s:.2f} s",
            f"<= {START_GOAL_S:.0f} s",
            behind.ready_s <= START_GOAL_S,
        ),
        Figure("a snapshot, from the first command on", workload, f"{made_s:.1f} s beside the engine"),
    ]
