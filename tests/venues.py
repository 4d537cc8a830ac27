"""Running exchanges for tests: in this process, or as the real one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc

from gateway.service import Gateway
from gateway.settings import Settings
from outcry import v1

READY_TIMEOUT_S = 30


class Stubs:
    """The contract's services on one channel; `key` fills in the metadata."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.orders = v1.OrderEntryStub(channel)
        self.feed = v1.ExecutionFeedStub(channel)
        self.market = v1.MarketDataStub(channel)
        self.accounts = v1.AccountsStub(channel)
        self.operations = v1.OperationsStub(channel)

    async def register(self, name: str = "team", role: str = "") -> tuple[int, list[tuple[str, str]]]:
        """A fresh account: its id, and the metadata that speaks for it."""
        answer = await self.accounts.Register(v1.RegisterRequest(team_name=name, role=role))
        return answer.account_id, [("x-api-key", answer.api_key)]


class Venue:
    """A gateway in this process, on a free port, with a channel to it."""

    def __init__(self, data: Path, **settings: Any) -> None:
        self.data = data
        self.failed = asyncio.Event()
        disk = settings.pop("disk", None)
        chosen = Settings(grpc="127.0.0.1:0", data=data, **settings)
        self.gateway = Gateway(chosen, on_failure=self.failed.set, disk=disk)

    async def start(self) -> None:
        await self.gateway.start()
        self.address = f"127.0.0.1:{self.gateway.port}"
        self.channel = grpc.aio.insecure_channel(self.address)
        self.stubs = Stubs(self.channel)
        self.operator = [("x-api-key", (self.data / "keys" / "operator.key").read_text().strip())]

    async def digest(self) -> str:
        answer = await self.stubs.operations.GetStateDigest(v1.GetStateDigestRequest(), metadata=self.operator)
        return str(answer.digest)

    async def stop(self) -> None:
        await self.channel.close()
        await self.gateway.stop()


@asynccontextmanager
async def venue(data: Path, **settings: Any) -> AsyncIterator[Venue]:
    settings.setdefault("durability", "write")
    running = Venue(data, **settings)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


class EngineProcess:
    """`python -m gateway` as users run it, on a free port unless one is given; or a `module` that stands for it."""

    def __init__(
        self,
        data: Path,
        *flags: str,
        grpc_address: str = "127.0.0.1:0",
        module: str = "gateway",
        under: Sequence[str] = (),  # a command that runs it, as strace does
    ) -> None:
        self.data = data
        command = [*under, sys.executable, "-m", module, "--grpc", grpc_address, "--data", str(data), *flags]
        self.errors = (data.parent / f"{data.name}.stderr").open("ab")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, text=True, start_new_session=bool(under)
        )
        self.is_leader = bool(under)
        line = self.first_line()
        if not line.startswith("ready grpc="):
            self.process.wait(READY_TIMEOUT_S)
            raise RuntimeError(f"the engine did not start: {line!r}, see {self.errors.name}")
        self.address = line.strip().removeprefix("ready grpc=")

    def first_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    @property
    def operator_key(self) -> str:
        return (self.data / "keys" / "operator.key").read_text().strip()

    def kill(self) -> None:
        if self.is_leader:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(READY_TIMEOUT_S)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(READY_TIMEOUT_S)
        self.errors.close()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


@contextmanager
def engine_process(
    data: Path, *flags: str, grpc_address: str = "127.0.0.1:0", module: str = "gateway"
) -> Iterator[EngineProcess]:
    process = EngineProcess(data, *flags, grpc_address=grpc_address, module=module)
    try:
        yield process
    finally:
        process.stop()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


Predicate = Callable[[], bool]


async def until(holds: Predicate, timeout_s: float = 20) -> None:
    """Wait for what another task will make true; the bound is a guard against hanging."""
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.005)
