"""`outcry up`: an engine, a bridge and, with `--demo`, bots, as one thing that starts, keeps running and stops.

Each child runs in this process's group and holds the read end of one pipe, the lifeline, whose only writer is this
process: however it dies, the pipe ends and so do they. Ctrl-C in a terminal goes to the whole group, so children start
with SIGINT blocked and are told to stop by SIGTERM, in order: bots, bridge, engine. The terminal stays quiet: what the
children say is appended to DATA/logs, and the last of it is shown when one of them fails.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from outcry.claim import Claim
from outcry.supervision import Child, Ended, Lifeline, Supervisor, say

READY_URLS = "outcry is up: docs {http}/docs, websocket {ws}/ws, gRPC {grpc}"
ECHO_S = 0.5
CLAIM_WAIT_S = 10.0  # for another `outcry up` that is being stopped


class Durability(StrEnum):
    FSYNC = "fsync"
    WRITE = "write"


class Registration(StrEnum):
    VENUE = "venue"
    OPEN = "open"
    CLOSED = "closed"
    INVITE = "invite"


class Transport(StrEnum):
    GRPCIO = "grpcio"
    NATIVE = "native"


def command(
    demo: Annotated[
        bool, typer.Option("--demo", envvar="OUTCRY_DEMO", help="Add bots that trade on every instrument.")
    ] = False,
    grpc: Annotated[
        str, typer.Option(envvar="OUTCRY_GRPC", help="HOST:PORT (port 0: a free one) or unix:PATH of the gRPC service.")
    ] = "127.0.0.1:50051",
    http: Annotated[
        str, typer.Option(envvar="OUTCRY_HTTP", help="HOST:PORT of REST and WebSocket; port 0 takes a free one.")
    ] = "127.0.0.1:8000",
    data: Annotated[
        Path, typer.Option(envvar="OUTCRY_DATA", help="Folder of journal, keys and logs.", file_okay=False)
    ] = Path("data"),
    venue: Annotated[
        Path | None, typer.Option(envvar="OUTCRY_VENUE", help="venue.toml; else the built-in one.")
    ] = None,
    durability: Annotated[
        Durability | None, typer.Option(envvar="OUTCRY_DURABILITY", help="When an order counts as safe.")
    ] = None,
    transport: Annotated[
        Transport | None, typer.Option(envvar="OUTCRY_TRANSPORT", help="The engine's gRPC server.")
    ] = None,
    registration: Annotated[
        Registration | None,
        typer.Option(envvar="OUTCRY_REGISTRATION", help="Who may register; `venue` is as venue.toml says."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(envvar="OUTCRY_TLS_CERT", help="The engine's PEM certificate chain; turns TLS on.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(envvar="OUTCRY_TLS_KEY", help="PEM private key of the certificate.")
    ] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(envvar="OUTCRY_TLS_CA", help="PEM roots by which bridge and bots trust the engine.")
    ] = None,
    allow_plaintext: Annotated[
        bool,
        typer.Option("--allow-plaintext", envvar="OUTCRY_ALLOW_PLAINTEXT", help="No TLS on more than loopback."),
    ] = False,
) -> None:
    """Run the whole exchange: engine and bridge, supervised. Ctrl-C stops it, and the next start goes on from there."""
    if (tls_cert is None) != (tls_ca is None):
        raise typer.BadParameter("--tls-cert and --tls-ca go together: bridge and bots need roots to trust the engine")
    engine_flags = given(
        {
            "--venue": venue,
            "--durability": durability,
            "--transport": transport,
            "--registration": registration,
            "--tls-cert": tls_cert,
            "--tls-key": tls_key,
        }
    )
    environment = {"OUTCRY_ALLOW_PLAINTEXT": "true"} if allow_plaintext else {}
    exchange = Exchange(grpc, http, data, engine_flags, given({"--tls-ca": tls_ca}), environment)
    raise typer.Exit(asyncio.run(run(exchange, demo)))


def given(flags: Mapping[str, object]) -> list[str]:
    return [text for flag, value in flags.items() if value is not None for text in (flag, str(value))]


async def run(exchange: Exchange, demo: bool) -> int:
    """Run until SIGINT or SIGTERM; the exit status."""
    try:
        with Claim(exchange.data, CLAIM_WAIT_S) as claim, Lifeline() as lifeline:
            return await supervised(exchange, claim, lifeline, demo)
    except Ended as ended:
        say(str(ended))
        return ended.status


async def supervised(exchange: Exchange, claim: Claim, lifeline: Lifeline, demo: bool) -> int:
    """Run until it is told to stop; 1 where a child had to be killed, else 0. Raises Ended."""
    supervisor = Supervisor(exchange.children(claim.logs, lifeline, demo))
    running = asyncio.create_task(exchange.run(supervisor, claim))
    Interrupts(running, supervisor)
    try:
        await running
    except asyncio.CancelledError:
        say("stopping")
    finally:
        in_order = await supervisor.stop()
    return 0 if in_order else 1


class Exchange:
    """What `up` runs: the children's commands, with the addresses that they were found to listen on."""

    def __init__(
        self,
        grpc: str,
        http: str,
        data: Path,
        engine_flags: list[str],
        client_flags: list[str],
        environment: Mapping[str, str],
    ) -> None:
        self.grpc = grpc
        self.http = http
        self.data = data
        self.engine_flags = engine_flags
        self.client_flags = client_flags
        self.environment = environment

    def children(self, logs: Path, lifeline: Lifeline, demo: bool) -> list[Child]:
        """In the order of their start."""
        self.engine = Child("engine", self.engine_command, logs, lifeline, self.environment)
        self.bridge = Child("bridge", self.bridge_command, logs, lifeline, self.environment)
        bots = [Child("demo", self.demo_command, logs, lifeline, self.environment)] if demo else []
        return [self.engine, self.bridge, *bots]

    def engine_command(self) -> list[str]:
        grpc = self.engine.ready.get("grpc", self.grpc)  # a restart keeps the port that the first start found
        return ["-m", "gateway", "--grpc", grpc, "--data", str(self.data), *self.engine_flags]

    def bridge_command(self) -> list[str]:
        http = self.bridge.ready.get("http", self.http).removeprefix("http://")
        key = str(self.data / "keys" / "bridge.key")
        return ["-m", "rest_bridge", "--http", http, "--service-key", key, *self.reach()]

    def demo_command(self) -> list[str]:
        return ["-m", "outcry.demo", "--data", str(self.data), *self.reach()]

    def reach(self) -> list[str]:
        """The flags by which a client of the engine finds it."""
        return ["--grpc", self.engine.ready["grpc"], *self.client_flags]

    async def run(self, supervisor: Supervisor, claim: Claim) -> None:
        await claim.take()
        say(f"starting; logs in {claim.logs}")
        await supervisor.start()
        print(self.announcement(), flush=True)
        await supervisor.watch()

    def announcement(self) -> str:
        http = self.bridge.ready["http"]
        ws = http.replace("http", "ws", 1)
        urls = READY_URLS.format(http=http, ws=ws, grpc=self.engine.ready["grpc"])
        key = self.data / "keys" / "demo.key"
        # A venue of one's own need not have the demo's account.
        return f"{urls}, API key {key.read_text().strip()}" if key.exists() else urls


class Interrupts:
    """The first SIGINT or SIGTERM asks for an orderly stop, the second kills.

    One that comes with the first is its echo: who signals both a process and its group has asked once.
    """

    def __init__(
        self, running: asyncio.Task[Any], supervisor: Supervisor, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.running = running
        self.supervisor = supervisor
        self.monotonic = monotonic
        self.asked_s: float | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self.interrupt)

    def interrupt(self) -> None:
        if self.asked_s is None:
            self.asked_s = self.monotonic()
            self.running.cancel()
        elif self.monotonic() - self.asked_s >= ECHO_S:
            self.supervisor.kill()
            os._exit(1)
