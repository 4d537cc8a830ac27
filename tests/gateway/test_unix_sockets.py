"""The engine on a Unix socket, as a process, by both transports, with clients of every kind."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from socket import AF_UNIX, socket

import pytest

from outcry import AsyncClient, Client
from tests.venues import engine_process


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


async def test_clients_reach_an_engine_on_a_unix_socket_which_is_its_user_s_alone(tmp_path: Path, path: Path) -> None:
    with engine_process(tmp_path / "data", grpc_address=f"unix:{path}") as engine:
        assert engine.address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with Client(engine.address) as client:
            assert client.register("sync").api_key
        async with AsyncClient(f"unix://{path}") as other:
            assert (await other.register("async")).api_key


async def test_the_socket_that_a_dead_engine_left_is_replaced(tmp_path: Path, path: Path) -> None:
    with engine_process(tmp_path / "data", grpc_address=f"unix:{path}") as engine:
        engine.kill()
    assert path.is_socket()
    with (
        engine_process(tmp_path / "data", grpc_address=f"unix:{path}") as engine,
        Client(engine.address) as client,
    ):
        assert client.register("next").api_key


def test_an_engine_that_stops_takes_its_socket_with_it(tmp_path: Path, path: Path) -> None:
    with engine_process(tmp_path / "data", grpc_address=f"unix:{path}") as engine:
        assert path.is_socket()
        assert engine.stop() == 0
    assert not path.exists()


def test_an_engine_that_stops_leaves_what_others_have_put_in_the_place_of_its_socket(
    tmp_path: Path, path: Path, transport: str
) -> None:
    if transport == "grpcio":
        pytest.skip("grpcio itself takes away whatever is there")
    with engine_process(tmp_path / "data", grpc_address=f"unix:{path}") as engine, socket(AF_UNIX) as other:
        path.unlink()
        other.bind(str(path))
        assert engine.stop() == 0
        assert path.is_socket()


def test_the_socket_of_an_engine_that_lives_is_refused_and_left_to_it(tmp_path: Path, path: Path) -> None:
    with engine_process(tmp_path / "data", grpc_address=f"unix:{path}") as engine:
        other = [sys.executable, "-m", "gateway", "--grpc", f"unix:{path}", "--data", str(tmp_path / "other")]
        ran = subprocess.run(other, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 2
        assert f"--grpc unix:{path} cannot be listened on" in ran.stderr.strip().splitlines()[-1]
        with Client(engine.address) as client:
            assert client.register("still").api_key
