"""The `outcry` command, run as users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import outcry
from tests.venues import EngineProcess


class Shell:
    """Runs `outcry` against one engine, with a key of its own unless told otherwise."""

    def __init__(self, engine: EngineProcess, api_key: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OUTCRY_")}
        self.environment = {**clean, "OUTCRY_GRPC": engine.address, "OUTCRY_API_KEY": api_key, "COLUMNS": "200"}

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "outcry", *words],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def says(self, *words: str, **environment: str) -> str:
        run = self.run(*words, **environment)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.says(*words, "--json"), parse_float=str)

    def refusal(self, *words: str, **environment: str) -> str:
        run = self.run(*words, **environment)
        assert run.returncode == 1
        assert run.stdout == ""
        return run.stderr


@pytest.fixture
def shell(engine: EngineProcess) -> Shell:
    with outcry.Client(engine.address) as client:
        return Shell(engine, client.register("shell").api_key)


def test_it_says_its_version(shell: Shell) -> None:
    assert shell.says("--version") == f"outcry {outcry.__version__}\n"


def test_an_order_is_entered_listed_shown_in_the_book_and_cancelled(shell: Shell) -> None:
    entered = shell.json("buy", "AAPL", "10", "--price", "12.25", "--type", "limit", "--tif", "DAY")
    assert (entered["status"], entered["remaining_quantity"]) == ("new", 10)
    order_id = f"ORD_{entered['order_id']}"
    assert order_id in shell.says("orders")
    [order] = shell.json("orders")
    assert (order["price"], order["time_in_force"]) == ("12.25", "DAY")
    assert "12.25" in shell.says("book", "AAPL", "--depth", "0")
    assert shell.json("cancel", order_id)["status"] == "cancelled"
    assert shell.json("orders") == []
    assert shell.json("orders", "--all")[0]["status"] == "cancelled"


def test_an_order_is_cancelled_by_its_number_its_own_name_or_with_all_others(shell: Shell) -> None:
    first = shell.json("buy", "AAPL", "1", "--price", "1")["order_id"]
    shell.json("buy", "AAPL", "1", "--price", "1", "--client-order-id", "mine")
    last = shell.json("buy", "AAPL", "1", "--price", "1")["order_id"]
    assert shell.json("cancel", str(first))["order_id"] == first
    assert shell.json("cancel", "--client-order-id", "mine")["client_order_id"] == "mine"
    assert shell.json("cancel", "--all")["order_ids"] == [last]


def test_positions_come_with_balances(shell: Shell) -> None:
    assert "1,000,000" in shell.says("positions")
    assert shell.json("positions")["balances"]["USD"]["available"] == 1_000_000


def test_a_dry_run_changes_nothing(shell: Shell) -> None:
    assert shell.json("sell", "AAPL", "1", "--price", "900", "--dry-run")["order_id"] == 0
    assert shell.json("orders") == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("buy", "XYZ", "1", "--price", "1"), "outcry: INVALID_INSTRUMENT: Unknown instrument: XYZ\n"),
        (
            ("buy", "AAPL", "1", "--type", "stop"),
            "outcry: INVALID_ORDER_TYPE: Order type stop is not supported yet\n",
        ),
        (
            ("sell", "AAPL", "1", "--price", "1", "--tif", "soon"),
            "outcry: INVALID_TIME_IN_FORCE: Unknown time in force: soon\n",
        ),
        (("buy", "AAPL", "ten"), "outcry: INVALID_REQUEST: quantity: 'ten' is not a number\n"),
        (("cancel", "ORD_987654321"), "outcry: CANCEL_FAILED: Order not found or already filled\n"),
        (("orders", "--api-key", "wrong"), "outcry: UNAUTHENTICATED: A valid API key is needed\n"),
        (("book", "AAPL", "--tls-ca", "nowhere.pem"), "outcry: nowhere.pem: No such file or directory\n"),
    ],
)
def test_a_refusal_is_one_clear_line_and_status_1(shell: Shell, words: tuple[str, ...], line: str) -> None:
    assert shell.refusal(*words) == line


def test_no_exchange_is_one_clear_line_too(shell: Shell) -> None:
    line = shell.refusal("orders", "--grpc", "127.0.0.1:1")
    assert line.startswith("outcry: SERVICE_UNAVAILABLE: ")
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    "words", [("cancel", "XYZ"), ("cancel",), ("cancel", "1", "--all"), ("buy", "AAPL"), ("sing",)]
)
def test_what_makes_no_sense_is_status_2_with_its_usage(shell: Shell, words: tuple[str, ...]) -> None:
    run = shell.run(*words)
    assert run.returncode == 2
    assert "Usage" in run.stderr
    assert "Traceback" not in run.stderr


def test_what_one_order_says_does_not_come_from_the_environment(shell: Shell) -> None:
    strange = {"OUTCRY_BUY_PRICE": "2", "OUTCRY_BUY_TIF": "DAY", "OUTCRY_BUY_DRY_RUN": "1", "OUTCRY_JSON": "1"}
    assert "ORD_" in shell.says("buy", "AAPL", "1", "--price", "3.5", **strange)
    assert shell.run("cancel", OUTCRY_CANCEL_CANCEL_ALL="1").returncode == 2
    assert "GTC" in shell.says("orders", OUTCRY_ORDERS_INSTRUMENT="NONE", OUTCRY_ORDERS_JSON="1")


@pytest.mark.parametrize("quantity", ["-5", "-0.5"])
def test_a_negative_quantity_is_the_exchange_s_to_refuse(shell: Shell, quantity: str) -> None:
    assert "INVALID_QUANTITY" in shell.refusal("buy", "AAPL", quantity, "--price", "1")


def test_a_mistyped_option_of_an_order_is_no_order(shell: Shell) -> None:
    run = shell.run("buy", "AAPL", "5", "--prise", "1")
    assert run.returncode == 2
    assert "--prise" in run.stderr


def test_a_book_says_of_which_event_it_is(shell: Shell) -> None:
    seq = shell.json("book", "AAPL")["seq"]
    assert f"AAPL, as of its event {seq} " in shell.says("book", "AAPL")


def test_without_a_key_the_demo_s_is_used_and_that_is_said(shell: Shell, engine: EngineProcess) -> None:
    run = shell.run("orders", "--data", str(engine.data), OUTCRY_API_KEY="")
    assert run.returncode == 0
    assert str(engine.data / "keys" / "demo.key") in run.stderr


def test_without_any_key_it_says_where_it_looked_and_how_to_give_one(shell: Shell, tmp_path: Path) -> None:
    line = shell.refusal("orders", "--data", str(tmp_path), OUTCRY_API_KEY="")
    assert line.startswith(f"outcry: no API key: {tmp_path}/keys/demo.key: No such file or directory. Give --api-key")


@pytest.mark.parametrize(
    "command", ["engine", "bridge", "replay", "up", "buy", "cancel", "orders", "positions", "book"]
)
def test_every_command_explains_itself(shell: Shell, command: str) -> None:
    assert "--grpc" in shell.says(command, "--help")


def test_up_offers_the_transports_that_the_engine_has(shell: Shell) -> None:
    assert "grpcio|native" in shell.says("up", "--help").replace(" ", "")
    run = shell.run("up", "--transport", "pigeon")
    assert run.returncode == 2
    assert "'pigeon' is not" in run.stderr


def test_engine_passes_its_options_through(shell: Shell, tmp_path: Path) -> None:
    run = shell.run("engine", "--grpc", "192.0.2.1:1", "--data", str(tmp_path / "data"))
    assert run.returncode == 2
    assert "--grpc" in run.stderr
