"""What servicers see of their calls, beside what scenarios compare with grpcio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

import wire
from tests.wire.services import SERVICE, Context, server_stream, unary


async def served(methods: dict[str, Any], name: str, *, streams: bool = False, **server_options: Any) -> Any:
    """The answer of one of the methods, or all of its answers."""
    server = wire.server(**server_options)
    server.add_registered_method_handlers(SERVICE, methods)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with wire.insecure_channel(f"127.0.0.1:{port}") as channel:
            path, metadata = f"/{SERVICE}/{name}", [("authorization", "Bearer secret")]
            if streams:
                return [answer async for answer in channel.unary_stream(path)(b"", metadata=metadata)]
            return await channel.unary_unary(path)(b"", metadata=metadata, timeout=10)
    finally:
        await server.stop(None)


async def test_a_context_shows_no_secrets_where_it_is_logged() -> None:
    async def show(request: bytes, context: Context) -> bytes:
        return repr(context).encode()

    shown = await served({"Show": unary(show)}, "Show")
    assert b"/Show" in shown
    assert b"secret" not in shown


async def test_who_asks_to_be_told_of_an_end_that_has_come_is_told() -> None:
    contexts: list[Any] = []
    told = asyncio.Event()

    async def method(request: bytes, context: Context) -> bytes:
        contexts.append(context)
        return b""

    await served({"Method": unary(method)}, "Method")
    contexts[0].add_done_callback(lambda context: told.set() if context is contexts[0] else None)
    await asyncio.wait_for(told.wait(), 10)


async def test_synchronous_servicers_run_in_the_threads_that_the_server_was_given() -> None:
    def one(request: bytes, context: Context) -> bytes:
        return threading.current_thread().name.encode()

    def two(request: bytes, context: Context) -> Iterator[bytes]:
        yield threading.current_thread().name.encode()
        yield threading.current_thread().name.encode()

    methods = {"One": unary(one), "Two": server_stream(two)}
    with ThreadPoolExecutor(1, thread_name_prefix="own") as threads:
        assert await served(methods, "One", migration_thread_pool=threads) == b"own_0"
        assert await served(methods, "Two", streams=True, migration_thread_pool=threads) == [b"own_0", b"own_0"]


async def test_compressed_answers_count_as_what_they_are_sent_as() -> None:
    size, count = 2 << 20, 40  # together more than may wait of one connection

    async def method(request: bytes, context: Context) -> None:
        for _ in range(count):
            await context.write(bytes(size))

    gzip = grpc.Compression.Gzip
    answers = await served({"Method": server_stream(method)}, "Method", streams=True, compression=gzip)
    assert [len(answer) for answer in answers] == [size] * count
