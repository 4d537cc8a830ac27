"""A gateway in this process for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.venues import Venue, venue


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[Venue]:
    async with venue(tmp_path / "data") as running:
        yield running
