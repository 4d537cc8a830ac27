"""What a check of the machine or of a data folder says."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Level(StrEnum):
    """FAIL: the engine would not start, or could not keep its promises. WARN: it would, but not well."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


class Finding(Struct, frozen=True):
    """`advice` is one sentence about what to do, "" where there is nothing."""

    level: Level
    name: str
    words: str
    advice: str = ""


def ok(name: str, words: str) -> Finding:
    return Finding(Level.OK, name, words)


def warn(name: str, words: str, advice: str) -> Finding:
    return Finding(Level.WARN, name, words, advice)


def fail(name: str, words: str, advice: str) -> Finding:
    return Finding(Level.FAIL, name, words, advice)


def mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
