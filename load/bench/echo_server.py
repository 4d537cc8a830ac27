"""A bare server that answers with the bytes it was sent: what a transport alone costs. Calls and streams.

`python -m load.bench.echo_server [grpcio|native]` prints its address when it serves.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen
from types import ModuleType
from typing import Any

import grpc
import grpc.aio
import uvloop

import wire
from load.bench.figures import Skipped
from wire.servicer_context import ServerCall

METHOD = "/outcry.v1.OrderEntry/SubmitOrder"
PING_PONG = "/outcry.v1.OrderEntry/Session"
STREAM = "/outcry.v1.ExecutionFeed/StreamExecutions"
MESSAGE = b"m" * 64

Context = grpc.aio.ServicerContext[bytes, bytes]


def implementation(transport: str) -> ModuleType:
    """grpc.aio, or what stands in for it."""
    return grpc.aio if transport == "grpcio" else wire


class Echo(grpc.GenericRpcHandler):
    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return HANDLERS.get(call.method)


async def echo(request: bytes, context: Context) -> bytes:
    return request


def plain_echo(request: bytes, call: ServerCall) -> None:
    call.reply(request)


echo.plain = plain_echo  # type: ignore[attr-defined]  # what the wire calls instead


async def ping_pong(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def stream(request: bytes, context: Context) -> AsyncIterator[bytes]:
    """As many messages as the request says, in decimal digits."""
    for _ in range(int(request)):
        yield MESSAGE


HANDLERS: dict[str, Any] = {
    METHOD: grpc.unary_unary_rpc_method_handler(echo),
    PING_PONG: grpc.stream_stream_rpc_method_handler(ping_pong),
    STREAM: grpc.unary_stream_rpc_method_handler(stream),
}


@contextmanager
def echo_server(transport: str = "grpcio") -> Iterator[tuple[str, int]]:
    """The address and the process id of a bare echo."""

    with echoing([sys.executable, "-m", "load.bench.echo_server", transport]) as server:
        yield server


@contextmanager
def echoing(command: list[str]) -> Iterator[tuple[str, int]]:
    """The address and the process id of any echo that says where it is ready."""
    with Popen(command, stdout=PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            if not line.startswith("ready grpc="):
                raise Skipped(f"{command[-1]} echo: it did not start")
            yield line.removeprefix("ready grpc="), process.pid
        finally:
            process.kill()


async def serve(transport: str) -> None:
    server = implementation(transport).server()
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    gc.freeze()
    print(f"ready grpc=127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1] if len(sys.argv) > 1 else "grpcio"))
