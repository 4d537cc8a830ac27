"""Every channel against every server shows what grpcio shows against itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.wire import connections, endings, intercepted_calls, interceptors, limits, streams, synchronous, unary_calls
from tests.wire.outcomes import SCENARIOS
from tests.wire.transports import PAIRS, REFERENCE, Pair

# Each lists its scenarios.
GROUPS = (unary_calls, streams, endings, connections, limits, synchronous, interceptors, intercepted_calls)
