"""Two files of one day: what to tell an exchange, and what its book must be after each row.

`commands` has a heading and the columns `row,op,id,side,price,quantity`; rows count from 0, and -1 is the book at the
open. `book` has one line per row, from 0: ask price, ask size, bid price, bid size, level after level. Prices are
dollars x 10,000 and sizes are whole; both become units of 1e-9 here, exactly. A level that is empty has a price of its
own, far away. Files may be gzipped.

The two are read side by side and never held: a step is one row, its commands and its book. A row may have a book and
no commands, because what happened then was not to be seen.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import IO

from msgspec import Struct

from outcry.replay.errors import ReplayFailed

PRICE_UNIT = 100_000  # a ten-thousandth of a dollar, in units of 1e-9
QUANTITY_UNIT = 1_000_000_000
EMPTY_LEVEL = 9_999_999_999  # the price of a level that is not there; negative on the bid side
OPENING_ROW = -1
LEVEL_COLUMNS = 4
HEADING = "row,op,id,side,price,quantity"


class Op(StrEnum):
    SEED = "SEED"
    DROP = "DROP"
    ADD = "ADD"
    REDUCE = "REDUCE"
    CANCEL = "CANCEL"
    HIT = "HIT"
    TAKE = "TAKE"


class Command(Struct, frozen=True, gc=False):
    """One line of the file. `buys` is the side of the resting order that `id` names. Amounts in units of 1e-9."""

    row: int
    op: Op
    id: int
    buys: bool
    price: int
    quantity: int


class Step(Struct, frozen=True):
    """One row: its commands, and the line of the book file that must hold after them."""

    row: int
    commands: list[Command]
    book: str | None


class Levels(Struct, frozen=True):
    """A book as the file tells it: per level (price, quantity), best first, the empty ones left out."""

    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]


@contextmanager
def opened(path: Path) -> Iterator[IO[str]]:
    """The lines of a file, gzipped or not. ReplayFailed where they cannot be read."""
    if not path.is_file():
        raise ReplayFailed(f"{path} is not a file")
    try:
        with gzip.open(path, "rt", encoding="ascii") if path.suffix == ".gz" else path.open(encoding="ascii") as lines:
            yield lines
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as problem:
        raise ReplayFailed(f"{path} cannot be read: {problem}") from None


def commands(path: Path) -> Iterator[Command]:
    """Yield the commands of `path`. ReplayFailed names the line that is none, or that goes back in rows."""
    last_row = OPENING_ROW
    with opened(path) as lines:
        if next(lines, "").strip() != HEADING:
            raise ReplayFailed(f"{path} does not begin with {HEADING}")
        for number, line in enumerate(lines, start=2):
            try:
                command = parsed(line)
            except (ValueError, KeyError):
                raise ReplayFailed(f"{path}, line {number}: not a command: {line.strip()}") from None
            if command.row < last_row:
                raise ReplayFailed(f"{path}, line {number}: row {command.row} comes after row {last_row}")
            last_row = command.row
            yield command


def parsed(line: str) -> Command:
    row, op, order_id, side, price, quantity = line.split(",")
    return Command(int(row), Op(op), int(order_id), BUYS[side], int(price) * PRICE_UNIT, int(quantity) * QUANTITY_UNIT)


BUYS = {"1": True, "-1": False}


def depth(path: Path) -> int:
    """How many levels a side the book file has."""
    with opened(path) as lines:
        columns = len(next(lines, "").split(","))
    if columns % LEVEL_COLUMNS:
        raise ReplayFailed(f"{path} has {columns} columns, which is no number of levels")
    return columns // LEVEL_COLUMNS


def levels(line: str) -> Levels:
    """The book in one line of the book file. ReplayFailed where it is not one."""
    try:
        numbers = [int(cell) for cell in line.split(",")]
        return Levels(side(numbers[2::4], numbers[3::4]), side(numbers[0::4], numbers[1::4]))
    except ValueError:
        raise ReplayFailed(f"not a row of a book: {line.strip()}") from None


def side(prices: list[int], sizes: list[int]) -> list[tuple[int, int]]:
    return [
        (price * PRICE_UNIT, size * QUANTITY_UNIT)
        for price, size in zip(prices, sizes, strict=True)
        if abs(price) != EMPTY_LEVEL
    ]


def steps(commands_path: Path, book_path: Path | None = None, row_limit: int | None = None) -> Iterator[Step]:
    """Yield the day row by row, the opening first; with `row_limit`, only so many rows after it."""
    grouped = groupby(commands(commands_path), key=lambda command: command.row)
    rows = ((row, list(group)) for row, group in grouped)
    together = alone(rows) if book_path is None else beside(rows, book_path)
    for step in together:
        if row_limit is not None and step.row >= row_limit:
            return
        yield step


Rows = Iterator[tuple[int, list[Command]]]


def alone(rows: Rows) -> Iterator[Step]:
    for row, group in rows:
        yield Step(row, group, None)


def beside(rows: Rows, book_path: Path) -> Iterator[Step]:
    """Join the commands with the lines of the book; a row that has none of the first still has one of the second."""
    row, group = next(rows, (OPENING_ROW, []))
    if row == OPENING_ROW:
        yield Step(row, group, None)
        row, group = next(rows, (OPENING_ROW, []))
    with opened(book_path) as lines:
        for number, line in enumerate(lines):
            if row == number:
                yield Step(number, group, line)
                row, group = next(rows, (OPENING_ROW, []))
            else:
                yield Step(number, [], line)
    if row != OPENING_ROW:
        raise ReplayFailed(f"{book_path} ends before row {row} of the commands")


def row_count(commands_path: Path, book_path: Path | None, row_limit: int | None) -> int:
    """How many rows there are to play: for the progress bar."""
    if book_path is None:
        rows = 1 + max((command.row for command in commands(commands_path)), default=OPENING_ROW)
    else:
        with opened(book_path) as lines:
            rows = sum(1 for _ in lines)
    return rows if row_limit is None else min(rows, row_limit)
