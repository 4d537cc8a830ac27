"""Where a server listens. Connections are taken in one by one, and counted from then on: also while they still shake
hands. When the process has no more files to give, the kernel keeps those that come until some have been closed.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from functools import partial
from typing import TYPE_CHECKING

from wire.credentials import ServerCredentials
from wire.server_connection import ServerConnection

if TYPE_CHECKING:
    from wire.server import Server

AT_ONCE = 100  # connections taken in before others have their turn
REST_S = 0.25  # after which it is tried again whether there are files
NO_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = logging.getLogger("wire")


class Listener:
    def __init__(self, server: Server, sock: socket.socket, credentials: ServerCredentials | None) -> None:
        self.server = server
        self.socket = sock
        self.context = None if credentials is None else credentials.context
        self.is_listening = False
        self.resting: asyncio.TimerHandle | None = None
        self.rests = 0
        self.welcomes: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self.is_listening = True
        self.server.loop.add_reader(self.socket, self.accept)

    def pause(self) -> None:
        if self.is_listening:
            self.is_listening = False
            self.server.loop.remove_reader(self.socket)

    def close(self) -> None:
        """Take nobody in any more. Those who have arrived may finish their handshakes."""
        self.pause()
        if self.resting is not None:
            self.resting.cancel()
        self.socket.close()

    def abandon(self) -> None:
        """End the handshakes, too."""
        for welcome in self.welcomes:
            welcome.cancel()

    def accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                sock, _ = self.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:
                if problem.errno not in NO_FILES:
                    raise
                self.rest(problem)
                return
            self.take_in(sock)

    def rest(self, problem: OSError) -> None:
        """The socket stays readable, and to be told so at every turn helps nobody."""
        log.warning("no connections can be taken in for now: %s", problem)
        self.rests += 1
        self.pause()
        self.resting = self.server.loop.call_later(REST_S, self.start)

    def take_in(self, sock: socket.socket) -> None:
        server = self.server
        if len(server.connections) + len(server.arriving) >= server.settings.connections:
            sock.close()
            return
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = ServerConnection(server)
        server.arriving.add(connection)
        welcome = server.loop.create_task(self.welcome(sock, connection))
        self.welcomes.add(welcome)
        welcome.add_done_callback(partial(self.welcomed, sock, connection))

    async def welcome(self, sock: socket.socket, connection: ServerConnection) -> None:
        patience_s = None if self.context is None else self.server.settings.handshake_s
        await self.server.loop.connect_accepted_socket(
            lambda: connection, sock, ssl=self.context, ssl_handshake_timeout=patience_s
        )

    def welcomed(self, sock: socket.socket, connection: ServerConnection, welcome: asyncio.Task[None]) -> None:
        self.welcomes.discard(welcome)
        self.server.arriving.discard(connection)
        problem = asyncio.CancelledError() if welcome.cancelled() else welcome.exception()
        if problem is None:
            return
        sock.close()
        if isinstance(problem, (OSError, asyncio.CancelledError)):  # mostly a handshake of TLS that came to nothing
            log.debug("a connection was not made: %r", problem)
        else:
            log.error("a connection was not made", exc_info=problem)
