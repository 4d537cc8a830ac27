"""Where calls come in: bytes become messages, refusals statuses, failures references; and streams are counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, Protocol, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection

import wire
from gateway.access import Access
from gateway.auth import unauthenticated
from gateway.refusals import (
    Refused,
    abort,
    failed,
    invalid_request,
    overloaded,
    support_reference,
    to_status,
    unavailable,
)
from gateway.sequencer import Reply, settle

Answer = TypeVar("Answer")
Context = grpc.aio.ServicerContext[Any, Any]
Direct = Callable[[Any, Any, Context, Reply], None]
KEYLESS = {"Register", "ListInstruments", "GetOrderBook", "StreamMarketData", "Watch", "ServerReflectionInfo"}
log = structlog.get_logger()


async def fail(context: Context, name: str) -> None:
    await abort(context, unexpected(name))


def unexpected(name: str) -> Refused:
    """The answer to an exception that nobody expected: the client gets a reference, the log gets the rest."""
    reference = support_reference()
    log.exception("rpc_failed", method=name, reference=reference)
    return failed("gateway", "unknown", reference)


class Malformed:
    """Stands for a request whose bytes are no message: it is refused where every other request is."""


def tolerant(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def deserializer(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return Malformed()

    return deserializer


class Registrar:
    """Stands in for the server where generated code registers a service, so that our deserializers are used.

    On grpc.aio all methods become generic handlers: for each registered one it would keep a task that it looks at in
    every call.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.server = server

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The same methods come by name, too."""

    def add_registered_method_handlers(self, service: str, methods: dict[str, Any]) -> None:
        guarded = {
            name: handler._replace(request_deserializer=tolerant(handler.request_deserializer))
            for name, handler in methods.items()
        }
        if isinstance(self.server, wire.Server):
            self.server.add_registered_method_handlers(service, guarded)
        else:
            self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, guarded),))


def parsed(servicer: Any, method: Callable[..., Any], request: Any, context: Any) -> Any:
    """The request, if it is one. Who calls comes before what is wrong with the call."""
    if isinstance(request, Malformed):
        if method.__name__ not in KEYLESS:
            servicer.access.account(context)
        raise invalid_request("the message does not parse", "message")
    return request


def unary(method: Callable[[Any, Any, Context], Awaitable[Answer]]) -> Callable[[Any, Any, Context], Awaitable[Answer]]:
    """A unary RPC."""

    @wraps(method)
    async def answer(servicer: Any, request: Any, context: Context) -> Answer:
        try:
            return await method(servicer, parsed(servicer, method, request, context), context)
        except Refused as refused:
            await abort(context, refused)
        except Exception:  # the edge
            await fail(context, method.__qualname__)
        raise AssertionError("abort has not raised")

    return answer


class PlainCall(Protocol):
    """What the wire gives to a method in plain calls, beside the context."""

    def reply(self, message: Any) -> None: ...

    def end(self, code: grpc.StatusCode, words: str, trailing: Any) -> None: ...


def direct(encode: Callable[[Any], Any]) -> Callable[[Direct], Any]:
    """A unary RPC in plain calls: it is given a `reply`, which it calls once, now or later, or it raises Refused.

    What it replies is `encode`d, unless it is a Refused. On the wire nothing else happens in between; grpcio knows only
    tasks, so there a future is awaited.
    """

    def decorate(method: Direct) -> Any:
        @wraps(method)
        async def answer(servicer: Any, request: Any, context: Context) -> Any:
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            try:
                method(servicer, parsed(servicer, method, request, context), context, partial(settle, future))
                return encode(await future)
            except Refused as refused:
                await abort(context, refused)
            except Exception:  # the edge
                await fail(context, method.__qualname__)
            raise AssertionError("abort has not raised")

        def plain(servicer: Any, request: Any, call: Any) -> None:
            def reply(outcome: Any) -> None:
                if isinstance(outcome, Refused):
                    end(call, outcome)
                    return
                try:
                    call.reply(encode(outcome))
                except Exception:  # the edge
                    end(call, unexpected(method.__qualname__))

            try:
                if type(request) is Malformed:
                    request = parsed(servicer, method, request, call)
                method(servicer, request, call, reply)
            except Refused as refused:
                end(call, refused)
            except Exception:  # the edge
                end(call, unexpected(method.__qualname__))

        answer.plain = plain  # type: ignore[attr-defined]  # the wire looks for it
        return answer

    return decorate


def end(call: PlainCall, refused: Refused) -> None:
    answer = to_status(refused)
    call.end(answer.code, answer.details, answer.trailing_metadata)


class Stream:
    """An open stream: the task that serves it, the hash of the key that opened it, and what it was ended by.

    `leave` is how it stops when the server does: at once, unless it has something left to say.
    """

    def __init__(self, task: asyncio.Task[Any], key_hash: bytes | None) -> None:
        self.task = task
        self.key_hash = key_hash
        self.ending: Refused | None = None
        self.leave: Callable[[], object] = task.cancel

    def end(self, refused: Refused) -> None:
        self.ending = refused
        self.task.cancel()

    def close(self) -> None:
        self.ending = unavailable("The engine is stopping")
        self.leave()


class Streams:
    """The open streams: bounded, so that calls keep room, and ended with the key that opened them, or with the server.

    Callers with a valid key have `keyed` among them, and one account at most `of_account` of these. Those without have
    `strangers`, and those at one address at most `at_address`: nobody without a key takes a stream from one who has a
    key, and nobody takes all from the others of his kind.
    """

    def __init__(self, access: Access, *, keyed: int, of_account: int, strangers: int, at_address: int) -> None:
        self.access = access
        self.keyed = keyed
        self.of_account = of_account
        self.strangers = strangers
        self.at_address = at_address
        self.open: Counter[str] = Counter()
        self.served: dict[asyncio.Task[Any], Stream] = {}

    @contextmanager
    def one(self, context: Context) -> Iterator[Stream]:
        """Count the present task for a while. Refused where there are too many."""
        limits = self.limits(context)
        for group, limit in limits.items():
            if self.open[group] >= limit:
                raise overloaded("Too many streams", limit=limit)
        task = asyncio.current_task()
        assert task is not None
        self.served[task] = stream = Stream(task, self.access.valid_key(context))
        self.open.update(limits.keys())
        try:
            yield stream
        finally:
            del self.served[task]
            for group in limits:
                self.open[group] -= 1
                if not self.open[group]:
                    del self.open[group]

    def limits(self, context: Context) -> dict[str, int]:
        """What a caller's stream counts among, with the bound of each. The bridge's own speak for many accounts."""
        if self.access.valid_key(context) is not None:
            return {"keyed": self.keyed, f"account {self.access.account(context)}": self.of_account}
        if self.access.is_bridge(context):
            return {"keyed": self.keyed}
        return {"strangers": self.strangers, self.access.origin(context): self.at_address}

    def end_keyless(self) -> None:
        """End the streams whose key is nobody's any more."""
        for stream in self.served.values():
            if stream.key_hash is not None and not self.access.is_key(stream.key_hash):
                stream.end(unauthenticated())

    def present(self) -> Stream:
        """The stream that the present task serves."""
        task = asyncio.current_task()
        assert task is not None
        return self.served[task]

    def close(self) -> None:
        for stream in self.served.values():
            stream.close()


def streaming(
    method: Callable[[Any, Any, Context], Awaitable[None]],
) -> Callable[[Any, Any, Context], Coroutine[Any, Any, None]]:
    """A streaming RPC of a servicer that has `streams`."""

    @wraps(method)
    async def serve(servicer: Any, request: Any, context: Context) -> None:
        streams: Streams = servicer.streams
        stream: Stream | None = None
        try:
            with streams.one(context) as stream:
                await method(servicer, parsed(servicer, method, request, context), context)
                if stream.ending is not None:
                    raise stream.ending
        except Refused as refused:
            await abort(context, refused)
        except asyncio.CancelledError:
            if stream is None or stream.ending is None:
                raise
            await abort(context, stream.ending)
        except Exception:  # the edge
            await fail(context, method.__qualname__)

    return serve


class Health(health.aio.HealthServicer):
    """grpc.health.v1, its watchers counted like every other stream, and told when the server stops."""

    def __init__(self, streams: Streams) -> None:
        super().__init__()
        self.streams = streams
        self.stopping = False

    async def enter_graceful_shutdown(self) -> None:
        self.stopping = True
        await super().enter_graceful_shutdown()

    @streaming
    async def Watch(self, request: Any, context: Context) -> None:
        try:
            await super().Watch(request, context)
        except asyncio.CancelledError:
            if self.stopping:
                await context.write(health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING))
            raise


class Reflection(reflection.aio.ReflectionServicer):
    """Server reflection, its streams counted, too."""

    def __init__(self, services: Iterable[str], streams: Streams) -> None:
        super().__init__(services)
        self.streams = streams

    @streaming
    async def ServerReflectionInfo(self, requests: Any, context: Context) -> None:  # type: ignore[override]
        async for answer in super().ServerReflectionInfo(requests, context):  # type: ignore[attr-defined]  # a generator
            await context.write(answer)
