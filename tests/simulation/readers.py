"""Readers of private feeds, who come, go, lag and resume by number, and keep what they were given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from outcry import v1
from tests.simulation.exchange import RunningExchange, key
from tests.simulation.network import Refusal, refusal
from tests.simulation.promises import require


class Ended(Exception):
    """The server has ended the stream."""


class Reader:
    """One follower of one account, over all its connections. `last` is the number of the last event it has."""

    def __init__(self, account: int, heard: Callable[[int, int, v1.ExecutionReport], None]) -> None:
        self.account = account
        self.heard = heard
        self.last = 0
        self.pause_ns = 0  # after each message
        self.task: asyncio.Task[None] | None = None
        self.refusal: Refusal | None = None
        self.resumed = 0

    @property
    def is_connected(self) -> bool:
        return self.task is not None and not self.task.done()

    def connect(self, running: RunningExchange) -> None:
        if not self.is_connected:
            if self.refusal is not None and self.refusal.reason == "SEQUENCE_OUT_OF_RANGE":
                first = running.event_log.first_number(self.account)
                require(first > self.last + 1, "a feed cannot be resumed after", self.last)
                self.last = first - 1
            self.refusal = None
            self.running = running
            self.resumed += 1
            request = v1.StreamExecutionsRequest(from_seq=self.last)
            with running.loop.current():
                stream = running.execution_feed.StreamExecutions(request, self)
                self.task = running.loop.create_task(stream)

    def disconnect(self) -> None:
        if self.is_connected:
            assert self.task is not None
            with self.running.loop.current():
                self.task.cancel()
            self.task = None

    # The server's end of the call

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-api-key", key(self.account)),)

    def peer(self) -> str:
        return "unix:"

    async def write(self, message: v1.ExecutionReports) -> None:
        for report in message.reports:
            self.heard(self.account, self.last, report)
            self.last = report.seq
        if self.pause_ns:
            await asyncio.sleep(self.pause_ns / 10**9)

    async def abort(self, code: object, words: str, trailing: Any) -> None:
        self.refusal = refusal(trailing)
        raise Ended
