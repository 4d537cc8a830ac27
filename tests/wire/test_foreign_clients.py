"""Clients that nobody here wrote, against our server over a socket. One that is not installed is skipped, by name."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import grpc.aio
import pytest
import trustme

import wire
from tests.wire.services import INITIAL_ECHO, SERVICE, TRAILING_ECHO, Service, ask

SIZES = (31_415, 9, 2_653, 58_979)
LARGE_REQUEST, LARGE_RESPONSE = 271_828, 314_159
WORDS = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
REQUESTS: dict[str, Any] = {
    "small": ask(1),
    "large": ask(LARGE_RESPONSE, payload=bytes(LARGE_REQUEST)),
    "inputs": [ask(payload=bytes(size)) for size in SIZES],
    "output": ask(*SIZES),
    "pings": [ask(size, payload=bytes(size)) for size in SIZES],
    "status": ask(code=9, words=WORDS),
}
ECHOED = ((INITIAL_ECHO, "first"), (TRAILING_ECHO, b"\xab\xab"))
HEARD = {
    "empty": 0,
    "large": LARGE_RESPONSE,
    "client_stream": str(sum(SIZES)),
    "server_stream": list(SIZES),
    "ping_pong": list(SIZES),
    "metadata": ["first", "abab"],
    "status": [9, WORDS],
    "abort": [9, WORDS],
    "missing": [12, "Method not found!"],
    "deadline": 4,
    "cancelled": 1,
}
DEADLINE_S = 0.2
PATIENCE_S = 30
STOP_S = 5
GRPC_HEADERS = ("content-type: application/grpc", "te: trailers")
CALLS = 2_000  # of h2load

NODE_SCRIPT = Path(__file__).with_name("foreign.js")


class Served(NamedTuple):
    address: str
    service: Service

    def url(self, method: str, scheme: str = "http") -> str:
        return f"{scheme}://{self.address}/{SERVICE}/{method}"


@asynccontextmanager
async def serving(credentials: Any = None) -> AsyncIterator[Served]:
    service = Service()
    server = wire.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((service.handlers({}),))
    if credentials is None:
        port = server.add_insecure_port("localhost:0")
    else:
        port = server.add_secure_port("localhost:0", credentials)
    await server.start()
    try:
        yield Served(f"localhost:{port}", service)
    finally:
        service.released.set()
        async with asyncio.timeout(STOP_S):
            await server.stop(None)


def installed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


class Ran(NamedTuple):
    code: int | None
    output: str
    errors: str


async def run(*command: str, **environment: str) -> Ran:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment}
    )
    async with asyncio.timeout(PATIENCE_S):
        output, errors = await process.communicate()
    return Ran(process.returncode, output.decode(), errors.decode())


# grpcio, sync


def pair(caught: Any) -> list[Any]:
    return [caught.value.code().value[0], caught.value.details()]


def failed_now(channel: grpc.Channel, method: str, request: bytes, timeout: float = PATIENCE_S) -> list[Any]:
    call: Any = channel.unary_unary(f"/{SERVICE}/{method}")
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=timeout)
    return pair(caught)


def pings_now(channel: grpc.Channel) -> Iterator[int]:
    """Each ping is written when the answer to the one before it is here."""
    call: Any = channel.stream_stream(f"/{SERVICE}/Duplex")(iter(REQUESTS["pings"]))
    yield from (len(answer) for answer in call)


def cancelled_now(channel: grpc.Channel) -> int:
    hang: Any = channel.unary_stream(f"/{SERVICE}/HangStream")
    call = hang(b"")
    assert next(call) == b"first"
    call.cancel()
    return int(call.code().value[0])


def heard_by_sync_grpcio(address: str) -> dict[str, Any]:
    with grpc.insecure_channel(address) as channel:
        unary: Any = channel.unary_unary(f"/{SERVICE}/Unary")
        _, call = unary.with_call(REQUESTS["small"], metadata=ECHOED)
        output: Any = channel.unary_stream(f"/{SERVICE}/Output")
        echo: Any = channel.unary_unary(f"/{SERVICE}/Echo")
        stream: Any = channel.stream_unary(f"/{SERVICE}/Input")
        return {
            "empty": len(echo(b"")),
            "large": len(unary(REQUESTS["large"])),
            "client_stream": stream(iter(REQUESTS["inputs"])).decode(),
            "server_stream": [len(answer) for answer in output(REQUESTS["output"])],
            "ping_pong": list(pings_now(channel)),
            "metadata": [
                dict(call.initial_metadata())[INITIAL_ECHO],
                dict(call.trailing_metadata())[TRAILING_ECHO].hex(),
            ],
            "status": failed_now(channel, "Unary", REQUESTS["status"]),
            "abort": failed_now(channel, "Abort", REQUESTS["status"]),
            "missing": failed_now(channel, "Missing", b""),
            "deadline": failed_now(channel, "Hang", b"", DEADLINE_S)[0],
            "cancelled": cancelled_now(channel),
        }


async def test_grpcio_in_threads() -> None:
    async with serving() as served:
        assert await asyncio.to_thread(heard_by_sync_grpcio, served.address) == HEARD
        await served.service.cancelled.wait()


async def test_many_threads_share_one_grpcio_channel() -> None:
    async with serving() as served:
        with grpc.insecure_channel(served.address) as channel:
            echo: Any = channel.unary_unary(f"/{SERVICE}/Echo")
            messages = [b"%d" % number for number in range(200)]
            answers = await asyncio.gather(*(asyncio.to_thread(echo, message) for message in messages))
        assert answers == messages


# grpcio, aio


async def failed(call: Any) -> list[Any]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return pair(caught)


async def ping_pong(channel: Any) -> list[int]:
    """Each ping is written when the answer to the one before it is here."""
    call = channel.stream_stream(f"/{SERVICE}/Duplex")()
    sizes = []
    for ping in REQUESTS["pings"]:
        await call.write(ping)
        sizes.append(len(await call.read()))
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    return sizes


async def cancelled(channel: Any) -> int:
    call = channel.unary_stream(f"/{SERVICE}/HangStream")(b"")
    assert await call.read() == b"first"
    call.cancel()
    return int((await call.code()).value[0])


async def heard_by_aio(channel: Any) -> dict[str, Any]:
    unary = channel.unary_unary(f"/{SERVICE}/Unary")
    call = unary(REQUESTS["small"], metadata=ECHOED)
    output = channel.unary_stream(f"/{SERVICE}/Output")(REQUESTS["output"])
    return {
        "empty": len(await channel.unary_unary(f"/{SERVICE}/Echo")(b"")),
        "large": len(await unary(REQUESTS["large"])),
        "client_stream": (await channel.stream_unary(f"/{SERVICE}/Input")(iter(REQUESTS["inputs"]))).decode(),
        "server_stream": [len(answer) async for answer in output],
        "ping_pong": await ping_pong(channel),
        "metadata": [
            dict(await call.initial_metadata())[INITIAL_ECHO],
            dict(await call.trailing_metadata())[TRAILING_ECHO].hex(),
        ],
        "status": await failed(unary(REQUESTS["status"])),
        "abort": await failed(channel.unary_unary(f"/{SERVICE}/Abort")(REQUESTS["status"])),
        "missing": await failed(channel.unary_unary(f"/{SERVICE}/Missing")(b"")),
        "deadline": (await failed(channel.unary_unary(f"/{SERVICE}/Hang")(b"", timeout=DEADLINE_S)))[0],
        "cancelled": await cancelled(channel),
    }


async def test_grpcio_aio() -> None:
    async with serving() as served, grpc.aio.insecure_channel(served.address) as channel:
        assert await heard_by_aio(channel) == HEARD
        await served.service.cancelled.wait()


async def test_grpcio_aio_over_tls(authority: trustme.CA) -> None:
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    async with (
        serving(secured(authority)) as served,
        grpc.aio.secure_channel(served.address, credentials) as channel,
    ):
        assert await heard_by_aio(channel) == HEARD


# Node


@cache
def node_path() -> str:
    """Where `npm install -g` puts its packages, unless the environment knows better."""
    found = subprocess.run([installed("npm"), "root", "-g"], capture_output=True, text=True, check=True)
    return os.environ.get("NODE_PATH") or found.stdout.strip()


async def test_node(tmp_path: Path) -> None:
    node, modules = installed("node"), node_path()
    if (await run(node, "-e", "require.resolve('@grpc/grpc-js')", NODE_PATH=modules)).code:
        pytest.skip("@grpc/grpc-js is not installed: npm install -g @grpc/grpc-js")
    requests = tmp_path / "requests.json"
    requests.write_text(json.dumps(REQUESTS, default=lambda value: base64.b64encode(value).decode()))
    async with serving() as served:
        ran = await run(node, str(NODE_SCRIPT), served.address, SERVICE, str(requests), NODE_PATH=modules)
        assert ran.code == 0, ran.errors
        assert json.loads(ran.output) == HEARD
        await served.service.cancelled.wait()


# Clients that know HTTP/2, and nothing of gRPC


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def body(folder: Path, message: bytes) -> str:
    path = folder / "body"
    path.write_bytes(framed(message))
    return str(path)


def headers() -> list[str]:
    return [word for header in GRPC_HEADERS for word in ("-H", header)]


async def curl(url: str, folder: Path, message: bytes, *flags: str) -> tuple[bytes, dict[str, str]]:
    """What curl makes of a call: the answer's message, and its header fields with the trailers."""
    dumped, answer = folder / "headers", folder / "answer"
    where = ["--data-binary", f"@{body(folder, message)}", "-D", str(dumped), "-o", str(answer)]
    ran = await run(installed("curl"), "-sS", "--max-time", "20", *headers(), *where, *flags, url)
    assert ran.code == 0, ran.errors
    fields = dict(line.split(": ", 1) for line in dumped.read_text().splitlines() if ": " in line)
    return answer.read_bytes() if answer.exists() else b"", fields


async def test_curl_reads_an_answer_and_its_trailers(tmp_path: Path) -> None:
    async with serving() as served:
        answer, fields = await curl(served.url("Echo"), tmp_path, b"hello", "--http2-prior-knowledge")
    assert answer == framed(b"hello")
    assert (fields["content-type"], fields["grpc-status"]) == ("application/grpc", "0")


async def test_curl_reads_a_refusal(tmp_path: Path) -> None:
    async with serving() as served:
        refused = ask(code=9, words="Not today ☺")
        answer, fields = await curl(served.url("Abort"), tmp_path, refused, "--http2-prior-knowledge")
    assert answer == b""
    assert (fields["grpc-status"], fields["grpc-message"], fields["reason"]) == ("9", "Not today %E2%98%BA", "because")


@pytest.mark.parametrize("size", [10, 50_000, 2_000_000])
async def test_curl_reads_a_refusal_that_comes_while_it_sends(tmp_path: Path, size: int) -> None:
    async with serving() as served:
        for _ in range(5):
            answer, fields = await curl(served.url("Missing"), tmp_path, bytes(size), "--http2-prior-knowledge")
            assert (answer, fields["grpc-status"]) == (b"", "12")


async def test_curl_sends_and_takes_more_than_a_window(tmp_path: Path) -> None:
    message = bytes(range(256)) * 8_192
    async with serving() as served:
        answer, fields = await curl(served.url("Echo"), tmp_path, message, "--http2-prior-knowledge")
    assert answer == framed(message)
    assert fields["grpc-status"] == "0"


async def test_nghttp_reads_an_answer_and_its_trailers(tmp_path: Path) -> None:
    async with serving() as served:
        ran = await run(installed("nghttp"), "-v", *headers(), "-d", body(tmp_path, b"hello"), served.url("Echo"))
    assert ran.code == 0, ran.errors
    assert "hello" in ran.output
    assert "grpc-status: 0\n" in ran.output
    assert "RST_STREAM" not in ran.output


@pytest.mark.parametrize("loads", [("-c", "1", "-m", "1"), ("-c", "8", "-m", "64")], ids=["one by one", "many at once"])
async def test_h2load_succeeds_with_all_its_requests(tmp_path: Path, loads: tuple[str, ...]) -> None:
    message = bytes(1_000)
    request = ["-n", str(CALLS), *headers(), "-d", body(tmp_path, message)]
    async with serving() as served:
        ran = await run(installed("h2load"), *loads, *request, served.url("Echo"))
    assert f"{CALLS} succeeded, 0 failed, 0 errored, 0 timeout" in ran.output, ran.output
    assert f"({CALLS * len(framed(message))}) data" in ran.output


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def secured(authority: trustme.CA) -> Any:
    issued = authority.issue_cert("localhost")
    chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    return wire.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])


async def test_sync_grpcio_over_tls(authority: trustme.CA) -> None:
    async with serving(secured(authority)) as served:
        credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        with grpc.secure_channel(served.address, credentials) as channel:
            echo: Any = channel.unary_unary(f"/{SERVICE}/Echo")
            assert await asyncio.to_thread(echo, b"hello") == b"hello"


async def test_curl_agrees_on_http_2_by_alpn(tmp_path: Path, authority: trustme.CA) -> None:
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(str(roots))
    async with serving(secured(authority)) as served:
        flags = ("--http2", "--cacert", str(roots))
        answer, fields = await curl(served.url("Echo", "https"), tmp_path, b"hello", *flags)
    assert answer == framed(b"hello")
    assert fields["grpc-status"] == "0"


async def test_curl_that_offers_only_http_1_over_tls_is_left(tmp_path: Path, authority: trustme.CA) -> None:
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(str(roots))
    async with serving(secured(authority)) as served:
        ran = await run(installed("curl"), "-sS", "--http1.1", "--cacert", str(roots), served.url("Echo", "https"))
        credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        async with grpc.aio.secure_channel(served.address, credentials) as channel:
            echo: Any = channel.unary_unary(f"/{SERVICE}/Echo")
            assert await echo(b"the others are served") == b"the others are served"
    assert ran.code != 0
