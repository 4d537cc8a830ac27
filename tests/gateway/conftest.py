"""A gateway in this process for a test that asks for one; every test that calls one does so on both transports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.venues import Venue, venue

TRANSPORTS = ("grpcio", "native")
WITHOUT_CALLS = {
    "test_event_damage",
    "test_event_log",
    "test_event_segments",
    "test_journal",
    "test_journal_damage",
    "test_lock",
    "test_snapshots",
    "test_venue",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2] not in WITHOUT_CALLS:
        metafunc.fixturenames.append("transport")
        metafunc.parametrize("transport", TRANSPORTS, indirect=True)


@pytest.fixture(autouse=True)
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The transport of every gateway that the test starts, in this process or another."""
    name: str = getattr(request, "param", TRANSPORTS[0])
    monkeypatch.setenv("OUTCRY_TRANSPORT", name)
    return name


@pytest.fixture
async def exchange(tmp_path: Path, transport: str) -> AsyncIterator[Venue]:
    async with venue(tmp_path / "data") as running:
        assert running.gateway.settings.transport == transport
        yield running
