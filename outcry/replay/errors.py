"""What ends a replay before it could say anything about the book."""

from __future__ import annotations


class ReplayFailed(Exception):
    """The replay cannot go on: a file that does not fit its format, or an engine that does not take part."""
