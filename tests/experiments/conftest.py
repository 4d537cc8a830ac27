"""An exchange of processes for each module and transport, and one that a test may break."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.experiments.exchanges import Exchange

TRANSPORTS = ("grpcio", "native")


@pytest.fixture(scope="module", params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Iterator[str]:
    """The transport of every engine that the test starts."""
    name: str = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "OUTCRY_TRANSPORT", name)
        yield name


@pytest.fixture(scope="module")
def exchange(transport: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    running = Exchange(tmp_path_factory.mktemp(transport))
    yield running
    running.stop()


@pytest.fixture
def own_exchange(transport: str, tmp_path: Path) -> Iterator[Exchange]:
    """An exchange of the test's own, to break."""
    running = Exchange(tmp_path)
    yield running
    running.stop()
