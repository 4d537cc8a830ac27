"""An engine process of one's own: started on a free port and a temporary folder, gone without a trace afterwards.
The user's `OUTCRY_...` settings are for other engines.

It is told to end by SIGTERM, and by the end of a pipe that only this process holds, so that it does not outlive a
parent that was killed.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from outcry.supervision import Lifeline

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 15
READY = "ready grpc="
LOG_TAIL_LINES = 5


class StartFailed(Exception):
    """The engine did not say that it is ready; the message has the end of its log."""


class OwnEngine(Struct, frozen=True):
    """Where the engine listens, the key of its operator, its process and its folder."""

    address: str
    operator_key: str
    pid: int
    data: Path


@contextmanager
def own_engine(durability: str = "write", *flags: str) -> Iterator[OwnEngine]:
    """Run an engine for as long as the context lasts. StartFailed where it does not come up."""
    with tempfile.TemporaryDirectory(prefix="outcry-engine-") as folder:
        data, log = Path(folder) / "data", Path(folder) / "log"
        command = [sys.executable, "-m", "gateway", "--grpc", "127.0.0.1:0", "--data", str(data)]
        with (
            log.open("wb") as errors,
            running([*command, "--durability", durability, *flags], errors.fileno()) as child,
        ):
            address = ready_address(child, log)
            key = (data / "keys" / "operator.key").read_text().strip()
            yield OwnEngine(address, key, child.pid, data)


@contextmanager
def running(command: list[str], errors: int) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTCRY_")}
    with Lifeline() as lifeline:
        child = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            pass_fds=(lifeline.read_fd,),
            env={**environment, "OUTCRY_LIFELINE_FD": str(lifeline.read_fd)},
        )
        try:
            yield child
        finally:
            stop(child)


def stop(child: subprocess.Popen[str]) -> None:
    child.terminate()
    try:
        child.communicate(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()


def ready_address(child: subprocess.Popen[str], log: Path) -> str:
    assert child.stdout is not None
    readable, _, _ = select.select([child.stdout], [], [], START_TIMEOUT_S)
    line = child.stdout.readline() if readable else ""
    if not line.startswith(READY):
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
        raise StartFailed(f"the engine did not start: {tail or 'it said nothing'}")
    return line.removeprefix(READY).split()[0]
