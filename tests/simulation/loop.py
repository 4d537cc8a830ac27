"""An event loop in simulated time: callbacks in the order that asyncio promises, and between them time jumps.

Nothing runs beside it. A thread's work is done in one piece, a moment after it was asked for, and so is the journal's.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from itertools import count
from random import Random
from typing import Any

from gateway.journal import Job, OnDurable
from tests.simulation.disk import Died, SimulatedDisk

SECOND_NS = 1_000_000_000
MS_NS = 1_000_000


class SimulatedLoop(asyncio.AbstractEventLoop):
    """`now_ns` is the time of everything that runs. Died comes out of `run` where the process ends at the disk.

    What asyncio is asked for is the process's own and ends with it; what waits by `after` is the world's outside of it.
    """

    def __init__(self, disk: SimulatedDisk, random: Random) -> None:
        self.disk = disk
        self.random = random
        self.now_ns = 0
        self.ready: deque[tuple[asyncio.Handle, bool]] = deque()
        self.timers: list[tuple[int, int, asyncio.Handle, bool]] = []
        self.order = count()
        self.tasks: list[asyncio.Task[Any]] = []

    @contextmanager
    def current(self) -> Iterator[None]:
        """Be the running loop for a while."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(before)

    def run(self, until_ns: int, is_done: Callable[[], bool] = lambda: False) -> None:
        """Run what is due up to a moment, or until `is_done`."""
        with self.current():
            while not is_done():
                while self.timers and self.timers[0][0] <= self.now_ns:
                    self.ready.append(heapq.heappop(self.timers)[2:])
                if self.ready:
                    for _ in range(len(self.ready)):
                        self.do(self.ready.popleft()[0])
                elif self.timers and self.timers[0][0] <= until_ns:
                    self.now_ns = self.timers[0][0]
                else:
                    self.now_ns = max(self.now_ns, until_ns)
                    return

    def do(self, handle: asyncio.Handle) -> None:
        if not handle.cancelled():
            handle._context.run(handle._callback, *handle._args)  # type: ignore[attr-defined]
        if self.disk.dead:
            raise Died  # a task would have kept it to itself

    def kill(self) -> None:
        """Nothing of the process that waits here runs any more."""
        self.ready = deque(entry for entry in self.ready if entry[1])
        self.timers = [entry for entry in self.timers if entry[3]]
        heapq.heapify(self.timers)
        for task in self.tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                task.get_coro().close()
        self.tasks.clear()

    # What asyncio asks for

    def time(self) -> float:
        return self.now_ns / SECOND_NS

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append((handle, False))
        return handle

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        return self.at(when, callback, args, context, False)

    def at(self, when: float, callback: Any, args: Any, context: Context | None, outside: bool) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self.timers, (round(when * SECOND_NS), next(self.order), handle, outside))
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def after(self, delay_ns: int, callback: Any, *args: Any) -> asyncio.TimerHandle:
        return self.at((self.now_ns + delay_ns) / SECOND_NS, callback, args, None, True)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer stays where it is, and does nothing."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        task = asyncio.Task(coro, loop=self, **kwargs)
        self.tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, function: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        self.call_later(self.random.randint(0, 2) / 1000, self.execute, future, function, args)
        return future

    def execute(self, future: asyncio.Future[Any], function: Any, args: Any) -> None:
        if future.done():
            return
        try:
            future.set_result(function(*args))
        except Exception as problem:
            future.set_exception(problem)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What a task died of is looked at where the task is kept."""


class SimulatedCommitThread:
    """Does the journal's jobs one after the other, each after the disk's `latency_ns`, and tells a little later."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.latency_ns = MS_NS
        self.jobs: deque[tuple[Job, OnDurable]] = deque()
        self.busy = False

    def do(self, job: Job, on_done: OnDurable) -> None:
        self.jobs.append((job, on_done))
        if not self.busy:
            self.begin()

    def begin(self) -> None:
        self.busy = bool(self.jobs)
        if self.busy:
            self.loop.call_later(self.loop.random.randint(0, self.latency_ns) / SECOND_NS, self.work)

    def work(self) -> None:
        if self.jobs:
            job, on_done = self.jobs.popleft()
            self.loop.call_later(self.loop.random.randint(0, MS_NS) / SECOND_NS, on_done, job())
            self.begin()

    def close(self) -> None:
        while self.jobs:
            job, _ = self.jobs.popleft()
            job()
