"""The floor beside us: how fast plain Python can take whole orders over gRPC when everything optional is left out.

Its sources lie in a folder that is shared by several projects, found by OUTCRY_SHARED_EXPERIMENTS.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from load.bench.figures import Skipped

VARIABLE = "OUTCRY_SHARED_EXPERIMENTS"
DEFAULT = Path(__file__).parents[2] / "../shared/experiments"
METHOD = "/floor.Floor/SubmitOrder"
NEEDED = ("hpack", "grpc_tools")
PREFIX_BYTES = 5  # of gRPC's, before the order in floor_body.bin


class Floor(Struct, frozen=True):
    """Where a floor server listens, its process, and its order."""

    address: str
    pid: int
    order: bytes


def sources() -> Path:
    """The folder of the floor. Skipped where it or a package is missing."""
    folder = Path(os.environ.get(VARIABLE, DEFAULT)).resolve()
    if not (folder / "floor_server.py").exists():
        raise Skipped(f"the floor: its sources are not there; {VARIABLE} names their folder")
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Skipped(f"the floor: it needs the Python package {missing[0]}")
    return folder


@contextmanager
def floor_server(mode: str) -> Iterator[Floor]:
    """A floor server in `write`, `fsync` or `fsync-thread`; what it needs is made in a temporary folder."""
    folder = sources()
    with tempfile.TemporaryDirectory(prefix="floor-") as made:
        path = os.pathsep.join(filter(None, [made, os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": made}
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--python_out={made}", "floor.proto"]
        subprocess.run(protoc, check=True)
        subprocess.run([sys.executable, str(folder / "make_body.py")], cwd=made, env=environment, check=True)
        order = (Path(made) / "floor_body.bin").read_bytes()[PREFIX_BYTES:]
        address = f"127.0.0.1:{free_port()}"
        command = [sys.executable, str(folder / "floor_server.py"), address, mode]
        # In fsync-thread it complains of connections that closed while it synced.
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=quiet) as process:
            try:
                assert process.stdout is not None
                if process.stdout.readline() != b"up\n":
                    raise Skipped("the floor: its server did not start")
                yield Floor(address, process.pid, order)
            finally:
                process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
