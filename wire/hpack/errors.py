from __future__ import annotations


class HpackError(Exception):
    """A block that cannot be decoded. The table is lost with it: COMPRESSION_ERROR, and the connection ends."""
