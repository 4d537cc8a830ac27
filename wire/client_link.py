"""A channel's link to its server: whether there is a connection, when to try again, and which calls wait for one.

    IDLE ──a call──▶ CONNECTING ──▶ READY ──lost, or told to go──▶ IDLE
                         └─ failed ─▶ TRANSIENT_FAILURE ──tried again after a backoff, until──▶ READY

The backoff is gRPC's: it grows by 1.6 with every failure, give or take a fifth, and is counted from the start of an
attempt.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from random import SystemRandom
from typing import TYPE_CHECKING
from weakref import WeakSet

from grpc import ChannelConnectivity, StatusCode
from grpc.aio import UsageError

from wire.client_connection import ClientConnection, negotiated
from wire.client_settings import ChannelSettings
from wire.client_target import Address, Target
from wire.connection import NoStreams
from wire.credentials import ALPN

if TYPE_CHECKING:
    from wire.client_call import ClientCall
    from wire.client_intercepted_calls import InterceptedCall

GROWTH, JITTER = 1.6, 0.2

log = logging.getLogger("wire")


class Link:
    """`line` is the connection that takes new calls; `lines` are all that are open; `waiting` keeps its order.

    As in gRPC any number of calls may wait: they are the application's own, which knows how many it makes, and each has
    the deadline that it was given.
    """

    def __init__(self, target: Target, context: ssl.SSLContext | None, settings: ChannelSettings) -> None:
        self.target = target
        self.context = context
        self.settings = settings
        self.state = ChannelConnectivity.IDLE
        self.line: ClientConnection | None = None
        self.lines: set[ClientConnection] = set()
        self.waiting: dict[ClientCall, None] = {}
        self.pausing: set[ClientCall] = set()  # they begin anew in a moment
        self.intercepted: WeakSet[InterceptedCall] = WeakSet()
        self.watchers: list[asyncio.Future[None]] = []
        self.dialing: asyncio.Task[None] | None = None
        self.failure = ""
        self.closing = False  # no new calls
        self.authority = (settings.authority or target.authority).encode()
        self.loop = asyncio.get_event_loop()

    # Calls

    def submit(self, call: ClientCall) -> None:
        """Begin a call, now or when there is room for it."""
        if self.closing and not call.waited:  # one that begins anew is no new call
            raise UsageError("Channel is closed.")
        line = self.line
        if line is None or self.waiting or len(line.core.streams) >= line.core.peer_max_streams:
            self.enqueue(call)
            return
        try:
            line.begin(call)
        except NoStreams:
            self.leave(line)
            self.enqueue(call)

    def enqueue(self, call: ClientCall) -> None:
        if self.state is ChannelConnectivity.TRANSIENT_FAILURE and not call.wait_for_ready:
            call.abort(StatusCode.UNAVAILABLE, self.failure)
            return
        call.waited = True
        self.waiting[call] = None
        self.dial()

    def pump(self) -> None:
        """Begin the calls that wait, as far as there is room."""
        while self.waiting and (line := self.line) is not None:
            if len(line.core.streams) >= line.core.peer_max_streams:
                return
            call = next(iter(self.waiting))
            try:
                line.begin(call)
            except NoStreams:
                self.leave(line)
                return
            del self.waiting[call]

    def calls(self) -> list[ClientCall | InterceptedCall]:
        """All that are not over."""
        owners = [stream.owner for line in self.lines for stream in line.core.streams.values()]
        begun = [owner.alive() for owner in owners if owner is not None]
        intercepted = [call for call in self.intercepted if not call.done()]
        pausing = [call for call in self.pausing if not call.over]
        return [*intercepted, *self.waiting, *pausing, *(call for call in begun if call is not None)]

    # Connections

    def dial(self) -> None:
        if self.dialing is None and self.line is None and self.state is not ChannelConnectivity.SHUTDOWN:
            if self.state is ChannelConnectivity.IDLE:
                self.enter(ChannelConnectivity.CONNECTING)
            self.dialing = self.loop.create_task(self.connect())

    async def connect(self) -> None:
        """Try until there is a connection."""
        backoff = self.settings.first_backoff_s
        while True:
            begun = self.loop.time()
            if await self.attempt():
                break
            pause = min(backoff, self.settings.last_backoff_s) * SystemRandom().uniform(1 - JITTER, 1 + JITTER)
            backoff *= GROWTH
            await asyncio.sleep(max(0, begun + pause - self.loop.time()))
        self.dialing = None
        self.enter(ChannelConnectivity.READY)
        if self.line is not None and self.line.left:  # hello and farewell in one breath: the server is there
            self.leave(self.line)
        self.pump()

    async def attempt(self) -> bool:
        """Try each address once."""
        for address in self.target.addresses:
            try:
                async with asyncio.timeout(self.settings.connect_timeout_s):
                    self.line = await self.open(address)
                return True
            except TimeoutError:
                problem = f"{address}: Failed to connect to remote host: Timeout occurred"
            except (OSError, ValueError) as error:  # of TLS, and of names, too
                problem = f"{address}: Failed to connect to remote host: {words_of(error)}"
            except Exception as error:  # whatever it is: there are calls that wait to be told
                log.exception("the attempt to connect to %s has failed unexpectedly", address)
                problem = f"{address}: Failed to connect to remote host: {error!r}"
        self.failure = f"failed to connect to all addresses; last error: UNKNOWN: {problem}"
        self.enter(ChannelConnectivity.TRANSIENT_FAILURE)
        for call in [call for call in self.waiting if not call.wait_for_ready]:
            call.abort(StatusCode.UNAVAILABLE, self.failure)
        return False

    async def open(self, address: Address) -> ClientConnection:
        """A connection on which the server has said hello; OSError where there is none."""
        line = ClientConnection(self, self.loop, self.settings)
        name = self.server_name(address)
        transport: asyncio.BaseTransport | None = None
        try:
            if address.path:
                transport, _ = await self.loop.create_unix_connection(
                    lambda: line, address.path, ssl=self.context, server_hostname=name
                )
            else:
                transport, _ = await self.loop.create_connection(
                    lambda: line, address.host, address.port, ssl=self.context, server_hostname=name
                )
            if negotiated(transport) not in (None, ALPN):
                raise ConnectionError("The server's TLS does not offer HTTP/2")
            await line.ready
            if line.transport is None:
                raise ConnectionError(line.failure)
        except BaseException:
            line.ready.cancel()
            if transport is not None:
                line.fail("Not wanted")
            raise
        self.lines.add(line)
        line.keep_alive()
        return line

    def server_name(self, address: Address) -> str | None:
        if self.context is None:
            return None
        return self.settings.tls_name or address.host or self.target.authority

    def leave(self, line: ClientConnection) -> None:
        """No new calls for this one: it is lost, or its server is going away."""
        line.left = True
        if self.line is line:
            self.line = None
            self.loop.call_soon(line.after_change)
            self.enter(ChannelConnectivity.IDLE)
            if self.waiting:
                self.dial()

    def shut(self) -> None:
        """Close everything. Calls are to be cancelled before."""
        self.closing = True
        self.enter(ChannelConnectivity.SHUTDOWN)
        if self.dialing is not None:
            self.dialing.cancel()
        self.line = None
        for line in list(self.lines):
            line.close()

    # States

    def enter(self, state: ChannelConnectivity) -> None:
        if self.state is not ChannelConnectivity.SHUTDOWN and self.state is not state:
            self.state = state
            watchers, self.watchers = self.watchers, []
            for watcher in watchers:
                if not watcher.done():
                    watcher.set_result(None)

    async def change(self, last: ChannelConnectivity) -> None:
        """Until the state is another one than `last`."""
        if self.closing:
            raise UsageError("Channel is closed.")
        while self.state is last:
            watcher = self.loop.create_future()
            self.watchers.append(watcher)
            try:
                await watcher
            finally:
                if watcher in self.watchers:  # its owner has given up
                    self.watchers.remove(watcher)


def words_of(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
