"""What a servicer does that nobody hopes for, and who its caller is, over a socket against grpcio's channel."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import grpc
import grpc.aio
import pytest
import trustme

import wire
from tests.wire.outcomes import Outcome, one
from tests.wire.services import Asking, Context, both_streams, client_stream, server_stream, unary
from tests.wire.transports import STOP_S, Pair

PAIR = Pair("grpcio", "native")
SHORT_S = 0.05
LONG_S = 10
LARGE_BYTES = 65 << 20
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class Refusal(NamedTuple):
    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str], ...]


def unreadable(message: bytes) -> bytes:
    raise ValueError("no such message")


async def silent(request: bytes, context: Context) -> bytes:
    return b""


async def test_a_done_callback_that_raises_keeps_neither_the_others_nor_the_deadlines() -> None:
    told: list[Any] = []

    def plain(request: bytes, call: Any) -> None:
        call.add_done_callback(lambda _: 1 / 0)
        call.add_done_callback(told.append)

    async def never(request: bytes, context: Context) -> bytes:
        raise AssertionError

    never.plain = plain  # type: ignore[attr-defined]
    async with PAIR.serving({"Never": unary(never)}) as link:
        for _ in range(2):
            end = await one(link.unary("Never")(b"", timeout=SHORT_S))
            assert end.code == "DEADLINE_EXCEEDED"
        while len(told) < 2:
            await asyncio.wait_for(link.unary("Echo")(b""), LONG_S)


@pytest.mark.parametrize("interceptors", [(), (Asking(),)], ids=["alone", "intercepted"])
async def test_a_request_that_does_not_parse_ends_as_unknown(interceptors: tuple[Any, ...]) -> None:
    methods: dict[str, Any] = {"Bad": unary(silent, request_deserializer=unreadable)}
    async with PAIR.serving(methods, server={"interceptors": interceptors}) as link:
        end = await one(link.unary("Bad")(b"", timeout=LONG_S))
    assert (end.code, end.details) == ("UNKNOWN", "Unexpected <class 'ValueError'>: no such message")


@pytest.mark.parametrize("pair", [("Upper", "x"), ("x", "a\nb"), ("x", 7)])
async def test_initial_metadata_that_is_not_legal_leaves_the_call_as_it_was(pair: Any) -> None:
    async def method(request: bytes, context: Context) -> bytes:
        with suppress(TypeError, ValueError):
            await context.send_initial_metadata((pair,))
        await context.send_initial_metadata((("x", "legal"),))
        return b"answer"

    async with PAIR.serving({"Try": unary(method)}) as link:
        assert await one(link.unary("Try")(b"", timeout=LONG_S)) == Outcome([b"answer"], initial=(("x", "legal"),))


async def test_a_handler_that_is_no_handler_ends_its_call() -> None:
    class Misled(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            return object()

    async with PAIR.serving(server={"interceptors": (Misled(),)}) as link:
        end = await one(link.unary("Echo")(b"", timeout=LONG_S))
    assert end.code == "UNKNOWN"


async def test_an_interceptor_changes_the_details_of_no_other_call() -> None:
    seen = []

    class Renaming(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            seen.append(details.method)
            with suppress(AttributeError):
                details.method = "/renamed"
            return await continuation(details)

    async with PAIR.serving(server={"interceptors": (Renaming(),)}) as link:
        for _ in range(2):
            assert await one(link.unary("Echo")(b"same", timeout=LONG_S)) == Outcome([b"same"])
    assert len(set(seen)) == 1


async def test_a_handler_that_will_not_be_cancelled_does_not_keep_the_server() -> None:
    entered, released = asyncio.Event(), asyncio.Event()

    async def stubborn(request: bytes, context: Context) -> bytes:
        entered.set()
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return b""

    async with PAIR.serving({"Stubborn": unary(stubborn)}) as link:
        call = link.unary("Stubborn")(b"")
        await entered.wait()
        try:
            async with asyncio.timeout(STOP_S):
                await link.server.stop(None)
        finally:
            released.set()
        assert (await one(call)).code == "UNAVAILABLE"


async def test_a_synchronous_abort_is_an_abort() -> None:
    def method(request: bytes, context: Context) -> bytes:
        context.abort(grpc.StatusCode.ABORTED, "as it is", (("reason", "because"),))
        raise AssertionError

    def method_stream(request: bytes, context: Context) -> Iterator[bytes]:
        yield b"first"
        context.abort(grpc.StatusCode.ABORTED, "after one")

    async with PAIR.serving({"One": unary(method), "Many": server_stream(method_stream)}) as link:
        call = link.unary("One")(b"", timeout=LONG_S)
        end = await one(call)
        assert (end.code, end.details) == ("ABORTED", "as it is")
        assert tuple(await call.trailing_metadata()) == (("reason", "because"),)
        stream = link.server_stream("Many")(b"", timeout=LONG_S)
        assert await stream.read() == b"first"
        assert (await stream.code(), await stream.details()) == (grpc.StatusCode.ABORTED, "after one")


async def test_a_synchronous_servicer_has_the_whole_of_grpc_s_context() -> None:
    """Of abort_with_status, is_active and cancel grpcio gives an asynchronous server's threads nothing."""
    names = {name for name in dir(grpc.ServicerContext) if not name.startswith("_")}

    def method(request: bytes, context: Context) -> bytes:
        assert isinstance(context, grpc.ServicerContext)
        assert not {name for name in names if not callable(getattr(context, name))}
        return str(context.is_active()).encode()

    async with PAIR.serving({"Look": unary(method)}) as link:
        assert await one(link.unary("Look")(b"", timeout=LONG_S)) == Outcome([b"True"])


async def test_a_synchronous_abort_with_status_is_an_abort() -> None:
    def method(request: bytes, context: Context) -> bytes:
        context.abort_with_status(Refusal(grpc.StatusCode.ABORTED, "as it is", (("reason", "because"),)))
        raise AssertionError

    async with PAIR.serving({"One": unary(method)}) as link:
        end = await one(link.unary("One")(b"", timeout=LONG_S))
    assert (end.code, end.details, end.trailing) == ("ABORTED", "as it is", (("reason", "because"),))


async def test_a_synchronous_cancel_ends_the_call() -> None:
    def method(request: bytes, context: Context) -> bytes:
        context.cancel()
        while context.is_active():
            time.sleep(0.001)
        return request

    async with PAIR.serving({"One": unary(method)}) as link:
        assert (await one(link.unary("One")(b"", timeout=LONG_S))).code == "CANCELLED"


async def test_a_synchronous_generator_does_not_hold_the_loop() -> None:
    threads = []

    def method(request: bytes, context: Context) -> Iterator[bytes]:
        for _ in range(2):
            threads.append(threading.current_thread())
            yield b"answer"

    async with PAIR.serving({"Many": server_stream(method)}) as link:
        assert [answer async for answer in link.server_stream("Many")(b"", timeout=LONG_S)] == [b"answer"] * 2
    assert threading.main_thread() not in threads


async def test_a_client_that_leaves_releases_the_thread_that_waits_for_it() -> None:
    entered, left = threading.Event(), threading.Event()
    called_back = threading.Event()

    def method(requests: Iterator[bytes], context: Context) -> bytes:
        context.add_callback(called_back.set)
        entered.set()
        assert not list(requests)
        left.set()
        return b""

    async with PAIR.serving({"Wait": client_stream(method)}) as link:
        call = link.client_stream("Wait")(timeout=LONG_S)
        await call.wait_for_connection()
        assert await asyncio.to_thread(entered.wait, LONG_S)
        call.cancel()
        assert await asyncio.to_thread(left.wait, LONG_S)
        assert await asyncio.to_thread(called_back.wait, LONG_S)


async def test_a_synchronous_method_that_asks_for_more_than_there_is_fails() -> None:
    def method(requests: Iterator[bytes], context: Context) -> bytes:
        return next(requests)

    async with PAIR.serving({"One": client_stream(method)}) as link:
        end = await one(link.client_stream("One")(iter(()), timeout=LONG_S))
        assert end.code == "UNKNOWN"


async def test_a_generic_handler_that_raises_ends_only_its_call() -> None:
    class Moody(grpc.GenericRpcHandler):
        words = "of a bad day"

        def service(self, handler_call_details: Any) -> Any:
            if handler_call_details.method != "/moods/Now":
                return None
            if self.words:
                raise ValueError(self.words)
            return unary(silent)

    async with PAIR.serving({}) as link:
        moody = Moody()
        link.server.add_generic_rpc_handlers((moody,))
        hanging = link.unary("Hang")(b"went on")
        await link.service.entered.wait()
        for _ in range(2):
            end = await one(link.unary("Now", "moods")(b"", timeout=LONG_S))
            assert (end.code, end.details) == ("UNKNOWN", "Unexpected <class 'ValueError'>: of a bad day")
        moody.words = ""
        assert await link.unary("Now", "moods")(b"", timeout=LONG_S) == b""
        link.service.released.set()
        assert await hanging == b"went on"


LARGE_ANSWER = bytes(200 << 10)  # above any window that a client gives before it reads


async def test_writes_at_once_all_return() -> None:
    """One of the writers gives up: the others are not to hear of it."""
    waiting = asyncio.Event()

    async def method(request: bytes, context: Context) -> None:
        writes = [asyncio.create_task(context.write(LARGE_ANSWER)) for _ in range(4)]
        await asyncio.sleep(0)
        writes[0].cancel()
        waiting.set()
        ends = await asyncio.gather(*writes, return_exceptions=True)
        await context.write(repr(ends[1:]).encode())

    async with Pair("native", "native").serving({"Write": server_stream(method)}) as link:
        call = link.server_stream("Write")(b"", timeout=LONG_S)
        await waiting.wait()
        answers = [answer async for answer in call]
    assert answers == [LARGE_ANSWER] * 4 + [b"[None, None, None]"]


async def test_a_write_returns_when_the_call_ends_beside_it() -> None:
    returned = asyncio.Event()

    async def method(requests: Any, context: Context) -> None:
        write = asyncio.create_task(context.write(LARGE_ANSWER))
        await asyncio.sleep(0)
        with suppress(grpc.aio.AbortError):
            await context.abort(grpc.StatusCode.ABORTED)
        await write
        returned.set()

    async with Pair("native", "native").serving({"Write": both_streams(method)}) as link:
        call = link.both_streams("Write")(timeout=LONG_S)
        await asyncio.wait_for(returned.wait(), LONG_S)
        assert [await call.read()] == [LARGE_ANSWER]
        assert await call.code() is grpc.StatusCode.ABORTED


async def test_two_reads_at_once_get_one_request_each() -> None:
    waiting = asyncio.Event()

    async def method(requests: Any, context: Context) -> bytes:
        reads = [asyncio.create_task(context.read()) for _ in range(3)]
        asyncio.get_running_loop().call_soon(reads[1].cancel)
        asyncio.get_running_loop().call_soon(waiting.set)
        ends: list[Any] = await asyncio.gather(*reads, return_exceptions=True)
        return bytes(ends[0] + ends[2])

    async with PAIR.serving({"Two": client_stream(method)}) as link:
        call = link.client_stream("Two")(timeout=LONG_S)
        await waiting.wait()
        await call.write(b"1")
        await call.write(b"2")
        assert await call == b"12"


async def test_a_message_may_be_as_large_as_the_server_says() -> None:
    server = {"options": UNLIMITED}
    async with PAIR.serving({"Large": unary(silent)}, server=server, channel=server) as link:
        assert await link.unary("Large")(bytes(LARGE_BYTES), timeout=LONG_S) == b""


Identity = tuple[dict[str, list[bytes]], str | None, list[bytes] | None]
OWN = ("ssl_requested_server_name", "ssl_negotiated_key_exchange_group")  # which the ssl module does not tell


async def identity(library: Any, authority: trustme.CA | None, client: trustme.LeafCert | None) -> Identity:
    """What a handler is told of its caller."""
    told: list[Identity] = []

    async def method(request: bytes, context: Context) -> bytes:
        known = {name: list(values) for name, values in context.auth_context().items() if name not in OWN}
        names = context.peer_identities()
        told.append((known, context.peer_identity_key(), None if names is None else list(names)))
        return b""

    server = library.aio.server() if library is grpc else library.server()
    handlers: dict[str, Any] = {"Who": unary(method)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s", handlers),))
    if authority is None:
        port = server.add_insecure_port("127.0.0.1:0")
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    else:
        pair = pem(authority.issue_cert("localhost"))
        roots = authority.cert_pem.bytes()
        credentials = library.ssl_server_credentials([pair], roots, client is not None)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        key, chain = (None, None) if client is None else pem(client)
        channel = grpc.aio.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(roots, key, chain))
    await server.start()
    call: Any = channel.unary_unary("/s/Who")
    async with channel:
        await call(b"", timeout=LONG_S)
    await server.stop(None)
    return told[0]


def pem(certificate: trustme.LeafCert) -> tuple[bytes, bytes]:
    return certificate.private_key_pem.bytes(), b"".join(each.bytes() for each in certificate.cert_chain_pems)


@pytest.mark.parametrize(
    ("common_name", "names"),
    [
        ("me", ("a.example", "127.0.0.1", "::1", "m@x.example")),
        (None, ("b.example",)),
        ("only", ()),
        ('o"d, <n>ame+', ()),
        ("größe", ()),
    ],
)
async def test_a_client_is_who_its_certificate_says(common_name: str | None, names: tuple[str, ...]) -> None:
    authority = trustme.CA()
    client = authority.issue_cert(*names, common_name=common_name)
    assert await identity(wire, authority, client) == await identity(grpc, authority, client)


async def test_a_client_without_a_certificate_is_nobody() -> None:
    assert await identity(wire, None, None) == await identity(grpc, None, None)
    authority = trustme.CA()
    assert await identity(wire, authority, None) == await identity(grpc, authority, None)
