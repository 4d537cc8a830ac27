"""Our channel against grpcio's server: what a caller sees, and how it bears what servers and networks do."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import trustme
from grpc import ChannelConnectivity, StatusCode

import wire
from tests.venues import until
from tests.wire.services import SERVICE, Service, ask
from wire.channel import Channel
from wire.client_target import Address, target_of

SOON = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100))
ECHO = f"/{SERVICE}/Echo"


@asynccontextmanager
async def serving(address: str = "127.0.0.1:0", credentials: Any = None, options: Any = ()) -> AsyncIterator[Any]:
    """grpcio's server with the tests' service, and the port it has."""
    service = Service()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *options])
    server.add_generic_rpc_handlers((service.handlers({}),))
    port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    await server.start()
    try:
        yield service, port
    finally:
        await server.stop(None)


@asynccontextmanager
async def linked(options: Any = (), **server: Any) -> AsyncIterator[tuple[Service, Channel]]:
    async with (
        serving(**server) as (service, port),
        wire.insecure_channel(f"127.0.0.1:{port}", options=[*SOON, *options]) as channel,
    ):
        yield service, channel


async def refusal(call: Any) -> StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code()


# Targets


@pytest.mark.parametrize(
    ("text", "addresses", "authority"),
    [
        ("localhost:1", [Address("localhost", 1)], "localhost:1"),
        ("localhost:65535", [Address("localhost", 65_535)], "localhost:65535"),
        ("localhost", [Address("localhost", 443)], "localhost"),
        ("dns:///a.b:2", [Address("a.b", 2)], "a.b:2"),
        ("dns:a.b:2", [Address("a.b", 2)], "a.b:2"),
        ("ipv4:1.2.3.4:5,6.7.8.9:10", [Address("1.2.3.4", 5), Address("6.7.8.9", 10)], "1.2.3.4:5"),
        ("ipv6:[::1]:5", [Address("::1", 5)], "[::1]:5"),
        ("[::1]:5", [Address("::1", 5)], "[::1]:5"),
        ("unix:a/b", [Address(path="a/b")], "localhost"),
        ("unix:///a/b", [Address(path="/a/b")], "localhost"),
    ],
)
def test_a_target_names_its_addresses_and_the_authority(text: str, addresses: list[Address], authority: str) -> None:
    target = target_of(text)
    assert (list(target.addresses), target.authority) == (addresses, authority)


@pytest.mark.parametrize("text", ["", ":1", "a:b", "a:65536", "ipv4:1.2.3.4:99999", "a:٣", "a:²", "xds:///a", "unix:"])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        target_of(text)


# Calls


async def test_all_four_kinds_of_call() -> None:
    async with linked() as (_, channel):
        assert await channel.unary_unary(ECHO)(b"one") == b"one"
        sizes = [len(m) async for m in channel.unary_stream(f"/{SERVICE}/Output")(ask(1, 0, 100_000))]
        assert sizes == [1, 0, 100_000]
        requests = iter([ask(payload=b"abc"), ask(payload=b"de")])
        assert await channel.stream_unary(f"/{SERVICE}/Input")(requests) == b"5"
        duplex = channel.stream_stream(f"/{SERVICE}/Duplex")()
        for size in (3, 300_000):
            await duplex.write(ask(size))
            assert len(await duplex.read()) == size
        await duplex.done_writing()
        assert await duplex.read() is grpc.aio.EOF
        assert await duplex.code() is StatusCode.OK


async def test_more_than_the_windows_hold_waits_for_its_reader() -> None:
    async with linked() as (_, channel):
        call = channel.stream_stream(f"/{SERVICE}/Duplex")()
        sizes = [200_000] * 20
        for size in sizes:
            await call.write(ask(size))
        assert [len(await call.read()) for _ in sizes] == sizes
        call.cancel()


async def test_gzip_goes_both_ways() -> None:
    async with (
        serving() as (_, port),
        wire.insecure_channel(f"127.0.0.1:{port}", compression=grpc.Compression.Gzip) as channel,
    ):
        assert await channel.unary_unary(ECHO)(b"a" * 50_000) == b"a" * 50_000


async def test_messages_beyond_the_limits_are_refused() -> None:
    options = [("grpc.max_send_message_length", 100), ("grpc.max_receive_message_length", 50)]
    async with linked(options) as (_, channel):
        assert await refusal(channel.unary_unary(ECHO)(bytes(101))) is StatusCode.RESOURCE_EXHAUSTED
        assert await refusal(channel.unary_unary(ECHO)(bytes(51))) is StatusCode.RESOURCE_EXHAUSTED
        assert await channel.unary_unary(ECHO)(bytes(50)) == bytes(50)


async def test_a_deadline_ends_the_call_on_both_sides() -> None:
    async with linked() as (service, channel):
        assert await refusal(channel.unary_unary(f"/{SERVICE}/Hang")(b"", timeout=0.1)) is StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(service.cancelled.wait(), 5)


async def test_a_timeout_that_is_no_number_is_over_at_once_and_harms_no_other_call() -> None:
    async with linked() as (_, channel):
        echo = channel.unary_unary(ECHO)
        before = echo(b"before")
        assert await refusal(echo(b"x", timeout=math.nan)) is StatusCode.DEADLINE_EXCEEDED
        assert await asyncio.wait_for(before, 5) == b"before"
        assert await refusal(echo(b"x", timeout=math.nan)) is StatusCode.DEADLINE_EXCEEDED
        assert await asyncio.wait_for(echo(b"after"), 5) == b"after"


async def test_metadata_may_be_pairs_of_any_kind() -> None:
    async with linked() as (_, channel):
        method: Any = channel.unary_unary(f"/{SERVICE}/Metadata")
        for metadata in ([["x-a", "1"]], {"x-a": "1"}.items(), iter([("x-a", "1")])):
            assert await method(b"", metadata=metadata) == b"[('x-a', '1')]"


async def test_cancelling_the_awaiting_task_cancels_the_call() -> None:
    async with linked() as (service, channel):
        call = channel.unary_unary(f"/{SERVICE}/Hang")(b"")
        task = asyncio.ensure_future(call)
        await service.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert call.cancelled()
        await asyncio.wait_for(service.cancelled.wait(), 5)


async def test_a_stream_that_nobody_holds_is_cancelled() -> None:
    async with linked() as (service, channel):
        call = channel.unary_stream(f"/{SERVICE}/HangStream")(b"")
        assert await call.read() == b"first"
        await service.entered.wait()
        del call
        gc.collect()
        await asyncio.wait_for(service.cancelled.wait(), 5)


async def test_a_cancelled_stream_gives_back_the_window_of_what_was_not_read() -> None:
    async with linked() as (_, channel):
        call = channel.unary_stream(f"/{SERVICE}/Output")(ask(*[5_000] * 10))
        assert len(await call.read()) == 5_000
        await call.code()
        call.cancel()
        line = channel.link.line
        assert line is not None
        core = line.core
        assert core.receive_window + core.receive_credit == core.limits.connection_window


async def test_a_callback_that_fails_harms_no_other_call() -> None:
    async with linked() as (_, channel):
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        call = channel.unary_unary(ECHO)(b"x")
        call.add_done_callback(lambda ended: ended.no_such_thing)
        try:
            assert await call == b"x"
        finally:
            asyncio.get_running_loop().set_exception_handler(None)
        assert await channel.unary_unary(ECHO)(b"y") == b"y"


# The link


async def test_a_channel_connects_at_the_first_call_and_knows_its_state() -> None:
    async with linked() as (_, channel):
        assert channel.get_state() is ChannelConnectivity.IDLE
        await asyncio.wait_for(channel.channel_ready(), 5)
        assert channel.get_state() is ChannelConnectivity.READY
    assert channel.get_state() is ChannelConnectivity.SHUTDOWN
    with pytest.raises(grpc.aio.UsageError):
        channel.unary_unary(ECHO)(b"")


async def test_closing_ends_the_wait_for_another_state() -> None:
    async with linked() as (_, channel):
        change = asyncio.ensure_future(channel.wait_for_state_change(ChannelConnectivity.IDLE))
        ready = asyncio.ensure_future(channel.channel_ready())
        await change
        await ready
        change = asyncio.ensure_future(channel.wait_for_state_change(ChannelConnectivity.READY))
        await asyncio.sleep(0)
        await channel.close()
        await asyncio.wait_for(change, 5)


async def test_who_gives_up_waiting_for_a_state_leaves_nothing_behind() -> None:
    async with linked() as (_, channel):
        for _ in range(3):
            change = asyncio.ensure_future(channel.wait_for_state_change(ChannelConnectivity.IDLE))
            await asyncio.sleep(0)
            change.cancel()
            with pytest.raises(asyncio.CancelledError):
                await change
        assert channel.link.watchers == []


async def test_without_a_server_calls_fail_unless_they_wait_and_waiting_ones_find_it_when_it_comes() -> None:
    async with serving() as (_, port):
        pass
    async with wire.insecure_channel(f"127.0.0.1:{port}", options=SOON) as channel:
        echo = channel.unary_unary(ECHO)
        waiting = echo(b"patience", wait_for_ready=True)
        assert await refusal(echo(b"")) is StatusCode.UNAVAILABLE
        assert channel.get_state() is ChannelConnectivity.TRANSIENT_FAILURE
        assert await refusal(echo(b"", wait_for_ready=True, timeout=0.05)) is StatusCode.DEADLINE_EXCEEDED
        async with serving(f"127.0.0.1:{port}"):
            assert await asyncio.wait_for(waiting, 5) == b"patience"


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_who_gives_up_waiting_for_a_connection_leaves_at_once(kind: str) -> None:
    async with wire.insecure_channel("127.0.0.1:1", options=SOON) as channel:
        request = b"" if kind.startswith("unary") else None
        method = getattr(channel, kind)(ECHO)
        calls = [method(request, timeout=timeout, wait_for_ready=True) for timeout in (None, 0.05)]
        assert list(channel.link.waiting) == calls
        calls[0].cancel()
        assert list(channel.link.waiting) == calls[1:]
        assert await calls[1].code() is StatusCode.DEADLINE_EXCEEDED
        assert not channel.link.waiting


async def test_a_name_that_cannot_be_looked_up_is_no_more_than_a_failure_to_connect() -> None:
    async with wire.insecure_channel("a\0b:1", options=SOON) as channel:
        assert await asyncio.wait_for(refusal(channel.unary_unary(ECHO)(b"")), 5) is StatusCode.UNAVAILABLE


async def test_an_attempt_that_fails_in_no_foreseen_way_fails_the_calls_too_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def look_up(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    async with wire.insecure_channel("localhost:1", options=SOON) as channel:
        call = channel.unary_unary(ECHO)(b"")
        assert await asyncio.wait_for(refusal(call), 5) is StatusCode.UNAVAILABLE
        assert "can't start new thread" in (await call.details() or "")
        assert channel.get_state() is ChannelConnectivity.TRANSIENT_FAILURE
    assert "RuntimeError: can't start new thread" in caplog.text


async def test_a_server_that_comes_back_is_found_again() -> None:
    async with serving() as (service, port):
        channel = wire.insecure_channel(f"127.0.0.1:{port}", options=SOON)
        lost = channel.unary_unary(f"/{SERVICE}/Hang")(b"")
        await service.entered.wait()
    assert await refusal(lost) is StatusCode.UNAVAILABLE
    async with serving(f"127.0.0.1:{port}"), channel:
        assert await asyncio.wait_for(channel.unary_unary(ECHO)(b"again", wait_for_ready=True), 5) == b"again"


async def test_calls_above_the_stream_limit_wait_for_their_turn() -> None:
    async with (
        serving(options=[("grpc.max_concurrent_streams", 2)]) as (service, port),
        wire.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        hanging = [channel.unary_unary(f"/{SERVICE}/Hang")(b"%d" % number) for number in range(2)]
        await service.entered.wait()
        queued = [channel.unary_unary(ECHO)(b"%d" % number) for number in range(20)]
        assert await refusal(channel.unary_unary(ECHO)(b"", timeout=0.05)) is StatusCode.DEADLINE_EXCEEDED
        hanging[0].cancel()
        assert await asyncio.gather(*queued) == [b"%d" % number for number in range(20)]


async def test_close_with_grace_lets_calls_end_and_without_cancels_them() -> None:
    async with linked() as (service, channel):
        call = channel.unary_unary(f"/{SERVICE}/Hang")(b"x")
        await service.entered.wait()
        closing = asyncio.ensure_future(channel.close(5))
        service.released.set()
        assert await call == b"x"
        await closing
    async with linked() as (service, channel):
        call = channel.unary_unary(f"/{SERVICE}/Hang")(b"x")
        await service.entered.wait()
        await channel.close()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_close_with_grace_leaves_what_has_come_to_its_reader() -> None:
    async with linked() as (service, channel):
        call = channel.unary_stream(f"/{SERVICE}/HangStream")(b"last")
        await service.entered.wait()
        closing = asyncio.ensure_future(channel.close(5))
        await asyncio.sleep(0)  # it waits now
        service.released.set()
        await closing
        assert [message async for message in call] == [b"first", b"last"]
        assert await call.code() is StatusCode.OK


async def test_a_channel_that_another_thread_lets_go_of_closes_its_connection() -> None:
    """Garbage is collected in whatever thread happens to be at work."""
    server = wire.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    asyncio.get_running_loop().set_debug(True)  # it refuses what must not be done from another thread
    channels = [wire.insecure_channel(f"127.0.0.1:{port}")]
    await channels[0].channel_ready()
    await asyncio.to_thread(channels.clear)
    await until(lambda: not server.connections)
    await server.stop(None)


async def test_a_unix_socket(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s"
    async with serving(address), wire.insecure_channel(address) as channel:
        assert await channel.unary_unary(ECHO)(b"x") == b"x"


@pytest.mark.parametrize(
    "theirs",
    [
        grpc.ssl_channel_credentials(),
        grpc.local_channel_credentials(),
        grpc.composite_channel_credentials(grpc.ssl_channel_credentials(), grpc.access_token_call_credentials("token")),
    ],
)
def test_grpcio_s_channel_credentials_are_refused_with_words_that_say_what_to_use(theirs: Any) -> None:
    with pytest.raises(TypeError, match=r"wire\.ssl_channel_credentials"):
        wire.secure_channel("localhost:1", theirs)


async def test_a_secure_channel_needs_credentials() -> None:
    with pytest.raises(TypeError, match=r"wire\.ssl_channel_credentials"):
        wire.secure_channel("localhost:1", None)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_call_credentials_are_refused_with_words_that_say_what_to_use(kind: str) -> None:
    async with linked() as (_, channel):
        with pytest.raises(TypeError, match=r"metadata.* interceptor"):
            getattr(channel, kind)(ECHO)(b"", credentials=grpc.access_token_call_credentials("token"))


async def test_tls_and_mutual_tls() -> None:
    authority = trustme.CA()
    certificate, own = authority.issue_cert("localhost"), authority.issue_cert("client")
    roots = authority.cert_pem.bytes()
    pair, own_pair = ((c.private_key_pem.bytes(), c.cert_chain_pems[0].bytes()) for c in (certificate, own))
    for mutual in (False, True):
        theirs = grpc.ssl_server_credentials([pair], roots if mutual else None, mutual)
        ours = wire.ssl_channel_credentials(roots, *(own_pair if mutual else (None, None)))
        async with (
            serving(credentials=theirs) as (_, port),
            wire.secure_channel(f"localhost:{port}", ours, options=SOON) as channel,
            wire.secure_channel(f"127.0.0.1:{port}", ours, options=SOON) as misnamed,
            wire.secure_channel(f"localhost:{port}", wire.ssl_channel_credentials(), options=SOON) as distrustful,
        ):
            assert await channel.unary_unary(ECHO)(b"x") == b"x"
            assert await refusal(misnamed.unary_unary(ECHO)(b"x")) is StatusCode.UNAVAILABLE
            assert await refusal(distrustful.unary_unary(ECHO)(b"x")) is StatusCode.UNAVAILABLE
