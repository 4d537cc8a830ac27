"""h2load as the client: it is written in C, so that what is measured is the server.

It counts a gRPC refusal as a success. So one answer is looked at before, and every run must bring at least as many
bytes of messages as that many such answers have: a refusal has none.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import grpc
from msgspec import Struct

from load.bench.figures import Skipped, cpu_seconds
from load.bench.trader import TIMEOUT_S, Metadata

H2LOAD_TIMEOUT_S = 60
FINISHED = re.compile(r"finished in [^,]+, ([\d.]+) req/s")
SUCCEEDED = re.compile(r"(\d+) succeeded")
DATA = re.compile(r"\((\d+)\) data")
PREFIX_BYTES = 5


class Load(Struct, frozen=True):
    """How many calls at once, over how many connections; `calls` of a fast server, fewer of a slow one."""

    name: str
    streams: int
    connections: int
    calls: int
    slow_calls: int


class Run(Struct, frozen=True):
    """Calls a second, and the server's CPU microseconds for each."""

    rate: float
    cpu_us: float


class Target(Struct):
    """A server that h2load calls; `message` is what it is sent, `sent` how often it was."""

    name: str
    pid: int
    address: str
    method: str
    message: bytes
    metadata: Metadata = ()
    slow: bool = False
    answer_bytes: int = 0
    sent: int = 0

    def check(self, is_right: Callable[[bytes], bool]) -> None:
        """Call once, and see that the answer is one."""
        with grpc.insecure_channel(self.address) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(self.method)
            answer = call(self.message, metadata=self.metadata, timeout=TIMEOUT_S)
        if not is_right(answer):
            raise RuntimeError(f"{self.name} answered {answer!r}")
        self.answer_bytes = len(answer)
        self.sent += 1

    def run(self, load: Load, folder: Path) -> Run:
        """`folder` is for the body that h2load reads."""
        calls = load.slow_calls if self.slow else load.calls
        body = folder / f"{self.pid}.bin"
        body.write_bytes(framed(self.message))
        before = cpu_seconds(self.pid)
        done = subprocess.run(
            self.command(load, calls, body), capture_output=True, text=True, timeout=H2LOAD_TIMEOUT_S, check=True
        )
        used = cpu_seconds(self.pid) - before
        self.sent += calls
        return Run(self.rate(done.stdout, calls), used / calls * 1e6)

    def command(self, load: Load, calls: int, body: Path) -> list[str]:
        headers = [("content-type", "application/grpc"), ("te", "trailers"), *self.metadata]
        flags = [flag for name, value in headers for flag in ("-H", f"{name}: {value}")]
        amounts = ["-m", str(load.streams), "-c", str(load.connections), "-n", str(calls)]
        return ["h2load", "-d", str(body), *flags, *amounts, f"http://{self.address}{self.method}"]

    def rate(self, said: str, calls: int) -> float:
        rate, succeeded, data = FINISHED.search(said), SUCCEEDED.search(said), DATA.search(said)
        if rate is None or succeeded is None or data is None or int(succeeded[1]) != calls:
            raise RuntimeError(f"h2load did not finish its calls of {self.name}: {said}")
        if int(data[1]) < calls * (PREFIX_BYTES + self.answer_bytes):
            raise RuntimeError(f"{self.name} refused calls: {said}")
        return float(rate[1])


def framed(message: bytes) -> bytes:
    """One gRPC message as it goes over the wire: not compressed, its length, itself."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def need_h2load() -> None:
    if shutil.which("h2load") is None:
        raise Skipped("the transports, driven from C: h2load is not installed (Debian: nghttp2-client)")
