"""Batches of instructions on their way: many at once for one party, never for two.

The exchange answers one Session in order, and promises nothing between two of them. The order of the file is kept by a
simple rule: as long as one party speaks, its batches follow each other without waiting, at most `WINDOW` of them
unanswered; before the other party speaks, all of them have been answered.

    maker  ──▶──▶──▶──┐ answered        ┌──▶──▶
    taker             └──▶──┐ answered ─┘

Each batch is judged as it is answered, by the judges that came with its instructions.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import grpc
from msgspec import Struct

from outcry import v1
from outcry.replay.errors import ReplayFailed
from outcry.replay.translation import Party

WINDOW = 16  # batches unanswered
ENDED = "the engine ended the session"

Judge = Callable[[v1.Result], None]
Call = grpc.aio.StreamStreamCall[v1.Instructions, v1.Results]


class Batch(Struct):
    """Instructions of one party and, in the same order, what judges their results."""

    party: Party
    instructions: list[v1.Instruction]
    judges: list[Judge]
    row: int = 0  # the last one it touches
    sent_ns: int = 0


class Pipeline:
    """One Session per party. `on_answered` is called with each batch after it has been judged.

    `round_trips_ns` is the time from handing a batch to the channel to having its results, batch by batch.
    """

    def __init__(self, calls: dict[Party, Call], on_answered: Callable[[Batch], None]) -> None:
        self.calls = calls
        self.on_answered = on_answered
        self.unanswered: deque[Batch] = deque()
        self.answered = asyncio.Event()
        self.round_trips_ns: list[int] = []

    async def send(self, batch: Batch) -> None:
        """Send `batch` as soon as the rule allows. ReplayFailed where the engine has ended the session."""
        unanswered = self.unanswered
        while len(unanswered) >= WINDOW or (unanswered and unanswered[0].party is not batch.party):
            await self.an_answer()
        batch.sent_ns = time.perf_counter_ns()
        unanswered.append(batch)
        try:
            await self.calls[batch.party].write(v1.Instructions(instructions=batch.instructions))
        except asyncio.InvalidStateError:  # the call is over, and its reader has not been told yet
            raise ReplayFailed(ENDED) from None

    async def an_answer(self) -> None:
        self.answered.clear()
        await self.answered.wait()

    async def drained(self) -> None:
        """Return when everything sent has been answered."""
        while self.unanswered:
            await self.an_answer()

    async def receive(self, party: Party) -> None:
        """Judge the results of one party until its Session ends. ReplayFailed where it ends too early."""
        async for results in self.calls[party]:
            batch = self.unanswered.popleft()
            self.round_trips_ns.append(time.perf_counter_ns() - batch.sent_ns)
            if len(results.results) != len(batch.judges):
                raise ReplayFailed(f"{len(results.results)} results for {len(batch.judges)} instructions")
            for judge, result in zip(batch.judges, results.results, strict=True):
                judge(result)
            self.on_answered(batch)
            self.answered.set()
        if self.unanswered:
            raise ReplayFailed(ENDED)

    async def close(self) -> None:
        await self.drained()
        for call in self.calls.values():
            await call.done_writing()
