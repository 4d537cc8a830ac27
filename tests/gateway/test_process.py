"""`python -m gateway` as operators run it: a process, its signals, its exit codes, and what a kill leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import grpc
import pytest

from outcry import v1
from tests.gateway.test_order_entry import order
from tests.gateway.troubled_engine import trouble
from tests.venues import EngineProcess, Stubs, engine_process


async def digest(stubs: Stubs, engine: EngineProcess) -> str:
    metadata = [("x-api-key", engine.operator_key)]
    return str((await stubs.operations.GetStateDigest(v1.GetStateDigestRequest(), metadata=metadata)).digest)


@pytest.mark.parametrize("durability", ["fsync", "write"])
async def test_everything_acknowledged_is_there_after_kill_9_and_the_state_is_the_same(
    tmp_path: Path, durability: str
) -> None:
    data = tmp_path / "data"
    acknowledged: list[int] = []

    async def trade(stubs: Stubs, key: list[tuple[str, str]], first: int) -> None:
        for side in cycle((first, 3 - first)):
            result = await stubs.orders.SubmitOrder(order(side, 1), metadata=key)
            acknowledged.append(result.order_id)

    with engine_process(data, "--durability", durability) as engine:
        async with grpc.aio.insecure_channel(engine.address) as channel:
            stubs = Stubs(channel)
            keys = [(await stubs.register())[1] for _ in range(2)]
            traders = [asyncio.ensure_future(trade(stubs, key, side)) for side, key in enumerate(keys, start=1)]
            while len(acknowledged) < 200:
                await asyncio.sleep(0)
            engine.kill()
            await asyncio.gather(*traders, return_exceptions=True)

    with engine_process(data) as engine:
        async with grpc.aio.insecure_channel(engine.address) as channel:
            stubs = Stubs(channel)
            everything = v1.ListOrdersRequest(include_closed=True)
            there: set[int] = set()
            for key in keys:
                listing = await stubs.accounts.ListOrders(everything, metadata=key)
                there |= {o.order_id for o in listing.orders}
            assert set(acknowledged) <= there
            first = await digest(stubs, engine)
    with engine_process(data) as engine:
        async with grpc.aio.insecure_channel(engine.address) as channel:
            assert await digest(Stubs(channel), engine) == first


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def refuses(run: subprocess.CompletedProcess[str], *words: str) -> bool:
    """Exit status 2, one clear line with these words, and no traceback."""
    last = run.stderr.strip().splitlines()[-1]
    return run.returncode == 2 and all(word in last for word in words) and "Traceback" not in run.stderr


def test_a_taken_port_is_an_error_that_names_the_flag(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert refuses(run("--grpc", address, "--data", str(tmp_path / "data")), "--grpc", address, "in use")


def test_plain_text_beyond_loopback_is_refused_unless_told(tmp_path: Path) -> None:
    assert refuses(run("--grpc", "0.0.0.0:0", "--data", str(tmp_path / "data")), "--allow-plaintext")


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--durability", "maybe"), "--durability"),
        (("--venue", "nowhere.toml"), "nowhere.toml"),
        (("--tls-cert", "nowhere.pem"), "--tls-key"),
        (("--grpc", "nonsense"), "--grpc"),
        (("--grpc", "127.0.0.1:99999"), "HOST:PORT"),
        (("--grpc", "unix:"), "unix:PATH"),
        (("--grpc", "unix:/nowhere/socket"), "/nowhere/socket cannot be listened on: No such file or directory"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(tmp_path: Path, flags: tuple[str, ...], word: str) -> None:
    assert refuses(run("--grpc", "127.0.0.1:0", "--data", str(tmp_path / "data"), *flags), word)


def test_a_damaged_journal_is_refused_naming_file_and_offset(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with engine_process(data):
        pass
    (segment,) = (data / "journal").iterdir()
    content = bytearray(segment.read_bytes())
    content[60] ^= 1
    segment.write_bytes(content)
    assert refuses(run("--grpc", "127.0.0.1:0", "--data", str(data)), segment.name, "offset")


def test_a_journal_that_lost_what_was_acknowledged_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with engine_process(data):
        pass
    (segment,) = (data / "journal").iterdir()
    (events,) = (data / "events").iterdir()
    said = events.read_bytes()
    segment.unlink()
    assert refuses(run("--grpc", "127.0.0.1:0", "--data", str(data)), str(events), "journal ends at command 0")
    assert events.read_bytes() == said


def test_a_key_file_that_holds_no_key_is_refused_by_name(tmp_path: Path) -> None:
    keys = tmp_path / "data" / "keys"
    keys.mkdir(parents=True)
    (keys / "demo.key").write_bytes(b"\xff" * 40)
    assert refuses(run("--grpc", "127.0.0.1:0", "--data", str(tmp_path / "data")), "demo.key")


def test_sigterm_stops_cleanly(tmp_path: Path) -> None:
    with engine_process(tmp_path / "data") as engine:
        assert engine.stop() == 0


@pytest.mark.parametrize("last_words", [None, b"fails"], ids=["stalls", "fails"])
async def test_a_disk_that_stalls_or_fails_during_a_stop_ends_it_all_the_same_with_status_1(
    tmp_path: Path, last_words: bytes | None
) -> None:
    data = tmp_path / "data"
    with engine_process(data, module="tests.gateway.troubled_engine") as engine:
        async with grpc.aio.insecure_channel(engine.address) as channel:
            stubs = Stubs(channel)
            _, key = await stubs.register()
            feed = stubs.feed.StreamExecutions(v1.StreamExecutionsRequest(), metadata=key)
            await feed.read()
            os.mkfifo(trouble(data))
            answer = asyncio.ensure_future(stubs.orders.SubmitOrder(order(), metadata=key))
            with await asyncio.to_thread(trouble(data).open, "wb") as disk:  # open when a sync has begun
                engine.process.send_signal(signal.SIGTERM)
                with pytest.raises(grpc.aio.AioRpcError):
                    await feed.read()  # the engine is stopping
                if last_words:
                    disk.write(last_words)
                    disk.close()
                assert await asyncio.to_thread(engine.process.wait, 30) == 1
            with pytest.raises(grpc.aio.AioRpcError):
                await answer


def test_the_end_of_the_lifeline_stops_cleanly(tmp_path: Path) -> None:
    inner, outer = os.pipe()
    command = [sys.executable, "-m", "gateway", "--grpc", "127.0.0.1:0", "--data", str(tmp_path / "data")]
    environment = {**os.environ, "OUTCRY_LIFELINE_FD": str(inner)}
    with subprocess.Popen(command, env=environment, pass_fds=[inner], stdout=subprocess.PIPE, text=True) as process:
        os.close(inner)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)  # a terminal's Ctrl-C goes to the whole group; the supervisor decides
        os.close(outer)
        assert process.wait(30) == 0


async def test_health_and_reflection_answer_without_a_key(tmp_path: Path) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with engine_process(tmp_path / "data") as engine:
        async with grpc.aio.insecure_channel(engine.address) as channel:
            health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert health.status == health_pb2.HealthCheckResponse.SERVING
            request = reflection_pb2.ServerReflectionRequest(list_services="")
            call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
            answer = await call.read()
            names = {service.name for service in answer.list_services_response.service}
            assert {"outcry.v1.OrderEntry", "grpc.health.v1.Health"} <= names
