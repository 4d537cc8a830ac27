"""Scenarios: how a channel finds, loses and finds again its server."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from tests.wire.outcomes import Outcome, one, raised, scenario, without_details
from tests.wire.services import SERVICE, Service
from tests.wire.transports import Pair

State = grpc.ChannelConnectivity
ECHO = f"/{SERVICE}/Echo"


@contextmanager
def nobody(listening: bool = False) -> Iterator[str]:
    """An address that refuses connections, or one that takes them and never says a word."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        if listening:
            held.listen()
        yield f"127.0.0.1:{held.getsockname()[1]}"


async def served(pair: Pair, address: str) -> Any:
    server = pair.server()
    server.add_generic_rpc_handlers((Service().handlers({}),))
    assert server.add_insecure_port(address)
    await server.start()
    return server


async def state_other_than(channel: Any, *states: grpc.ChannelConnectivity) -> grpc.ChannelConnectivity:
    while (state := channel.get_state()) in states:
        await channel.wait_for_state_change(state)
    return state  # type: ignore[no-any-return]


@scenario([Outcome([], "UNAVAILABLE", "", raised="AioRpcError")] * 2)
async def server_that_is_not_there(pair: Pair) -> Any:
    """A call fails at the first refusal, whatever time it has."""
    with nobody() as address:
        async with pair.channel(address) as channel:
            call = channel.unary_unary(ECHO)
            return [without_details(await one(call(b"", timeout=timeout))) for timeout in (None, 30)]


@scenario([("UNAVAILABLE", [])] * 2)
async def streams_to_a_server_that_is_not_there(pair: Pair) -> Any:
    with nobody() as address:
        async with pair.channel(address) as channel:
            calls = [channel.unary_stream(ECHO)(b""), channel.stream_stream(ECHO)()]
            seen = []
            for call in calls:
                failed = await raised(call.read())
                seen.append((failed.removeprefix("AioRpcError "), [*await call.initial_metadata()]))
            return seen


@scenario(Outcome([], "DEADLINE_EXCEEDED", "", raised="AioRpcError"))
async def deadline_while_waiting_for_a_server(pair: Pair) -> Any:
    with nobody() as address:
        async with pair.channel(address) as channel:
            return without_details(await one(channel.unary_unary(ECHO)(b"", timeout=0.1, wait_for_ready=True)))


@scenario(Outcome([], "DEADLINE_EXCEEDED", "", raised="AioRpcError"))
async def deadline_with_a_server_that_says_nothing(pair: Pair) -> Any:
    """A connection counts once the server's settings have come."""
    with nobody(listening=True) as address:
        async with pair.channel(address) as channel:
            return without_details(await one(channel.unary_unary(ECHO)(b"", timeout=0.1)))


@scenario(b"waited")
async def wait_for_ready(pair: Pair) -> Any:
    """The call waits through refusals until a server is there."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{Path(folder) / 'socket'}"
        async with pair.channel(address) as channel:
            call = channel.unary_unary(ECHO)(b"waited", wait_for_ready=True)
            channel.get_state(try_to_connect=True)
            await state_other_than(channel, State.IDLE, State.CONNECTING, State.READY)
            server = await served(pair, address)
            answer = await call
            await server.stop(None)
            return answer


@scenario([b"first", b"second"])
async def server_that_comes_back(pair: Pair) -> Any:
    """The channel connects again by itself."""
    async with pair.serving() as link:
        call = link.unary("Echo")
        first = await call(b"first")
        await link.server.stop(None)
        server = await served(pair, link.address)
        second = await call(b"second", wait_for_ready=True, timeout=15)
        await server.stop(None)
        return [first, second]


@scenario(["IDLE", "READY", "IDLE", "SHUTDOWN"])
async def states_of_a_channel(pair: Pair) -> Any:
    """It connects when asked to, rests when the server leaves, and ends when closed."""
    async with pair.serving() as link:
        states = [link.channel.get_state()]
        await link.channel.channel_ready()
        states.append(link.channel.get_state())
        await link.server.stop(None)
        states.append(await state_other_than(link.channel, State.READY))
        await link.channel.close()
        states.append(link.channel.get_state())
        return [state.name for state in states]


@scenario(["answer None", "UsageError", "SHUTDOWN", "UsageError", "UsageError"])
async def waiting_for_a_channel_s_states(pair: Pair) -> Any:
    """A state that is another one already is not waited for, and a channel that closes has none to wait for."""
    async with pair.serving() as link:
        channel = link.channel
        await channel.channel_ready()
        seen = [await raised(channel.wait_for_state_change(State.IDLE))]
        hanging = link.unary("Hang")(b"")
        await link.service.entered.wait()
        closing = asyncio.ensure_future(channel.close(5))
        await asyncio.sleep(0)
        seen.append(await raised(channel.wait_for_state_change(State.READY)))
        link.service.released.set()
        await asyncio.gather(hanging, closing)
        seen.append(channel.get_state(try_to_connect=True).name)
        return [*seen, await raised(channel.wait_for_state_change(State.READY)), await raised(channel.channel_ready())]


@scenario("TRANSIENT_FAILURE")
async def state_without_a_server(pair: Pair) -> Any:
    with nobody() as address:
        async with pair.channel(address) as channel:
            channel.get_state(try_to_connect=True)
            return (await state_other_than(channel, State.IDLE, State.CONNECTING)).name


@scenario((b"x", "IDLE", "READY"))
async def first_call_connects(pair: Pair) -> Any:
    async with pair.serving() as link:
        before = link.channel.get_state().name
        answer = await link.unary("Echo")(b"x")
        return answer, before, link.channel.get_state().name


@scenario("UsageError")
async def calls_on_a_closed_channel(pair: Pair) -> Any:
    async with pair.serving() as link:
        await link.channel.close()
        await link.channel.close()
        try:
            return await raised(link.unary("Echo")(b""))
        except Exception as error:
            return type(error).__name__


@scenario((b"x", "unix:"))
async def unix_socket(pair: Pair) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        async with pair.serving(address=f"unix:{Path(folder) / 'socket'}") as link:
            return await link.unary("Echo")(b"x"), link.address[:5]


@scenario((True, "RuntimeError"))
async def port_that_is_taken(pair: Pair) -> Any:
    """A port of 0 is a free one, and it is told; a taken one is a RuntimeError."""
    one_server, other = pair.server(), pair.server()
    port = one_server.add_insecure_port("127.0.0.1:0")
    await one_server.start()
    try:
        other.add_insecure_port(f"127.0.0.1:{port}")
    except Exception as error:
        refused = type(error).__name__
    else:
        refused = "accepted"
    await other.start()
    await asyncio.gather(one_server.stop(None), other.stop(None))
    return port > 0, refused


@scenario([True, False])
async def wait_for_termination(pair: Pair) -> Any:
    """True says that the time is over, False that the server is."""
    async with pair.serving() as link:
        early = await link.server.wait_for_termination(0.01)
        waiting = asyncio.create_task(link.server.wait_for_termination())
        await link.server.stop(None)
        return [early, await waiting]


@scenario(["SERVING", "AioRpcError NOT_FOUND", "SERVICE_UNKNOWN", "NOT_SERVING"])
async def health_service(pair: Pair) -> Any:
    """grpcio's servicer, by its generated registration and stub."""
    names = health_pb2.HealthCheckResponse.ServingStatus.Name
    servicer = health.aio.HealthServicer()
    server = pair.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with pair.channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        seen = [names((await stub.Check(health_pb2.HealthCheckRequest())).status)]
        seen.append(await raised(stub.Check(health_pb2.HealthCheckRequest(service="other"))))
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="other"))
        seen.append(names((await watch.read()).status))
        await servicer.set("other", health_pb2.HealthCheckResponse.NOT_SERVING)
        seen.append(names((await watch.read()).status))
        watch.cancel()
    await server.stop(None)
    return seen


@scenario([["grpc.health.v1.Health", SERVICE], True])
async def reflection_service(pair: Pair) -> Any:
    server = pair.server()
    reflection.enable_server_reflection([SERVICE, health.SERVICE_NAME], server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with pair.channel(f"127.0.0.1:{port}") as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = [service.name for service in (await call.read()).list_services_response.service]
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=health.SERVICE_NAME))
        found = bool((await call.read()).file_descriptor_response.file_descriptor_proto)
        await call.done_writing()
    await server.stop(None)
    return [sorted(listed), found]
