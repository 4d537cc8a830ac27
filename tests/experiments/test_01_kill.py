"""An acknowledgement survives the engine's death, whenever it comes, and nothing is executed twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.experiments.kills import Kills

SEED = 20_260_101


@pytest.mark.timeout(300)
async def test_every_acknowledged_order_survives_kill_9_at_any_instant_and_none_is_executed_twice(
    tmp_path: Path,
) -> None:
    experiment = Kills(tmp_path, SEED)
    await experiment.run(20)
    assert experiment.kills >= 20


async def test_an_engine_that_acknowledges_before_the_disk_has_it_is_found_out(tmp_path: Path) -> None:
    experiment = Kills(tmp_path, SEED, module="tests.experiments.forgetful_engine")
    with pytest.raises(AssertionError, match="lost"):
        await experiment.run(20)
