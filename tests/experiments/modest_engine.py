"""`python -m gateway` that allocates little ahead, so that a full disk is noticed after few orders."""

from __future__ import annotations

from tests.data_folders.small_engine import run

SEGMENT_BYTES = 128 << 10
AHEAD_BYTES = 256 << 10

if __name__ == "__main__":
    run(SEGMENT_BYTES, AHEAD_BYTES)
