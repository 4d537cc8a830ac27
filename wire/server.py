"""A gRPC server in the place of grpc.aio's: the same methods, the same servicers, its own wire."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, NamedTuple

import grpc

from wire.addresses import listening_sockets, port_of
from wire.burden import Burden
from wire.credentials import ServerCredentials
from wire.hpack import Block
from wire.interception import Intercepted
from wire.listeners import Listener
from wire.methods import Method
from wire.requests import TIMEOUT_INVALID, TOO_LARGE, Head, read_head
from wire.server_connection import ServerConnection
from wire.settings import server_settings
from wire.templates import Template, Templates

WATCH_S = 0.05  # between looks at the deadlines


class CallDetails(NamedTuple):
    """What an interceptor or a generic handler is told of a call, under grpcio's names. Calls alike share one."""

    method: str
    invocation_metadata: Any


class Server(grpc.aio.Server):
    """Listens, finds the method of each call, and ends. All in one loop, that of `start`."""

    def __init__(
        self,
        handlers: Iterable[grpc.GenericRpcHandler] = (),
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        options: Iterable[tuple[str, Any]] = (),
        maximum_concurrent_rpcs: int | None = None,
        compression: grpc.Compression | None = None,
        threads: Executor | None = None,
    ) -> None:
        self.settings = server_settings(options, maximum_concurrent_rpcs)
        self.compression = compression
        self.threads = threads  # of synchronous servicers; None for the loop's own
        self.interceptors = tuple(interceptors)
        self.handlers = list(handlers)
        self.registered: dict[str, Any] = {}
        self.methods: dict[str, Method] = {}
        self.templates = Templates()
        self.listeners: list[Listener] = []
        self.connections: set[ServerConnection] = set()
        self.arriving: set[ServerConnection] = set()  # which still shake hands
        self.tasks: set[asyncio.Task[None]] = set()
        self.unflushed: list[ServerConnection] = []
        self.flush_promised = False  # what is ready to leave waits for `flush`, which somebody has promised to call
        self.watched: set[ServerConnection] = set()  # with calls that have deadlines
        self.watching: asyncio.TimerHandle | None = None
        self.looking: asyncio.TimerHandle | None = None
        self.calls = 0
        self.stopping = False
        self.stopped = asyncio.Event()
        self.quiet: asyncio.Future[None] | None = None

    # Methods

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self.handlers += generic_rpc_handlers

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        self.registered.update({f"/{service_name}/{name}": handler for name, handler in method_handlers.items()})

    def method(self, head: Head) -> Any:
        """The method that a request names; None where there is none."""
        known = self.methods.get(head.path)
        if known is not None:
            return known
        if self.interceptors:
            return Intercepted(self, head)  # asked anew for each call
        try:
            handler = self.handler(self.details(head))
            method = None if handler is None else Method(handler)
        except Exception:  # the application's, or what it takes for a handler
            return Intercepted(self, head)  # asks again for each call, which fails for the same reason
        if method is None:
            return None
        if head.path in self.registered:
            self.methods[head.path] = method
        return method

    def head(self, block: Block) -> Head:
        """What a request asks for: read once for all that have a template."""
        template: Template | None = block.template
        if template is None:
            return TOO_LARGE if block.too_large else TIMEOUT_INVALID
        head = template.memo = read_head(template.fields)
        if head.refusal is None and not head.http_status:
            head.method = self.method(head)
        return head

    def details(self, head: Head) -> CallDetails:
        return CallDetails(head.path, head.metadata)

    def handler(self, details: Any) -> Any:
        for generic in self.handlers:
            handler = generic.service(details)
            if handler is not None:
                return handler
        return self.registered.get(details.method)

    # Listening

    def add_insecure_port(self, address: str) -> int:
        return self.listen(address, None)

    def add_secure_port(self, address: str, server_credentials: Any) -> int:
        """`server_credentials` are those of `wire.ssl_server_credentials`; TypeError for others."""
        if not isinstance(server_credentials, ServerCredentials):
            raise TypeError(
                f"{type(server_credentials).__name__} is opaque here: make a server's credentials with "
                "wire.ssl_server_credentials"
            )
        return self.listen(address, server_credentials)

    def listen(self, address: str, credentials: ServerCredentials | None) -> int:
        try:
            sockets = listening_sockets(address, self.settings.share_port)
        except (OSError, ValueError) as problem:
            raise RuntimeError(f"Failed to bind to address {address}: {problem}") from None
        self.listeners += [Listener(self, each, credentials) for each in sockets]
        return port_of(sockets[0])

    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.burden = Burden(self.settings.held, self.settings.concurrent_calls)
        for listener in self.listeners:
            listener.start()
        self.looking = self.loop.call_later(self.settings.look_s, self.look)

    def look(self) -> None:
        now = self.loop.time()
        for connection in list(self.connections):
            connection.look(now)
        self.looking = self.loop.call_later(self.settings.look_s, self.look)

    def schedule(self, connection: ServerConnection) -> None:
        if not self.unflushed and not self.flush_promised:
            self.loop.call_soon(self.flush)
        self.unflushed.append(connection)

    def flush(self) -> None:
        """Let all answers leave that are ready: at the end of the turn, or when somebody knows that it is over."""
        connections, self.unflushed = self.unflushed, []
        for connection in connections:
            connection.flush()

    def watch(self, connection: ServerConnection) -> None:
        """End its calls when their deadlines have passed. One timer for all: most calls end long before."""
        self.watched.add(connection)
        if self.watching is None:
            self.watching = self.loop.call_later(WATCH_S, self.expire)

    def expire(self) -> None:
        now = self.loop.time()
        try:
            for connection in self.watched:
                connection.expire(now)
        finally:  # whatever happens to one call, the others have deadlines, too
            self.watched = {connection for connection in self.watched if connection.watched}
            self.watching = self.loop.call_later(WATCH_S, self.expire) if self.watched else None

    # The end

    async def stop(self, grace: float | None) -> None:
        """Take nothing more in; after `grace` seconds, None for none, cancel what still runs."""
        self.stopping = True
        for listener in self.listeners:
            listener.close()
        if grace:
            for connection in list(self.connections):
                connection.leave()
            await self.emptied(grace)
        await self.abandon()
        for timer in (self.looking, self.watching):
            if timer is not None:
                timer.cancel()
        self.watched.clear()
        self.stopped.set()

    async def abandon(self) -> None:
        """Cancel what still runs, and close the connections."""
        for listener in self.listeners:
            listener.abandon()
        for connection in list(self.connections):
            connection.abandon("The server is stopping")
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=self.settings.linger_s)  # some will not be cancelled
        await self.emptied(self.settings.linger_s)
        for connection in list(self.connections):  # nobody reads what was said last
            connection.transport.abort()
        await self.emptied(self.settings.linger_s)

    async def emptied(self, patience_s: float) -> None:
        """Wait for the last connection to end."""
        if self.connections:
            self.quiet = self.loop.create_future()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.quiet, patience_s)

    def connection_ended(self) -> None:
        if not self.connections and self.quiet is not None and not self.quiet.done():
            self.quiet.set_result(None)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  # grpcio's signature
        """Whether the server is still running after `timeout` seconds."""
        try:
            await asyncio.wait_for(self.stopped.wait(), timeout)
        except TimeoutError:
            return True
        return False


def server(
    migration_thread_pool: Executor | None = None,
    handlers: Sequence[grpc.GenericRpcHandler] | None = None,
    interceptors: Sequence[Any] | None = None,
    options: Sequence[tuple[str, Any]] | None = None,
    maximum_concurrent_rpcs: int | None = None,
    compression: grpc.Compression | None = None,
) -> Server:
    """A server, as grpc.aio.server makes one. Without a thread pool synchronous servicers share the loop's own."""
    return Server(
        handlers or (), interceptors or (), options or (), maximum_concurrent_rpcs, compression, migration_thread_pool
    )
