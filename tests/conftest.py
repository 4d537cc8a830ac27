"""All tests run in one process: what one module leaves behind must not slow down another."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(autouse=True, scope="module")
def frozen_heap() -> None:
    """Collections look only at what came since: of a heap that has grown for thousands of tests one takes a second,
    in which both ends of a connection stand still."""
    gc.collect()
    gc.freeze()
