"""The floor beside us: how fast plain Python can take whole orders over gRPC when everything optional is left out.

The floor's sources lie in a folder that is shared by several projects, found by OUTCRY_SHARED_EXPERIMENTS. It, a bare
grpcio.aio echo and the gateway are driven by h2load in turn, so that no client in Python is measured.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from msgspec import Struct

from load import flows
from load.bench.echo_server import METHOD
from load.bench.figures import ROUNDS, Figure, Skipped, alternating
from load.bench.trader import INSTRUMENT, Metadata, trader
from load.bench.unary import echo_server
from outcry import v1
from outcry.own_engine import own_engine

VARIABLE = "OUTCRY_SHARED_EXPERIMENTS"
DEFAULT = Path(__file__).parents[2] / "../shared/experiments"
STREAMS = 64
FLOOR_CALLS, GRPCIO_CALLS, LONE_CALLS = 60_000, 15_000, 2_000
H2LOAD_TIMEOUT_S = 60
FINISHED = re.compile(r"finished in [^,]+, ([\d.]+) req/s")
SUCCEEDED = re.compile(r"(\d+) succeeded")
NEEDED = ("hpack", "grpc_tools")


def sources() -> Path:
    """The folder of the floor. Skipped where it, h2load or a package is missing."""
    folder = Path(os.environ.get(VARIABLE, DEFAULT)).resolve()
    if not (folder / "floor_server.py").exists():
        raise Skipped(f"the floor: its sources are not there; {VARIABLE} names their folder")
    if shutil.which("h2load") is None:
        raise Skipped("the floor: h2load is not installed (Debian: nghttp2-client)")
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Skipped(f"the floor: it needs the Python package {missing[0]}")
    return folder


@contextmanager
def floor_server(folder: Path) -> Iterator[tuple[str, Path]]:
    """The address of a floor server in `write`, and the body of its order, both made in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="floor-") as made:
        path = os.pathsep.join(filter(None, [made, os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": made}
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--python_out={made}", "floor.proto"]
        subprocess.run(protoc, check=True)
        subprocess.run([sys.executable, str(folder / "make_body.py")], cwd=made, env=environment, check=True)
        address = f"127.0.0.1:{free_port()}"
        command = [sys.executable, str(folder / "floor_server.py"), address, "write"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                if process.stdout.readline() != b"up\n":
                    raise Skipped("the floor: its server did not start")
                yield address, Path(made) / "floor_body.bin"
            finally:
                process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def body(message: bytes) -> bytes:
    """One gRPC message as h2load sends it: not compressed, its length, itself."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class Target(Struct, frozen=True):
    """A server that h2load calls: where, with which headers and body, and how often at many streams."""

    name: str
    url: str
    metadata: Metadata
    body: Path
    calls: int

    def rate(self) -> float:
        """Calls a second, many at once."""
        return self.called(self.calls, STREAMS)

    def lone_us(self) -> float:
        """Microseconds a call, one at a time."""
        return 1e6 / self.called(LONE_CALLS, 1)

    def called(self, calls: int, streams: int) -> float:
        headers = [("content-type", "application/grpc"), ("te", "trailers"), *self.metadata]
        flags = [flag for name, value in headers for flag in ("-H", f"{name}: {value}")]
        command = ["h2load", "-d", str(self.body), *flags, "-m", str(streams), "-c", "1", "-n", str(calls), self.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=H2LOAD_TIMEOUT_S, check=True)
        rate, succeeded = FINISHED.search(done.stdout), SUCCEEDED.search(done.stdout)
        if rate is None or succeeded is None or int(succeeded[1]) != calls:
            raise RuntimeError(f"h2load did not finish its calls: {done.stdout}")
        return float(rate[1])


def figures() -> list[Figure]:
    folder = sources()
    order = v1.NewOrder(
        instrument_id=INSTRUMENT,
        side=v1.SIDE_BUY,
        order_type=v1.ORDER_TYPE_LIMIT,
        quantity=flows.LOT,
        price=flows.MIDDLE,
    )
    with tempfile.TemporaryDirectory() as made, own_engine("write") as engine:
        data = Path(made) / "order.bin"
        data.write_bytes(body(order.SerializeToString()))
        metadata = trader(engine)
        with floor_server(folder) as (floor, floor_body), echo_server() as (echo, _):
            targets = [
                Target("floor", f"http://{floor}/floor.Floor/SubmitOrder", (), floor_body, FLOOR_CALLS),
                Target("echo", f"http://{echo}{METHOD}", (), data, GRPCIO_CALLS),
                Target("gateway", f"http://{engine.address}{METHOD}", metadata, data, GRPCIO_CALLS),
            ]
            medians = measured(targets)
        check_book(engine.address)
    return [figure(target.name, medians) for target in targets]


def check_book(address: str) -> None:
    """h2load counts a refusal as a success: see that every order is in the book."""
    with grpc.insecure_channel(address) as channel:
        request = v1.GetOrderBookRequest(instrument_id=INSTRUMENT, depth=1)
        book = v1.MarketDataStub(channel).GetOrderBook(request)
    resting, sent = book.bids[0].quantity, ROUNDS * (GRPCIO_CALLS + LONE_CALLS) * flows.LOT
    if resting != sent:
        raise RuntimeError(f"the gateway refused orders: {resting} of {sent} units are in the book")


def measured(targets: list[Target]) -> dict[str, float]:
    measures: dict[str, Callable[[], float]] = {}
    for target in targets:
        measures[target.name] = target.rate
        measures[f"{target.name} lone"] = target.lone_us
    return alternating(measures)


def figure(name: str, medians: dict[str, float]) -> Figure:
    rate, lone_us = medians[name], medians[f"{name} lone"]
    ratio = "" if name == "floor" else f"; {rate / medians['floor']:.2f}x the floor's throughput"
    workload = f"h2load, write, {STREAMS} streams; lone"
    return Figure(f"unary, {NAMES[name]}", workload, f"{rate:,.0f}/s; {lone_us:.0f} us{ratio}")


NAMES = {
    "floor": "the floor: a whole order in plain Python",
    "echo": "a bare grpcio.aio echo",
    "gateway": "a whole order by this gateway, on grpcio",
}
