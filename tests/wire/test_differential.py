"""Every channel against every server shows what grpcio shows against itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.wire import (
    connections,
    endings,
    intercepted_calls,
    interceptors,
    limits,
    metadata_calls,
    streams,
    synchronous,
    unary_calls,
)
from tests.wire.outcomes import SCENARIOS
from tests.wire.transports import PAIRS, REFERENCE, Pair

# Each lists its scenarios.
GROUPS = (
    unary_calls,
    metadata_calls,
    streams,
    endings,
    connections,
    limits,
    synchronous,
    interceptors,
    intercepted_calls,
)
PATIENCE_S = 10

seen_on_the_reference: dict[str, Any] = {}


async def seen(name: str, pair: Pair) -> Any:
    function, _ = SCENARIOS[name]
    return await asyncio.wait_for(function(pair), PATIENCE_S)


async def reference(name: str) -> Any:
    if name not in seen_on_the_reference:
        seen_on_the_reference[name] = await seen(name, REFERENCE)
    return seen_on_the_reference[name]


@pytest.mark.parametrize("pair", PAIRS, ids="-to-".join)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_transports_agree(name: str, pair: Pair) -> None:
    expected = SCENARIOS[name][1]
    outcome = await seen(name, pair)
    assert outcome == expected
    assert outcome == await reference(name)
