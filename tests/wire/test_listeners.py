"""Connections at the door: more than there are files for, more than are wanted, and some with half a handshake."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import msgspec
import pytest
import trustme

import wire
from tests.venues import until
from tests.wire.attacker import HOST, Attacker, besieged
from tests.wire.services import SERVICE, Service
from wire.settings import ServerSettings

FILES = 64
VISITORS = 100
CALLS = 200
LONG_S = 20


class Narrow:
    """A process that serves with few files, and a channel that came first."""

    def __init__(self, port: int, channel: Any) -> None:
        self.port = port
        self.channel = channel

    async def call(self, method: str, channel: Any = None) -> bytes:
        answer = await (channel or self.channel).unary_unary(f"/{SERVICE}/{method}")(b"", timeout=LONG_S)
        return bytes(answer)

    async def crowd(self, stack: AsyncExitStack) -> list[Attacker]:
        return [await stack.enter_async_context(await Attacker.arrive(self.port)) for _ in range(VISITORS)]


@asynccontextmanager
async def narrow(connections: int) -> AsyncIterator[Narrow]:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "tests.wire.narrow_server", str(FILES), str(connections))
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        async with wire.insecure_channel(f"{HOST}:{port}") as channel:
            server = Narrow(port, channel)
            await server.call("Echo")
            yield server
    finally:
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), LONG_S) == 0


async def test_a_server_without_files_serves_those_it_has_and_recovers() -> None:
    async with narrow(connections=10_000) as server:
        async with AsyncExitStack() as stack:
            await server.crowd(stack)
            while not int(await server.call("Rests")):
                await asyncio.sleep(0)
            for _ in range(CALLS):
                assert await server.call("Echo") == b""
            assert int(await server.call("Rests")) < CALLS / 2  # it rests, and is not told at every turn
        async with wire.insecure_channel(f"{HOST}:{server.port}") as late:
            assert await server.call("Echo", late) == b""
        assert await server.call("OpenFile") == b'"'


async def test_by_itself_a_server_leaves_files_for_others() -> None:
    async with narrow(connections=0) as server, AsyncExitStack() as stack:
        crowd = await server.crowd(stack)
        await until(lambda: sum(visitor.is_cut_off for visitor in crowd) > VISITORS - FILES)
        assert await server.call("OpenFile") == b'"'
        assert await server.call("Rests") == b"0"


@pytest.mark.parametrize(
    ("files", "connections"), [(64, 32), (1_024, 896), (1 << 20, 10_000), (resource.RLIM_INFINITY, 10_000)]
)
def test_the_limit_of_connections_follows_from_that_of_files(
    files: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert ServerSettings().connections == connections


async def test_handshakes_that_do_not_end_count_as_connections() -> None:
    certificate = trustme.CA().issue_cert(HOST)
    pair = certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes()
    credentials = wire.ssl_server_credentials([pair])
    async with besieged(credentials, connections=3, handshake_s=0.5) as siege, AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(await siege.arrive(b"")) for _ in range(2)]
        await until(lambda: len(siege.server.arriving) == len(silent))
        async with await siege.arrive(b"") as turned_away:
            await turned_away.cut_off()
        assert not any(visitor.is_cut_off for visitor in silent)
        await until(lambda: not siege.server.arriving)  # their time is over
        async with await siege.arrive(b"") as late:
            await until(lambda: len(siege.server.arriving) == 1)
            assert not late.is_cut_off


async def test_a_server_that_stops_ends_handshakes() -> None:
    certificate = trustme.CA().issue_cert(HOST)
    pair = certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes()
    server = wire.server()
    server.settings = msgspec.structs.replace(server.settings, handshake_s=600.0)
    port = server.add_secure_port(f"{HOST}:0", wire.ssl_server_credentials([pair]))
    await server.start()
    async with await Attacker.arrive(port, b"") as silent:
        await until(lambda: bool(server.arriving))
        await server.stop(None)
        await silent.cut_off()
    assert not server.arriving


@pytest.mark.parametrize(("handshake_s", "failures"), [(-1.0, 1), (0.1, 0)], ids=["ours", "of the peer"])
async def test_a_connection_that_fails_by_a_fault_of_ours_is_told_of_loudly(
    handshake_s: float, failures: int, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = trustme.CA().issue_cert(HOST)
    pair = certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes()
    server = wire.server()
    server.settings = msgspec.structs.replace(server.settings, handshake_s=handshake_s)
    port = server.add_secure_port(f"{HOST}:0", wire.ssl_server_credentials([pair]))
    await server.start()
    async with await Attacker.arrive(port, b"") as visitor:
        await visitor.cut_off()
    await server.stop(None)
    loud = [record for record in caplog.records if record.name == "wire" and record.levelname == "ERROR"]
    assert [record.exc_info is not None for record in loud] == [True] * failures


@pytest.mark.parametrize(
    "theirs", [grpc.ssl_server_credentials([(b"key", b"chain")]), grpc.local_server_credentials(), None]
)
def test_grpcio_s_server_credentials_are_refused_with_words_that_say_what_to_use(theirs: Any) -> None:
    server = wire.server()
    with pytest.raises(TypeError, match=r"wire\.ssl_server_credentials"):
        server.add_secure_port(f"{HOST}:0", theirs)
    assert server.listeners == []


async def test_any_address_is_that_of_each_family() -> None:
    server = wire.server()
    server.add_generic_rpc_handlers((Service().handlers({}),))
    port = server.add_insecure_port("[::]:0")
    await server.start()
    async with wire.insecure_channel(f"{HOST}:{port}") as channel:
        assert await channel.unary_unary(f"/{SERVICE}/Echo")(b"x", timeout=LONG_S) == b"x"
    await server.stop(None)


async def test_a_port_is_shared_where_both_servers_ask_for_that() -> None:
    servers = [wire.server(options=[("grpc.so_reuseport", share)]) for share in (1, 1, 0)]
    port = servers[0].add_insecure_port(f"{HOST}:0")
    assert servers[1].add_insecure_port(f"{HOST}:{port}") == port
    with pytest.raises(RuntimeError, match="in use"):
        servers[2].add_insecure_port(f"{HOST}:{port}")
    for server in servers:
        await server.start()
        await server.stop(None)
