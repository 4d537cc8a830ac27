"""A service that does one of everything, in bytes: no generated code stands between the tests and the transports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import msgspec

SERVICE = "wire.test.Everything"

INITIAL_ECHO = "x-grpc-test-echo-initial"
TRAILING_ECHO = "x-grpc-test-echo-trailing-bin"

Context = Any  # grpc.aio.ServicerContext: its stubs know neither EOF nor plain callables
Requests = AsyncIterator[bytes]

unary = grpc.unary_unary_rpc_method_handler
server_stream = grpc.unary_stream_rpc_method_handler
client_stream = grpc.stream_unary_rpc_method_handler
both_streams = grpc.stream_stream_rpc_method_handler

CODES = {code.value[0]: code for code in grpc.StatusCode}


class Ask(msgspec.Struct, array_like=True):
    """What gRPC's interop messages say: answers of these sizes, or this status; the payload is there to be carried."""

    sizes: list[int] = []
    payload: bytes = b""
    code: int = 0
    words: str = ""


def ask(*sizes: int, payload: bytes = b"", code: int = 0, words: str = "") -> bytes:
    return msgspec.msgpack.encode(Ask(list(sizes), payload, code, words))


def asked(request: bytes) -> Ask:
    return msgspec.msgpack.decode(request, type=Ask)


class Asking(grpc.aio.ServerInterceptor):
    """Changes nothing."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        return await continuation(details)


async def echo_metadata(context: Context) -> None:
    """Two keys come back: one before the answer, one after it."""
    metadata = dict(context.invocation_metadata() or ())
    if INITIAL_ECHO in metadata:
        await context.send_initial_metadata(((INITIAL_ECHO, metadata[INITIAL_ECHO]),))
    if TRAILING_ECHO in metadata:
        context.set_trailing_metadata(((TRAILING_ECHO, metadata[TRAILING_ECHO]),))


class Service:
    """The methods, and what the tests want to know of them."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()  # a method that hangs was entered
        self.cancelled = asyncio.Event()  # ... and saw its task cancelled
        self.finished = asyncio.Event()  # ... and its done callback was called
        self.released = asyncio.Event()  # ends the ones that hang

    def handlers(self, methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]]) -> grpc.GenericRpcHandler:
        own: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Echo": unary(self.echo),
            "Unary": unary(self.unary),
            "Abort": unary(self.abort),
            "Raise": unary(self.fail),
            "Set": unary(self.set_status),
            "Metadata": unary(self.metadata),
            "Hang": unary(self.hang),
            "HangStream": server_stream(self.hang_stream),
            "Output": server_stream(self.output),
            "WriteOutput": server_stream(self.write_output),
            "OutputThenAbort": server_stream(self.output_then_abort),
            "OutputThenRaise": server_stream(self.output_then_raise),
            "Input": client_stream(self.input),
            "ReadInput": client_stream(self.read_input),
            "Duplex": both_streams(self.duplex),
            "ReadWriteDuplex": both_streams(self.read_write_duplex),
            "HangDuplex": both_streams(self.hang_duplex),
            "RefuseDuplex": both_streams(self.refuse_duplex),
        }
        return grpc.method_handlers_generic_handler(SERVICE, own | methods)

    async def echo(self, request: bytes, context: Context) -> bytes:
        return request

    async def unary(self, request: bytes, context: Context) -> bytes:
        await echo_metadata(context)
        wanted = asked(request)
        if wanted.code:
            context.set_code(CODES[wanted.code])
            context.set_details(wanted.words)
        return bytes(sum(wanted.sizes))

    async def abort(self, request: bytes, context: Context) -> Any:
        wanted = asked(request)
        await context.abort(CODES[wanted.code], wanted.words, (("reason", "because"), ("proof-bin", wanted.payload)))

    async def fail(self, request: bytes, context: Context) -> bytes:
        raise ValueError("words of the error")

    async def set_status(self, request: bytes, context: Context) -> bytes:
        wanted = asked(request)
        context.set_trailing_metadata((("reason", "because"),))
        context.set_code(CODES[wanted.code])
        context.set_details(wanted.words)
        return b"discarded unless the code is OK"

    async def metadata(self, request: bytes, context: Context) -> bytes:
        """What the caller sent comes back before, in and after the answer."""
        sent = [(key, value) for key, value in context.invocation_metadata() or () if key.startswith("x-")]
        await context.send_initial_metadata(sent)
        context.set_trailing_metadata(tuple(sent))
        return repr(sent).encode()

    async def hang(self, request: bytes, context: Context) -> bytes:
        context.add_done_callback(lambda _: self.finished.set())
        self.entered.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return request

    async def hang_stream(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"first"
        yield await self.hang(request, context)

    async def output(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        for size in asked(request).sizes:
            yield bytes(size)

    async def write_output(self, request: bytes, context: Context) -> None:
        for size in asked(request).sizes:
            await context.write(bytes(size))

    async def output_then_abort(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        async for message in self.output(request, context):
            yield message
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "after the messages", (("reason", "because"),))

    async def output_then_raise(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        async for message in self.output(request, context):
            yield message
        raise ValueError("words of the error")

    async def input(self, requests: Requests, context: Context) -> bytes:
        return str(sum([len(asked(request).payload) async for request in requests])).encode()

    async def read_input(self, requests: Requests, context: Context) -> bytes:
        total = 0
        while (request := await context.read()) is not grpc.aio.EOF:
            total += len(asked(request).payload)
        return str(total).encode()

    async def duplex(self, requests: Requests, context: Context) -> AsyncIterator[bytes]:
        await echo_metadata(context)
        async for request in requests:
            wanted = asked(request)
            for size in wanted.sizes:
                yield bytes(size)
            if wanted.code:
                context.set_code(CODES[wanted.code])
                context.set_details(wanted.words)
                return

    async def read_write_duplex(self, requests: Requests, context: Context) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            for size in asked(request).sizes:
                await context.write(bytes(size))

    async def refuse_duplex(self, requests: Requests, context: Context) -> None:
        self.entered.set()
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

    async def hang_duplex(self, requests: Requests, context: Context) -> AsyncIterator[bytes]:
        yield await self.hang(b"", context)
