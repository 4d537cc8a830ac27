"""Snapshots that a running engine has made, beside itself, and what it deletes after them."""

from __future__ import annotations

import json
from pathlib import Path

import grpc

from gateway import snapshots
from gateway.disk import LOCAL_DISK
from outcry import v1
from tests.gateway.test_order_entry import order
from tests.venues import EngineProcess, Stubs, engine_process, until


def snapshot_seqs(data: Path) -> list[int]:
    return snapshots.snapshot_seqs(LOCAL_DISK, data / snapshots.FOLDER)


async def trade(engine: EngineProcess, orders: int) -> None:
    """So many resting orders of a fresh account."""
    async with grpc.aio.insecure_channel(engine.address) as channel:
        stubs = Stubs(channel)
        _, key = await stubs.register()
        for number in range(orders):
            await stubs.orders.SubmitOrder(order(client_order_id=f"{number}", quantity=1), metadata=key)


async def digest(engine: EngineProcess) -> tuple[str, int]:
    async with grpc.aio.insecure_channel(engine.address) as channel:
        key = [("x-api-key", engine.operator_key)]
        answer = await Stubs(channel).operations.GetStateDigest(v1.GetStateDigestRequest(), metadata=key)
        return answer.digest, answer.journal_seq


def served_behind(engine: EngineProcess) -> int:
    """The snapshot that the engine said it had started from."""
    lines = Path(engine.errors.name).read_text().splitlines()
    return next(int(json.loads(line)["snapshot_seq"]) for line in reversed(lines) if '"serving"' in line)


async def test_a_running_engine_has_snapshots_made_and_starts_from_the_newest(tmp_path: Path) -> None:
    data = tmp_path / "data"
    flags = ("--snapshot-every", "30", "--durability", "write")
    with engine_process(data, *flags) as engine:
        await trade(engine, 40)
        await until(lambda: len(snapshot_seqs(data)) == 1)
        await trade(engine, 40)
        await until(lambda: len(snapshot_seqs(data)) == 2)
        before = await digest(engine)
        engine.kill()
    newest = snapshot_seqs(data)[0]
    with engine_process(data, *flags) as engine:
        assert served_behind(engine) == newest
        assert (await digest(engine))[0] == before[0]
        await trade(engine, 40)
        await until(lambda: snapshot_seqs(data)[0] > newest and len(snapshot_seqs(data)) == 2)  # the oldest goes


async def test_no_snapshot_is_made_where_none_is_wanted(tmp_path: Path) -> None:
    with engine_process(tmp_path / "data", "--snapshot-every", "0", "--durability", "write") as engine:
        await trade(engine, 3)
    assert snapshot_seqs(tmp_path / "data") == []


async def test_a_snapshot_that_fails_harms_nothing_and_is_tried_again(tmp_path: Path) -> None:
    """The folder is a file: nothing can be written there until it is removed."""
    data = tmp_path / "data"
    with engine_process(data, "--snapshot-every", "30", "--durability", "write") as engine:
        folder = data / snapshots.FOLDER
        folder.rmdir()
        folder.write_text("in the way")
        await trade(engine, 40)
        await until(lambda: "upkeep_failed" in Path(engine.errors.name).read_text())
        folder.unlink()
        await until(lambda: folder.exists() and len(snapshot_seqs(data)) == 1)
        await trade(engine, 1)
