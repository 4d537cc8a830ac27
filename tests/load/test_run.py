"""`python -m load` and its Locust users, for a few seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOCUSTFILE = Path(__file__).parents[2] / "load" / "locustfile.py"
GUARD_S = 110


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTCRY_")}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, timeout=GUARD_S)


def test_users_of_both_kinds_trade_on_a_fresh_exchange_without_a_failure() -> None:
    done = run("-m", "load", "--users", "6", "--seconds", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout + done.stderr
    for request in ("SubmitOrder", "CancelOrder", "/exchange/orders/{id}", "gRPC feed", "WebSocket"):
        assert request in summary


def test_a_run_whose_requests_fail_says_so_by_its_exit_status() -> None:
    """Nobody listens on port 1."""
    host = ("--host", "http://127.0.0.1:1", "-u", "1", "-r", "1", "-t", "2s", "RestTrader")
    done = run("-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary", *host)
    assert done.returncode == 1
