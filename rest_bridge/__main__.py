"""`python -m rest_bridge`: the bridge's process, from settings to exit status.

Exit status 2 is for what a restart cannot mend: a setting that does not fit, a port that is taken. One line on stderr
names the flag.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from types import FrameType
from typing import NoReturn

import uvicorn
from pydantic import ValidationError
from pydantic_settings import CliApp

from rest_bridge import logs
from rest_bridge.app import create_app
from rest_bridge.connections import CONNECTIONS_LIMIT, KEEP_ALIVE_S, HttpConnection, WebSocketConnection
from rest_bridge.settings import Settings, host_and_port, is_loopback
from rest_bridge.sockets import MESSAGE_LIMIT

CONFIGURATION_ERROR = 2
BACKLOG = CONNECTIONS_LIMIT  # a connection that the kernel has no room for is heard seconds later, if ever
PING_S = 20.0
DRAIN_S = 5  # for answers under way when the bridge stops


class BridgeServer(uvicorn.Server):
    """uvicorn, telling when it is ready, and ending with status 0 when it is asked to stop."""

    def __init__(self, config: uvicorn.Config, url: str, lifeline_fd: int | None) -> None:
        super().__init__(config)
        self.url = url
        self.lifeline_fd = lifeline_fd

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.lifeline_fd is not None:
            asyncio.get_running_loop().add_reader(self.lifeline_fd, self.feel, self.lifeline_fd)
        print(f"ready http={self.url}", flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGINT or self.lifeline_fd is None:  # Ctrl-C is for the supervisor, where there is one
            self.should_exit = True

    def feel(self, lifeline_fd: int) -> None:
        """Stop when whoever started the bridge is gone: its end of the pipe is closed."""
        if not os.read(lifeline_fd, 1):
            asyncio.get_running_loop().remove_reader(lifeline_fd)
            self.should_exit = True


def server(settings: Settings, listener: socket.socket) -> BridgeServer:
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        create_app(settings),
        http=HttpConnection,
        ws=WebSocketConnection,
        ws_max_size=MESSAGE_LIMIT,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        backlog=BACKLOG,
    )
    shown = f"[{host}]" if ":" in host else host
    return BridgeServer(config, f"http://{shown}:{port}", settings.lifeline_fd)


def listen(address: str) -> socket.socket:
    """A listening socket. OSError where the port is taken or the host is not this machine's."""
    host, port = host_and_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def refuse(words: str) -> NoReturn:
    print(f"outcry bridge: {words}", file=sys.stderr)
    sys.exit(CONFIGURATION_ERROR)


def main() -> None:
    try:
        settings = CliApp.run(Settings)
    except ValidationError as problem:
        first = problem.errors()[0]
        refuse(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}")
    if not (settings.allow_plaintext or is_loopback(settings.http)):
        refuse(f"--http {settings.http} is not loopback: put a proxy with HTTPS before it, or give --allow-plaintext")
    try:
        listener = listen(settings.http)
    except OSError as error:
        refuse(f"--http {settings.http}: {error.strerror or error}")
    logs.configure()
    try:
        bridge = server(settings, listener)
    except OSError as error:
        refuse(f"--tls-ca {settings.tls_ca}: {error.strerror}")
    bridge.run(sockets=[listener])


if __name__ == "__main__":
    main()
