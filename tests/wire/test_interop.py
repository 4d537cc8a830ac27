"""gRPC's published interop cases, by their names, over every pair of transports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.wire.services import INITIAL_ECHO, TRAILING_ECHO, Context, ask, server_stream, unary
from tests.wire.transports import PAIRS, Link, Pair

pytestmark = pytest.mark.parametrize("pair", PAIRS, ids="-to-".join)

REQUEST_SIZES = (27_182, 8, 1_828, 45_904)
RESPONSE_SIZES = (31_415, 9, 2_653, 58_979)
LARGE_REQUEST, LARGE_RESPONSE = 271_828, 314_159
WORDS = "test status message"
SPECIAL_WORDS = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
ECHOED = ((INITIAL_ECHO, "test_initial_metadata_value"), (TRAILING_ECHO, b"\xab\xab\xab"))


async def failed(call: Any) -> tuple[grpc.StatusCode, str | None]:
    """How an awaitable or a stream of a call ends."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call if hasattr(call, "__await__") else call.read())
    return caught.value.code(), caught.value.details()


async def test_empty_unary(pair: Pair) -> None:
    async with pair.serving() as link:
        assert await link.unary("Echo")(b"") == b""


async def test_large_unary(pair: Pair) -> None:
    async with pair.serving() as link:
        answer = await link.unary("Unary")(ask(LARGE_RESPONSE, payload=bytes(LARGE_REQUEST)))
        assert answer == bytes(LARGE_RESPONSE)


async def test_client_streaming(pair: Pair) -> None:
    async with pair.serving() as link:
        assert await link.client_stream("Input")(ask(payload=bytes(size)) for size in REQUEST_SIZES) == b"74922"


async def test_server_streaming(pair: Pair) -> None:
    async with pair.serving() as link:
        answers = [len(answer) async for answer in link.server_stream("Output")(ask(*RESPONSE_SIZES))]
        assert answers == list(RESPONSE_SIZES)


async def test_ping_pong(pair: Pair) -> None:
    async with pair.serving() as link:
        call = link.both_streams("Duplex")()
        for request, response in zip(REQUEST_SIZES, RESPONSE_SIZES, strict=True):
            await call.write(ask(response, payload=bytes(request)))
            assert await call.read() == bytes(response)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_empty_stream(pair: Pair) -> None:
    async with pair.serving() as link:
        call = link.both_streams("Duplex")()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("words", [WORDS, SPECIAL_WORDS], ids=["status_code_and_message", "special_status_message"])
async def test_status(pair: Pair, words: str) -> None:
    async with pair.serving() as link:
        assert await failed(link.unary("Unary")(ask(code=2, words=words))) == (grpc.StatusCode.UNKNOWN, words)
        call = link.both_streams("Duplex")()
        await call.write(ask(code=2, words=words))
        assert await failed(call) == (grpc.StatusCode.UNKNOWN, words)


async def test_unimplemented_method(pair: Pair) -> None:
    async with pair.serving() as link:
        assert (await failed(link.unary("UnimplementedCall")(b"")))[0] is grpc.StatusCode.UNIMPLEMENTED


async def test_unimplemented_service(pair: Pair) -> None:
    async with pair.serving() as link:
        call = link.unary("UnimplementedCall", service="wire.test.UnimplementedService")
        assert (await failed(call(b"")))[0] is grpc.StatusCode.UNIMPLEMENTED


async def test_custom_metadata(pair: Pair) -> None:
    async with pair.serving() as link:
        unary_call = link.unary("Unary")(ask(LARGE_RESPONSE, payload=bytes(LARGE_REQUEST)), metadata=ECHOED)
        assert len(await unary_call) == LARGE_RESPONSE
        duplex = link.both_streams("Duplex")(metadata=ECHOED)
        await duplex.write(ask(LARGE_RESPONSE, payload=bytes(LARGE_REQUEST)))
        await duplex.done_writing()
        assert [len(answer) async for answer in duplex] == [LARGE_RESPONSE]
        for call in (unary_call, duplex):
            assert (await call.initial_metadata())[INITIAL_ECHO] == "test_initial_metadata_value"
            assert (await call.trailing_metadata())[TRAILING_ECHO] == b"\xab\xab\xab"


async def test_cancel_after_begin(pair: Pair) -> None:
    async with pair.serving() as link:
        call = link.client_stream("Input")()
        assert call.cancel()
        assert call.cancelled()
        assert await call.code() is grpc.StatusCode.CANCELLED
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_cancel_after_first_response(pair: Pair) -> None:
    async with pair.serving() as link:
        call = link.both_streams("Duplex")()
        await call.write(ask(RESPONSE_SIZES[0], payload=bytes(REQUEST_SIZES[0])))
        assert len(await call.read()) == RESPONSE_SIZES[0]
        assert call.cancel()
        assert await call.code() is grpc.StatusCode.CANCELLED
        with pytest.raises(asyncio.CancelledError):
            await call.read()


async def test_timeout_on_sleeping_server(pair: Pair) -> None:
    async with pair.serving() as link:
        call = link.both_streams("HangDuplex")(timeout=0.001)  # a write that meets the end is INTERNAL with grpcio
        assert (await failed(call))[0] is grpc.StatusCode.DEADLINE_EXCEEDED


class Tap:
    """Counts the bytes that pass between a channel and a server."""

    def __init__(self, target: str) -> None:
        self.host, _, port = target.rpartition(":")
        self.port = int(port)
        self.bytes_up = self.bytes_down = 0

    async def joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self.host, self.port)
        try:
            await asyncio.gather(self.up(reader, back), self.down(there, writer))
        except ConnectionError:
            pass
        finally:
            writer.close()
            back.close()

    async def up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.bytes_up += len(data)
            writer.write(data)
        writer.close()

    async def down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.bytes_down += len(data)
            writer.write(data)
        writer.close()


@asynccontextmanager
async def tapped(pair: Pair, link: Link, **settings: Any) -> AsyncIterator[tuple[Any, Tap]]:
    """A channel whose bytes are counted."""
    tap = Tap(link.address)
    listener = await asyncio.start_server(tap.joined, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    async with pair.channel(f"{host}:{port}", **settings) as channel:
        yield channel, tap
    listener.close()


SMALL = 20_000  # bytes: far below the messages, far above what they are when compressed


async def compressed(request: bytes, context: Context) -> bytes:
    context.set_compression(grpc.Compression.Gzip)
    await context.send_initial_metadata(())  # without it grpcio forgets the compression of a single answer
    return bytes(LARGE_RESPONSE)


async def compressed_stream(request: bytes, context: Context) -> AsyncIterator[bytes]:
    context.set_compression(grpc.Compression.Gzip)
    for size in RESPONSE_SIZES:
        yield bytes(size)


async def test_client_compressed_unary(pair: Pair) -> None:
    async with pair.serving() as link, tapped(pair, link) as (channel, tap):
        call = channel.unary_unary("/wire.test.Everything/Unary")
        request = ask(5, payload=bytes(LARGE_REQUEST))
        assert await call(request, compression=grpc.Compression.Gzip) == bytes(5)
        assert tap.bytes_up < SMALL
        assert await call(request) == bytes(5)
        assert tap.bytes_up > LARGE_REQUEST


async def test_server_compressed_unary(pair: Pair) -> None:
    async with pair.serving({"Compressed": unary(compressed)}) as link, tapped(pair, link) as (channel, tap):
        assert await channel.unary_unary("/wire.test.Everything/Compressed")(b"") == bytes(LARGE_RESPONSE)
        assert tap.bytes_down < SMALL


async def test_client_compressed_streaming(pair: Pair) -> None:
    gzip = {"compression": grpc.Compression.Gzip}
    async with pair.serving() as link, tapped(pair, link, **gzip) as (channel, tap):
        call = channel.stream_unary("/wire.test.Everything/Input")
        assert await call(ask(payload=bytes(size)) for size in REQUEST_SIZES) == b"74922"
        assert tap.bytes_up < SMALL


async def test_server_compressed_streaming(pair: Pair) -> None:
    methods: dict[str, Any] = {"Compressed": server_stream(compressed_stream)}
    async with pair.serving(methods) as link, tapped(pair, link) as (channel, tap):
        call = channel.unary_stream("/wire.test.Everything/Compressed")(b"")
        assert [len(answer) async for answer in call] == list(RESPONSE_SIZES)
        assert tap.bytes_down < SMALL


async def test_server_compressed_throughout(pair: Pair) -> None:
    """As the server's own setting, with both kinds of stream."""
    gzip = {"compression": grpc.Compression.Gzip}
    async with pair.serving(server=gzip) as link, tapped(pair, link, **gzip) as (channel, tap):
        call = channel.stream_stream("/wire.test.Everything/Duplex")
        asked = [ask(size, payload=bytes(LARGE_REQUEST)) for size in RESPONSE_SIZES]
        assert [len(answer) async for answer in call(asked)] == list(RESPONSE_SIZES)
        assert tap.bytes_up < SMALL
        assert tap.bytes_down < SMALL
