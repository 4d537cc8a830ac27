"""A channel in the place of grpc.aio's: generated stubs work on it unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self, cast

import grpc.aio
from grpc import ChannelConnectivity, Compression
from grpc.aio import ClientInterceptor

from wire.client_callables import (
    Deserializer,
    MultiCallable,
    Serializer,
    StreamStream,
    StreamUnary,
    UnaryStream,
    UnaryUnary,
)
from wire.client_interception import Interception, by_kind
from wire.client_link import Link
from wire.client_settings import settings_of
from wire.client_target import target_of
from wire.credentials import ChannelCredentials

__all__ = ["Channel", "insecure_channel", "secure_channel"]

Options = Iterable[tuple[str, Any]]


class Channel(grpc.aio.Channel):
    """It connects at the first call, and again at the first one after a connection is lost."""

    def __init__(
        self,
        target: str,
        credentials: ChannelCredentials | None = None,
        options: Options | None = None,
        compression: Compression | None = None,
        interceptors: Sequence[ClientInterceptor] | None = None,
    ) -> None:
        self.interceptors = by_kind(interceptors or ())
        context = None if credentials is None else credentials.context
        self.link = Link(target_of(target), context, settings_of(options or (), compression))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """No new calls; those under way get `grace` seconds, and are cancelled then."""
        link = self.link
        if link.state is ChannelConnectivity.SHUTDOWN:
            return
        if grace is not None and grace < 0:
            raise ValueError(f"grace must be non-negative, got {grace}.")
        line, link.closing = link.line, True
        calls = link.calls()
        if grace and calls:
            ends = {asyncio.ensure_future(call.end()): call for call in calls}
            _, late = await asyncio.wait(ends, timeout=grace)
            for end in late:
                end.cancel()
            calls = [ends[end] for end in late]  # of the others there may be something left to read
        for call in calls:
            call.cancel()
        link.shut()
        if line is not None:
            await asyncio.sleep(0)  # what is written leaves

    def __del__(self) -> None:
        if (link := getattr(self, "link", None)) is not None and not link.loop.is_closed():
            link.loop.call_soon_threadsafe(link.shut)  # whatever thread collects

    def get_state(self, try_to_connect: bool = False) -> ChannelConnectivity:
        state = self.link.state
        if try_to_connect:
            self.link.dial()
        return state

    async def wait_for_state_change(self, last_observed_state: ChannelConnectivity) -> None:
        await self.link.change(last_observed_state)

    async def channel_ready(self) -> None:
        while (state := self.get_state(try_to_connect=True)) is not ChannelConnectivity.READY:
            await self.wait_for_state_change(state)

    def multicallable(
        self, kind: type[MultiCallable], path: str, serialize: Serializer, deserialize: Deserializer
    ) -> Any:
        method = kind(self, path, serialize, deserialize)
        interceptors = self.interceptors.get(kind)
        if interceptors is None:
            return method
        return kind(self, path, serialize, deserialize, Interception(method, interceptors).intercept)

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryUnaryMultiCallable[Any, Any]:
        return cast(UnaryUnary, self.multicallable(UnaryUnary, method, request_serializer, response_deserializer))

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryStreamMultiCallable[Any, Any]:
        return cast(UnaryStream, self.multicallable(UnaryStream, method, request_serializer, response_deserializer))

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.StreamUnaryMultiCallable[Any, Any]:
        return cast(StreamUnary, self.multicallable(StreamUnary, method, request_serializer, response_deserializer))

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.StreamStreamMultiCallable[Any, Any]:
        return cast(StreamStream, self.multicallable(StreamStream, method, request_serializer, response_deserializer))


def insecure_channel(
    target: str,
    options: Options | None = None,
    compression: Compression | None = None,
    interceptors: Sequence[ClientInterceptor] | None = None,
) -> Channel:
    return Channel(target, None, options, compression, interceptors)


def secure_channel(
    target: str,
    credentials: ChannelCredentials,
    options: Options | None = None,
    compression: Compression | None = None,
    interceptors: Sequence[ClientInterceptor] | None = None,
) -> Channel:
    """`credentials` are those of `wire.ssl_channel_credentials`; TypeError for others.

    Call credentials are not offered, be they composed or a call's own: an interceptor that adds metadata does the same.
    """
    if not isinstance(credentials, ChannelCredentials):
        raise TypeError(
            f"{type(credentials).__name__} is opaque here: make a channel's credentials with "
            "wire.ssl_channel_credentials, and let an interceptor add what call credentials would send"
        )
    return Channel(target, credentials, options, compression, interceptors)
