"""`outcry replay`: play a recorded day through a running engine, or through one of its own, and compare."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from outcry.addresses import dialled
from outcry.channels import open_async_channel
from outcry.own_engine import StartFailed, own_engine
from outcry.replay.errors import ReplayFailed
from outcry.replay.files import row_count
from outcry.replay.play import BATCH, Day, Report, replay
from outcry.replay.report import show

DIFFERENT, FAILED = 1, 2  # exit statuses


class Durability(StrEnum):
    WRITE = "write"
    FSYNC = "fsync"


def command(
    commands: Annotated[Path, typer.Argument(help="commands.csv or commands.csv.gz")],
    instrument: Annotated[str, typer.Option(help="the instrument to trade; listed when it is not there")],
    book: Annotated[Path | None, typer.Option(help="book.csv or book.csv.gz: compare the book after each row")] = None,
    grpc: Annotated[str, typer.Option(envvar="OUTCRY_GRPC", help="HOST:PORT or unix:PATH of a running engine")] = "",
    api_key: Annotated[str, typer.Option(envvar="OUTCRY_API_KEY", help="an operator's key at that engine")] = "",
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            envvar="OUTCRY_TLS_CA", help="PEM roots to trust at --grpc; turns TLS on", exists=True, dir_okay=False
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="instructions in one message")] = BATCH,
    limit_rows: Annotated[int | None, typer.Option(min=1, help="stop after so many rows")] = None,
    durability: Annotated[Durability, typer.Option(help="of an engine of its own")] = Durability.WRITE,
) -> None:
    """Play a recorded day through the engine, and compare book and makers with what was recorded.

    Without --grpc and --api-key it starts an engine of its own. Exit status 1: something differs; 2: it could not be
    played.
    """
    day = Day(commands, book, instrument, batch, limit_rows)
    errors = Console(stderr=True)
    try:
        with engine(grpc, api_key, durability) as (address, key):
            report = played(day, address, key, tls_ca.read_bytes() if tls_ca and grpc else None)
    except (ReplayFailed, StartFailed) as failure:
        errors.print(f"[red]replay failed[/]: {failure}", highlight=False)
        raise typer.Exit(FAILED) from None
    show(report, Console())
    if report.comparison.different:
        raise typer.Exit(DIFFERENT)


@contextmanager
def engine(address: str, api_key: str, durability: Durability) -> Iterator[tuple[str, str]]:
    """The address of the engine to play through, and its operator's key."""
    if address and api_key:
        yield address, api_key
    elif address or api_key:
        raise ReplayFailed("--grpc and --api-key go together: give both, or neither for an engine of its own")
    else:
        with own_engine(durability.value) as own:
            yield own.address, own.operator_key


def played(day: Day, address: str, api_key: str, root_certificates: bytes | None) -> Report:
    rows = row_count(day.commands, day.book, day.row_limit)
    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())

    async def play() -> Report:
        async with open_async_channel(dialled(address), root_certificates) as channel:
            return await replay(channel, api_key, day, lambda row: progress.update(task, completed=row + 1))

    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("rows", total=rows)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(play())
