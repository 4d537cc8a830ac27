"""Client interceptors: each is asked in turn, and goes on with a call, with an answer of its own, or not at all.

The caller gets an intercepted call at once, while a task asks the interceptors. What the last of them begins is a call
like any other; what the first of them answers with is what the caller's call stands for from then on.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import grpc.aio
from grpc import Compression
from grpc.aio import ClientCallDetails, ClientInterceptor

from wire.client_callables import MultiCallable, StreamStream, StreamUnary, UnaryStream, UnaryUnary
from wire.client_intercepted_calls import (
    InterceptedCall,
    InterceptedOneResponse,
    InterceptedStreamStreamCall,
    InterceptedStreamUnaryCall,
    InterceptedUnaryStreamCall,
    InterceptedUnaryUnaryCall,
    Over,
    Replaced,
)

CALLABLES: dict[type[ClientInterceptor], type[MultiCallable]] = {
    grpc.aio.UnaryUnaryClientInterceptor: UnaryUnary,
    grpc.aio.UnaryStreamClientInterceptor: UnaryStream,
    grpc.aio.StreamUnaryClientInterceptor: StreamUnary,
    grpc.aio.StreamStreamClientInterceptor: StreamStream,
}
KINDS: dict[type[MultiCallable], tuple[str, type[InterceptedCall], type[grpc.aio.Call]]] = {
    UnaryUnary: ("intercept_unary_unary", InterceptedUnaryUnaryCall, grpc.aio.UnaryUnaryCall),
    UnaryStream: ("intercept_unary_stream", InterceptedUnaryStreamCall, grpc.aio.UnaryStreamCall),
    StreamUnary: ("intercept_stream_unary", InterceptedStreamUnaryCall, grpc.aio.StreamUnaryCall),
    StreamStream: ("intercept_stream_stream", InterceptedStreamStreamCall, grpc.aio.StreamStreamCall),
}


def by_kind(interceptors: Iterable[ClientInterceptor]) -> dict[type[MultiCallable], list[ClientInterceptor]]:
    """The interceptors of each kind of call, in their order. One that is of several kinds is, as grpcio has it, of the
    first; ValueError for what is of none."""
    sorted_out: dict[type[MultiCallable], list[ClientInterceptor]] = {}
    for interceptor in interceptors:
        kinds = [kind for base, kind in CALLABLES.items() if isinstance(interceptor, base)]
        if not kinds:
            raise ValueError(f"{interceptor!r} is no client interceptor: it must be one of grpc.aio's four kinds")
        sorted_out.setdefault(kinds[0], []).append(interceptor)
    return sorted_out


class Interception:
    """What stands before a method of a server: interceptors, in their order."""

    def __init__(self, method: MultiCallable, interceptors: list[ClientInterceptor]) -> None:
        self.method = method
        hook, self.kind, plain_kind = KINDS[type(method)]
        self.hooks = [getattr(interceptor, hook) for interceptor in interceptors]
        self.calls = plain_kind, Over, Replaced

    def intercept(self, request: Any, details: ClientCallDetails, compression: Compression | None) -> InterceptedCall:
        call = self.kind(self.method.link, request)
        call.run(self.ask(call, 0, compression, details, call.request))
        return call

    async def ask(
        self, call: InterceptedCall, at: int, compression: Compression | None, details: Any, request: Any
    ) -> Any:
        """The call that the interceptor at this place answers with, or, behind the last, the one that is begun."""
        if at == len(self.hooks):
            call.latest = self.begin(compression, details, request)
        else:
            answer = await self.hooks[at](partial(self.ask, call, at + 1, compression), details, request)
            call.latest = self.call_of(answer, call.latest)
        return call.latest

    def begin(self, compression: Compression | None, details: Any, request: Any) -> Any:
        path = details.method.decode() if isinstance(details.method, bytes) else details.method
        return self.method.at(path)(
            request,
            timeout=details.timeout,
            metadata=details.metadata,
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
            compression=compression,
        )

    def call_of(self, answer: Any, latest: Any) -> Any:
        """An interceptor may answer with a call, or with what a call would give: the response, or all of them."""
        if isinstance(answer, self.calls):
            return answer
        if issubclass(self.kind, InterceptedOneResponse):
            return Over(response=answer)
        return Replaced(Over() if latest is None else latest, answer)
