"""Wherever among its writes, syncs and renames the engine dies, what it acknowledged is there, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.experiments.lives import Lives
from tests.experiments.strace import killing_at, needs_strace

# The first are those of a start; then come batches, and with files as small as these soon new segments, manifests and
# snapshots.
INSTANTS = [("fdatasync", 1), ("fdatasync", 9), ("fdatasync", 60), ("pwrite64", 3), ("pwrite64", 90)]
INSTANTS += [("rename", 1), ("rename", 4), ("fallocate", 2), ("fallocate", 5), ("ftruncate", 6), ("unlink", 1)]


@needs_strace
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("call", "nth"), INSTANTS)
async def test_every_acknowledged_order_survives_a_kill_at_any_system_call(tmp_path: Path, call: str, nth: int) -> None:
    lives = Lives(tmp_path / "data", "--snapshot-every", "100")
    async with lives.crowd(nth) as crowd:
        await lives.doomed(crowd, killing_at(call, nth))
        await lives.last(crowd)
