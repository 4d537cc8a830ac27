"""`python -m load`: a fresh exchange, a hundred users for a minute, a summary.

Starts `outcry up` on free ports and a temporary folder, runs Locust headless against it, and stops it. Exit status: 0
when every request succeeded, 1 when one failed, 2 when the exchange did not come up.
"""

from __future__ import annotations

import argparse
import os
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
SPARE_S = 60  # beyond the run itself: users' start, the last requests, the summary
UP = re.compile(r"docs (?P<http>http://\S+)/docs,.* gRPC (?P<grpc>[^,\s]+)")
LOCUSTFILE = Path(__file__).with_name("locustfile.py")


class NotUp(Exception):
    """The exchange did not come up."""


class Exchange(Struct, frozen=True):
    http: str
    grpc: str


@contextmanager
def exchange() -> Iterator[Exchange]:
    """A fresh exchange without the demo's bots and the user's settings, gone afterwards. NotUp where it fails."""
    with tempfile.TemporaryDirectory(prefix="outcry-load-") as folder:
        command = [sys.executable, "-m", "outcry", "up", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTCRY_")}
        process = subprocess.Popen([*command, "--data", folder], stdout=subprocess.PIPE, text=True, env=environment)
        try:
            yield announced(process)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def announced(process: subprocess.Popen[str]) -> Exchange:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    line = process.stdout.readline() if readable else ""
    found = UP.search(line)
    if found is None:
        raise NotUp(f"the exchange did not come up: {line.strip() or 'it said nothing'}")
    return Exchange(found["http"], found["grpc"])


def locust(at: Exchange, users: int, seconds: int) -> int:
    """Run Locust; its exit status, 1 where a request failed."""
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
    command += ["--host", at.http, "-u", str(users), "-r", str(max(users // 5, 1)), "-t", f"{seconds}s"]
    environment = {**os.environ, "OUTCRY_GRPC": at.grpc}
    return subprocess.run(command, env=environment, timeout=seconds + SPARE_S, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m load", description="Run a load test against a fresh exchange.")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    try:
        with exchange() as at:
            return min(locust(at, options.users, options.seconds), 1)
    except NotUp as problem:
        print(problem, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
