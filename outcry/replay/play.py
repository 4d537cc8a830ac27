"""The whole replay: read, translate, send, judge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import grpc
from msgspec import Struct

from outcry import v1
from outcry.replay import files
from outcry.replay.comparison import Comparison
from outcry.replay.errors import ReplayFailed
from outcry.replay.maker_feed import MakerFeed
from outcry.replay.pipeline import Batch, Judge, Pipeline
from outcry.replay.stage import Account, Stage
from outcry.replay.translation import Party, Request, Translation

BATCH = 100


class Day(Struct, frozen=True):
    """What to play: the files, the instrument, how many instructions make a batch, and how many rows at most."""

    commands: Path
    book: Path | None
    instrument_id: str
    batch: int = BATCH
    row_limit: int | None = None


class Report(Struct, frozen=True):
    """What came of it. `commands` counts the file's, `queries` the books asked for beside them."""

    comparison: Comparison
    commands: int
    queries: int
    duration_ns: int
    round_trips_ns: list[int]


class Sent(Struct, frozen=True, gc=False):
    row: int
    party: Party
    instruction: v1.Instruction
    judge: Judge


async def replay(
    channel: grpc.aio.Channel, operator_key: str, day: Day, on_row: Callable[[int], None] = lambda row: None
) -> Report:
    """Play `day` through the exchange behind `channel`, and compare. `on_row` is told how far it has come.

    ReplayFailed where the files do not fit their format, the instrument is in use, or the exchange goes away.
    """
    run = format(time.time_ns(), "x")
    try:
        accounts = await Stage(channel, operator_key, day.instrument_id).prepare(run)
        async with cleared(accounts[Party.MAKER], day.instrument_id):
            return await played(accounts, day, run, on_row)
    except grpc.aio.AioRpcError as error:
        raise ReplayFailed(f"the engine answered {error.code().name}: {error.details()}") from None


@asynccontextmanager
async def cleared(account: Account, instrument_id: str) -> AsyncIterator[None]:
    """Leave an empty book, however it ends, so that the next run finds one."""
    try:
        yield
    finally:
        with suppress(grpc.aio.AioRpcError):
            await account.cancel_all(instrument_id)


async def played(accounts: dict[Party, Account], day: Day, run: str, on_row: Callable[[int], None]) -> Report:
    comparison = Comparison()
    feed = MakerFeed(accounts[Party.MAKER], comparison.fill)
    calls = {party: account.session() for party, account in accounts.items()}
    pipeline = Pipeline(calls, lambda batch: on_row(batch.row))
    script = Script(day, run, comparison)
    started_ns = time.perf_counter_ns()
    try:
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(feed.follow())
            receiving = [tasks.create_task(pipeline.receive(party)) for party in calls]
            for batch in batches(script.sent(), day.batch):
                await pipeline.send(batch)
            await pipeline.close()
            await asyncio.wait(receiving)
            await feed.reach(await accounts[Party.MAKER].cancel_all(day.instrument_id))
            following.cancel()
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    comparison.judge_makers()
    duration_ns = time.perf_counter_ns() - started_ns
    return Report(comparison, script.commands, script.queries, duration_ns, pipeline.round_trips_ns)


class Script:
    """The day as what is to be sent: each command, and after each row of the book file a question for the book."""

    def __init__(self, day: Day, run: str, comparison: Comparison) -> None:
        self.day = day
        self.comparison = comparison
        self.translation = Translation(day.instrument_id, run)
        self.commands = 0
        self.queries = 0

    def sent(self) -> Iterator[Sent]:
        day, comparison, party = self.day, self.comparison, Party.MAKER
        question = self.question() if day.book else None
        for step in files.steps(day.commands, day.book, day.row_limit):
            for command in step.commands:
                request = self.translation.request(command)
                party = request.party
                yield Sent(step.row, party, request.instruction, self.judge(command, request))
            self.commands += len(step.commands)
            if step.book is not None and question is not None:
                self.queries += 1
                yield Sent(step.row, party, question, partial(comparison.book, step.row, step.book))

    def question(self) -> v1.Instruction:
        depth = files.depth(self.day.book) if self.day.book else 0
        return v1.Instruction(get_order_book=v1.GetOrderBookRequest(instrument_id=self.day.instrument_id, depth=depth))

    def judge(self, command: files.Command, request: Request) -> Judge:
        if request.maker is None:
            return partial(self.comparison.accepted, command.row)
        return partial(self.comparison.hit, command.row, request.maker, command.quantity)


def batches(sent: Iterator[Sent], size: int) -> Iterator[Batch]:
    """Cut the script into batches: of one party each, of at most `size` instructions."""
    batch = Batch(Party.MAKER, [], [])
    for one in sent:
        if batch.instructions and (one.party is not batch.party or len(batch.instructions) >= size):
            yield batch
            batch = Batch(one.party, [], [])
        batch.party, batch.row = one.party, one.row
        batch.instructions.append(one.instruction)
        batch.judges.append(one.judge)
    if batch.instructions:
        yield batch
