"""Kill an engine at random instants while a crowd trades on it, and look what is left.

python -m tests.experiments.kills --kills 200 [--seed N] [--forgetful]
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from engine.exchange import Exchange
from gateway.disk import LOCAL_DISK
from gateway.journal import Durability
from gateway.recovery import recover
from gateway.segments import read_journal
from gateway.snapshots import snapshot_seqs
from outcry import v1
from tests.experiments.crowd import Crowd
from tests.venues import EngineProcess, until

BETWEEN = 500  # answers between two kills, at most
HANG_S = 60
SNAPSHOT_EVERY = 500  # so that snapshots are under way when it happens, too


class Kills:
    """One engine's life after life in a folder. `module` is the engine's; the seed says when it dies."""

    def __init__(self, folder: Path, seed: int, *, durability: str = "fsync", module: str = "gateway") -> None:
        self.data = folder / "data"
        self.random = Random(seed)
        self.seed = seed
        self.flags = ("--durability", durability, "--snapshot-every", str(SNAPSHOT_EVERY))
        self.module = module
        self.engine = self.start("127.0.0.1:0")
        self.kills = 0

    def start(self, address: str) -> EngineProcess:
        return EngineProcess(self.data, *self.flags, grpc_address=address, module=self.module)

    async def run(self, kills: int) -> Crowd:
        """So many kills under load, then one clean stop; what was acknowledged must be there after each."""
        crowd = Crowd(self.engine.address, self.seed)
        try:
            await crowd.begin()
            for _ in range(kills):
                crowd.enters.set()
                enough = crowd.answered + self.random.randrange(BETWEEN)
                await until(lambda enough=enough: crowd.answered >= enough, HANG_S)  # type: ignore[misc]
                if self.random.random() < 0.2:
                    await self.snapshot_made()
                crowd.check()
                crowd.enters.clear()
                await self.kill()
                await crowd.require_recent()
            await crowd.end()
            await crowd.require_recent()
            await crowd.require_each_once()
            await self.require_one_state(crowd)
            return crowd
        finally:
            await crowd.close()
            await asyncio.to_thread(self.engine.stop)

    async def snapshot_made(self) -> None:
        """Let the engine live until there is one more."""
        before = self.newest_snapshot()
        await until(lambda: self.newest_snapshot() > before, HANG_S)

    def newest_snapshot(self) -> int:
        return max(snapshot_seqs(LOCAL_DISK, self.data / "snapshots"), default=0)

    async def kill(self) -> None:
        """Kill, and start again; now and then kill that start, too, wherever it is."""
        address = self.engine.address
        await asyncio.to_thread(self.engine.kill)
        self.engine.stop()
        self.kills += 1
        if self.module != "gateway":  # what the event log knows would keep a forgetful engine from starting
            shutil.rmtree(self.data / "events")
        while self.random.random() < 0.2:
            await self.kill_in_recovery(address)
        self.engine = await asyncio.to_thread(self.start, address)

    async def kill_in_recovery(self, address: str) -> None:
        command = (sys.executable, "-m", self.module, "--grpc", address, "--data", str(self.data), *self.flags)
        devnull = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stdout=devnull, stderr=devnull)
        await asyncio.sleep(self.random.uniform(0, 1.0))  # the instant is the experiment's, and not waited for
        process.kill()
        await process.wait()
        self.kills += 1

    async def require_one_state(self, crowd: Crowd) -> None:
        """The live state, the whole journal's and that behind a snapshot are one."""
        key = [("x-api-key", self.engine.operator_key)]
        live = await crowd.stubs.operations.GetStateDigest(v1.GetStateDigestRequest(), metadata=key)
        await asyncio.to_thread(self.engine.stop)
        recovered = recover(self.data, Durability.WRITE)
        recovered.journal.close()
        recovered.event_log.close()
        assert recovered.snapshot_seq, "no snapshot was made"
        replayed = Exchange()
        for entry in read_journal(LOCAL_DISK, self.data / "journal", 0, live.journal_seq):
            replayed.apply(entry.seq, entry.time_ns, entry.command)
        assert replayed.digest() == live.digest
        assert recovered.exchange.digest() == live.digest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--durability", default="fsync")
    parser.add_argument("--forgetful", action="store_true", help="the control: an engine that acknowledges too early")
    chosen = parser.parse_args()
    seed = time.time_ns() if chosen.seed is None else chosen.seed
    module = "tests.experiments.forgetful_engine" if chosen.forgetful else "gateway"
    print(f"seed {seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        experiment = Kills(Path(folder), seed, durability=chosen.durability, module=module)
        try:
            crowd = asyncio.run(experiment.run(chosen.kills))
        except AssertionError as problem:
            print(f"after {experiment.kills} kills: {problem}")
            sys.exit(not chosen.forgetful)  # the control is there to be found out
    took = time.monotonic() - begun
    print(f"{experiment.kills} kills, {len(crowd.results)} orders acknowledged, none lost, none twice, {took:.0f} s")
    sys.exit(chosen.forgetful)


if __name__ == "__main__":
    main()
