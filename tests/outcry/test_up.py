"""`outcry up`: one thing that starts, keeps running and stops."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from websockets.sync.client import connect

from outcry import Client, PermissionDenied
from outcry.supervision import Supervisor
from outcry.up import ECHO_S, Interrupts
from tests.venues import is_running, until

LINE = re.compile(
    r"outcry is up: docs (?P<docs>\S+), websocket (?P<ws>\S+), gRPC (?P<grpc>\S+), API key (?P<key>\S+)\n"
)
TIMEOUT_S = 60
MODULES = {"gateway", "rest_bridge", "outcry.demo"}


class Up:
    """`outcry up` in a process group of its own, as in a terminal."""

    def __init__(self, data: Path, *flags: str) -> None:
        self.data = data
        self.errors = data.parent / "up.stderr"
        command = [sys.executable, "-m", "outcry", "up", "--data", str(data), "--durability", "write"]
        addresses = [] if "--grpc" in flags else ["--grpc", "127.0.0.1:0"]
        addresses += [] if "--http" in flags else ["--http", "127.0.0.1:0"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OUTCRY_")}
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*command, *addresses, *flags],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=clean,
                start_new_session=True,
            )

    def announced(self) -> dict[str, str]:
        assert self.process.stdout is not None
        match = LINE.fullmatch(self.process.stdout.readline())
        assert match, self.errors.read_text()
        return match.groupdict()

    def children(self) -> dict[str, int]:
        """The children's process ids, by module."""
        pid = self.process.pid
        pids = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return {name: pid for pid in pids if (name := module(pid)) in MODULES}

    def ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self) -> int:
        return self.process.wait(TIMEOUT_S)

    def logged(self) -> str:
        return "".join(log.read_text() for log in (self.data / "logs").iterdir())

    def key(self, name: str) -> str:
        return (self.data / "keys" / f"{name}.key").read_text().strip()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


Start = Callable[..., Up]


@pytest.fixture
def start(data: Path) -> Iterator[Start]:
    started: list[Up] = []

    def start(*flags: str) -> Up:
        started.append(Up(data, *flags))
        return started[-1]

    yield start
    for up in started:
        up.close()


def test_one_line_names_docs_websocket_grpc_and_a_key_and_all_of_them_answer(start: Start) -> None:
    said = start().announced()
    assert requests.get(said["docs"], timeout=TIMEOUT_S).status_code == 200
    with Client(said["grpc"], said["key"]) as client:
        order = client.buy("AAPL", 1, 100)
    with connect(f"{said['ws']}?api_key={said['key']}&from_seq=0") as socket:
        assert f"ORD_{order.order_id}" in str(socket.recv(TIMEOUT_S))


def test_it_runs_with_the_engine_on_a_unix_socket(start: Start, tmp_path: Path) -> None:
    grpc = f"unix:{tmp_path / 'socket'}"
    said = start("--grpc", grpc).announced()
    assert said["grpc"] == grpc
    with Client(grpc, said["key"]) as client:
        client.buy("AAPL", 1, 100)
    assert requests.get(said["docs"].replace("/docs", "/health"), timeout=TIMEOUT_S).status_code == 200


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
async def test_it_stops_cleanly_and_the_next_start_has_the_same_state(start: Start, how: str) -> None:
    first = start()
    said = first.announced()
    with Client(said["grpc"], said["key"]) as client:
        client.buy("AAPL", 1, 100)
        digest = client.with_key(first.key("operator")).state_digest().digest
    children = first.children()
    assert set(children) == {"gateway", "rest_bridge"}
    if how == "ctrl-c":
        first.ctrl_c()
    else:
        first.process.terminate()
    assert first.wait() == 0
    assert not any(is_running(pid) for pid in children.values())
    assert "Traceback" not in first.logged() + first.errors.read_text()
    second = start()
    again = second.announced()
    assert again["key"] == said["key"]
    with Client(again["grpc"], second.key("operator")) as client:
        assert client.state_digest().digest == digest


async def test_the_children_end_when_it_is_killed(start: Start) -> None:
    up = start("--demo")
    up.announced()
    children = up.children()
    assert set(children) == {"gateway", "rest_bridge", "outcry.demo"}
    up.process.kill()
    up.wait()
    await until(lambda: not any(is_alive(pid) for pid in children.values()), TIMEOUT_S)


async def test_a_killed_engine_is_started_again_where_it_was(start: Start) -> None:
    up = start()
    said = up.announced()
    with Client(said["grpc"], said["key"]) as client:
        order = client.buy("AAPL", 1, 100)
        killed = up.children()["gateway"]
        os.kill(killed, signal.SIGKILL)
        await until(lambda: up.children().get("gateway") not in (None, killed), TIMEOUT_S)
        await until(lambda: answers(client), TIMEOUT_S)
        assert [found.order_id for found in client.orders()] == [order.order_id]
    assert "the engine ended (SIGKILL); starting it again" in up.errors.read_text()


async def test_a_killed_bridge_is_started_again_where_it_was(start: Start) -> None:
    up = start()
    said = up.announced()
    killed = up.children()["rest_bridge"]
    os.kill(killed, signal.SIGKILL)
    await until(lambda: up.children().get("rest_bridge") not in (None, killed), TIMEOUT_S)
    await until(lambda: page_answers(said["docs"]), TIMEOUT_S)


@pytest.mark.parametrize("flag", ["--grpc", "--http"])
def test_a_taken_port_is_an_error_that_names_the_flag(start: Start, flag: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        up = start(flag, f"127.0.0.1:{taken.getsockname()[1]}")
        assert up.wait() == 2
    last = up.errors.read_text().splitlines()[-1]
    assert flag in last
    assert "Traceback" not in up.errors.read_text()


def test_a_venue_without_the_demo_s_account_is_announced_without_a_key(start: Start, tmp_path: Path) -> None:
    venue = tmp_path / "empty.toml"
    venue.touch()
    up = start("--venue", str(venue))
    assert up.process.stdout is not None
    line = up.process.stdout.readline()
    assert "gRPC 127.0.0.1:" in line
    assert "key" not in line


def test_a_bad_venue_file_is_an_error_that_names_it(start: Start, tmp_path: Path) -> None:
    venue = tmp_path / "odd.toml"
    venue.write_text("instruments = 7")
    up = start("--venue", str(venue))
    assert up.wait() == 2
    assert "odd.toml" in up.errors.read_text().splitlines()[-1]


async def test_a_second_ctrl_c_does_not_wait_for_who_does_not_stop(start: Start) -> None:
    up = start()
    up.announced()
    children = up.children()
    os.kill(children["gateway"], signal.SIGSTOP)
    up.ctrl_c()
    await until(lambda: not is_alive(children["rest_bridge"]), TIMEOUT_S)
    await until(lambda: is_gone_after_another_ctrl_c(up), TIMEOUT_S)
    assert up.wait() == 1
    await until(lambda: not is_alive(children["gateway"]), TIMEOUT_S)


async def test_a_child_that_had_to_be_killed_is_a_failure(start: Start) -> None:
    up = start()
    up.announced()
    os.kill(up.children()["gateway"], signal.SIGSTOP)
    up.ctrl_c()
    assert up.wait() == 1
    assert up.errors.read_text().endswith("outcry: stopping\noutcry: the engine does not stop; killing it\n")


async def test_a_second_one_on_the_folder_says_at_once_who_has_it_and_writes_nothing_there(start: Start) -> None:
    first = start()
    first.announced()
    logged, before = first.logged(), len(first.errors.read_text())
    second = start()
    await until(lambda: "in use" in second.errors.read_text()[before:], TIMEOUT_S)
    assert f"process {first.process.pid}" in second.errors.read_text()[before:]
    assert second.wait() == 2
    assert second.errors.read_text().endswith(f"process {first.process.pid}: stop it, or give another --data\n")
    assert first.logged() == logged


def test_a_data_folder_that_cannot_be_is_an_error_that_names_it(start: Start, data: Path) -> None:
    data.touch()
    up = start("--data", str(data / "below"))
    assert up.wait() == 2
    assert up.errors.read_text() == f"outcry: --data {data / 'below'}: Not a directory\n"


async def test_one_that_is_started_while_another_stops_takes_over(start: Start) -> None:
    first = start()
    first.announced()
    second = start()
    await until(lambda: "in use" in second.errors.read_text(), TIMEOUT_S)
    first.ctrl_c()
    second.announced()
    assert first.wait() == 0


async def test_ctrl_c_ends_the_wait_for_the_folder(start: Start) -> None:
    start().announced()
    second = start()
    await until(lambda: "in use" in second.errors.read_text(), TIMEOUT_S)
    second.ctrl_c()
    assert second.wait() == 0


@pytest.mark.parametrize("grpc", ["127.0.0.1:0", "0.0.0.0:0"])
async def test_it_trades_under_tls_by_its_flags(start: Start, tmp_path: Path, grpc: str) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    flags = [word for name in ("cert", "key", "ca") for word in (f"--tls-{name}", str(tmp_path / f"{name}.pem"))]
    up = start("--demo", "--registration", "closed", "--grpc", grpc, *flags)
    said = up.announced()
    with Client(said["grpc"], said["key"], root_certificates=authority.cert_pem.bytes()) as client:
        await until(lambda: bool(client.order_book("AAPL").bids), TIMEOUT_S)
        with pytest.raises(PermissionDenied):
            client.register("late")
    assert page_answers(said["docs"])


def test_a_certificate_without_roots_to_trust_it_is_an_error(start: Start) -> None:
    up = start("--tls-cert", "cert.pem", "--tls-key", "key.pem")
    assert up.wait() == 2
    assert "--tls-ca" in up.errors.read_text()


class Spy(Supervisor):
    """Supervises nobody, and counts how often it is told to kill."""

    kills = 0

    def kill(self) -> None:
        self.kills += 1


async def test_ctrl_c_to_both_the_process_and_its_group_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    now_s = 100.0
    running, spy = asyncio.create_task(asyncio.Event().wait()), Spy([])
    interrupts = Interrupts(running, spy, lambda: now_s)
    interrupts.interrupt()
    now_s += ECHO_S * 0.9
    interrupts.interrupt()
    assert running.cancelling() == 1
    assert (spy.kills, statuses) == (0, [])
    now_s += ECHO_S * 0.1 + 0.01
    interrupts.interrupt()
    assert (spy.kills, statuses) == (1, [1])


def is_gone_after_another_ctrl_c(up: Up) -> bool:
    if up.process.poll() is None:
        up.ctrl_c()
    return up.process.poll() is not None


def module(pid: int) -> str:
    """What `python -m` runs there; "" for a process that is only just beginning or has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return words[2] if len(words) > 2 else ""


def is_alive(pid: int) -> bool:
    """Whether it runs, zombies apart: without a parent of ours, nobody waits for them at once."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def answers(client: Client) -> bool:
    from outcry import Unavailable

    try:
        client.orders()
    except Unavailable:
        return False
    return True


def page_answers(url: str) -> bool:
    try:
        answer: Any = requests.get(url, timeout=TIMEOUT_S)
    except requests.ConnectionError:
        return False
    return bool(answer.status_code == 200)
