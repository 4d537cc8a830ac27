"""Children that are started in order, started again when they die, and stopped in the opposite order.

A child says `ready NAME=ADDRESS` on stdout once it serves. One that ends with status 2 has said on stderr what is wrong
with its settings or data, and is not started again; nor is one that keeps dying before it is ready. Any other end is
answered by a new start, after a wait that grows while the ends come quickly.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 2.0
STEADY_S = 10.0  # who lived that long gets the first wait again
EARLY_DEATHS_LIMIT = 5
STOP_TIMEOUT_S = 10.0
FIRST_NEWS_S = 5.0
LATER_NEWS_S = 60.0
UNMENDABLE = 2
LAST_LINES = 10
READY = "ready "


def say(words: str) -> None:
    print(f"outcry: {words}", file=sys.stderr, flush=True)


class Ended(Exception):
    """A child ended and starting it again would not help; `status` is the exit status to end with."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


class Lifeline:
    """A pipe that ends when this process does."""

    def __enter__(self) -> Self:
        self.read_fd, self.write_fd = os.pipe()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.write_fd)
        os.close(self.read_fd)


class Child:
    """One process, run from `command()` each time it starts. `ready` is what its ready line named, by name."""

    def __init__(
        self,
        name: str,
        command: Callable[[], list[str]],
        logs: Path,
        lifeline: Lifeline,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = command
        self.log = logs / f"{name}.log"
        self.lifeline = lifeline
        self.environment = {**(environment or {}), "OUTCRY_LIFELINE_FD": str(lifeline.read_fd)}
        self.ready: dict[str, str] = {}
        self.answers = asyncio.Event()  # set while it serves
        self.process: asyncio.subprocess.Process | None = None

    async def keep(self) -> None:
        """Run it, again and again; raises Ended where that is no use."""
        wait_s, early_deaths = FIRST_WAIT_S, 0
        while True:
            started_s, log_start = time.monotonic(), self.log_size()
            status = await self.run()
            if status == UNMENDABLE:
                raise Ended(self.last_lines(log_start, 1).removeprefix("outcry "), UNMENDABLE)
            early_deaths = 0 if self.answers.is_set() else early_deaths + 1
            self.answers.clear()
            if early_deaths == EARLY_DEATHS_LIMIT:
                words = f"the {self.name} keeps dying at its start; the end of {self.log}:\n"
                raise Ended(words + self.last_lines(log_start, LAST_LINES), 1)
            if time.monotonic() - started_s > STEADY_S:
                wait_s = FIRST_WAIT_S
            say(f"the {self.name} ended ({cause(status)}); starting it again")
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def run(self) -> int:
        """Start it, and return its exit status when it ends."""
        with self.log.open("ab") as log, sigint_blocked():
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self.command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                pass_fds=(self.lifeline.read_fd,),
                env={**os.environ, **self.environment},
            )
        listening = asyncio.create_task(self.listen(self.process))
        try:
            return await self.process.wait()
        finally:
            listening.cancel()

    async def listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if line.decode().startswith(READY):
                self.ready = dict(word.split("=", 1) for word in line.decode().split()[1:])
                self.answers.set()

    async def stop(self) -> bool:
        """Ask it to stop; kill it when it takes too long. Whether it stopped when asked."""
        if self.process is None or self.process.returncode is not None:
            return True
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            say(f"the {self.name} does not stop; killing it")
            self.kill()
            await self.process.wait()
            return False
        return True

    def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()

    def log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def last_lines(self, start: int, count: int) -> str:
        """The last of what this run has logged."""
        with self.log.open("rb") as log:
            log.seek(start)
            lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        return "\n".join(lines[-count:]) or f"the {self.name} ended and said nothing"


class Supervisor:
    """Children in the order of their start."""

    def __init__(self, children: list[Child]) -> None:
        self.children = children
        self.keepers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start each child when the one before it serves. Raises Ended."""
        for child in self.children:
            self.keepers.append(asyncio.create_task(child.keep()))
            telling = asyncio.create_task(tell_of(child))
            try:
                await self.until(child.answers)
            finally:
                telling.cancel()

    async def watch(self) -> None:
        """Never returns; raises Ended."""
        await self.until(asyncio.Event())

    async def until(self, event: asyncio.Event) -> None:
        waiting = asyncio.create_task(event.wait())
        try:
            await asyncio.wait([waiting, *self.keepers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        for keeper in self.keepers:
            if keeper.done():
                keeper.result()

    async def stop(self) -> bool:
        """Stop the children, the last one first. Whether all of them stopped when asked."""
        for keeper in self.keepers:
            keeper.cancel()
        await asyncio.gather(*self.keepers, return_exceptions=True)
        return all([await child.stop() for child in reversed(self.children)])

    def kill(self) -> None:
        for child in self.children:
            child.kill()


@contextmanager
def sigint_blocked() -> Iterator[None]:
    """What is started meanwhile never sees SIGINT; this process sees it a moment later."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def tell_of(child: Child) -> None:
    """Who waits long for a child is told so, and then rarely again."""
    wait_s = FIRST_NEWS_S
    while True:
        await asyncio.sleep(wait_s)
        say(f"still waiting for the {child.name} to serve; what it says is in {child.log}")
        wait_s = LATER_NEWS_S


def cause(status: int) -> str:
    if status < 0:
        return signal.Signals(-status).name
    return f"status {status}"
