"""An open loop: requests at a fixed rate, whatever comes back, and how long each of them took.

h2load is the driver, so that no Python is in the way of the clock. It sends at its rate for as long as a connection has
room for one more stream, as clients must: with enough connections that is no limit. What a run could offer is part of
its answer, because a machine that lends the driver too little time offers less than was asked for.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from load.bench.h2load import framed
from load.bench.trader import Metadata
from outcry.replay.report import percentile

SPARE_S = 30.0  # beyond the run itself
MICROSECOND = 1e-6


class Row(Struct, frozen=True, array_like=True):
    """An answer: when its request was sent, in microseconds since 1970; its HTTP status; the microseconds it took."""

    sent_us: int
    status: int
    taken_us: int


class Load(Struct, frozen=True):
    """Calls over so many connections, at most so many at once on each; `rate` a second in all, None: in a closed loop,
    as many as are answered."""

    connections: int
    streams: int
    rate: float | None = None


class Driver(Struct, frozen=True):
    """Sends one request again and again; `flags` say how, to h2load."""

    url: str
    body: bytes
    headers: Sequence[tuple[str, str]]
    folder: Path
    flags: tuple[str, ...] = ()

    def run(self, load: Load, seconds: float) -> list[Row]:
        """What was answered within the time."""
        process = self.start(load, seconds)
        process.wait(seconds + SPARE_S)
        return self.rows()

    def start(self, load: Load, seconds: float) -> subprocess.Popen[bytes]:
        body, log = self.folder / "body", self.folder / "log"
        body.write_bytes(self.body)
        log.unlink(missing_ok=True)
        headers = [flag for name, value in self.headers for flag in ("-H", f"{name}: {value}")]
        amounts = ["-c", str(load.connections), "-m", str(load.streams), "-D", f"{seconds * 1000:.0f}ms"]
        if load.rate is not None:
            amounts += ["--rps", f"{load.rate / load.connections:.3f}"]
        command = ["h2load", *self.flags, "-d", str(body), *headers, *amounts, "--log-file", str(log), self.url]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def rows(self) -> list[Row]:
        with (self.folder / "log").open() as lines:
            return [Row(*map(int, line.split("\t")[:3])) for line in lines]


def grpc_driver(address: str, method: str, message: bytes, metadata: Metadata, folder: Path) -> Driver:
    headers = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "5S"), *metadata]
    return Driver(f"http://{address}{method}", framed(message), headers, folder)


def per_second(rows: Sequence[Row]) -> float:
    """Requests a second that were sent and answered."""
    sent = [row.sent_us for row in rows]
    return len(rows) / ((max(sent) - min(sent)) * MICROSECOND)


def seconds(rows: Sequence[Row], percent: int) -> float:
    """The percentile of what the answers took."""
    return percentile([row.taken_us for row in rows], percent) * MICROSECOND
