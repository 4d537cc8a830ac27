"""Figures, and how they are taken: rounds that alternate between the things compared, then medians.

The speed of a machine drifts by a third within minutes. So whatever is compared is measured in turns within one run,
and what counts is the ratio of medians, not the figure itself.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import grpc
from msgspec import Struct

ROUNDS = 3


class Figure(Struct, frozen=True):
    """One line of the table. `met` is None where there is no goal."""

    name: str
    workload: str
    value: str
    goal: str = ""
    met: bool | None = None


class Skipped(Exception):
    """A measurement that this machine cannot take, and why, in one line."""


def alternating(measures: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, float]:
    """The median of each measure over `rounds` turns."""
    taken: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            taken[name].append(measure())
    return {name: median(values) for name, values in taken.items()}


def cpu_seconds(pid: int) -> float:
    """The CPU time that process `pid` has used so far, all threads, in seconds.

    It is the process's own CPU clock (clock_getcpuclockid(3)), which /proc/PID/stat shows in hundredths only.
    """
    return time.clock_gettime((~pid << 3) | 2)


def machine() -> str:
    """What this was measured on, in one line."""
    cores = len(os.sched_getaffinity(0))
    return (
        f"{processor()}, {cores} cores, Python {platform.python_version()}, grpcio {grpc.__version__}, {sys.platform}"
    )


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
