"""Small journals to write, damage and read again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from engine.commands import Command, NewOrder
from gateway.journal import Durability, Journal
from gateway.segments import Entry

TIME_NS = 1_705_314_645_000_000_000


def order(seq: int) -> NewOrder:
    return NewOrder(7, f"order-{seq}", "SPX_4500_CALL", 1, 1, 1, seq * 1_000_000_000, 127_000_000_000)


def entry(seq: int) -> Entry:
    command: Command = order(seq)
    return Entry(seq, TIME_NS + seq, command)


def write_batches(journal: Journal, sizes: Sequence[int]) -> list[BaseException | None]:
    """Commit batches of the given sizes, going on from what is there; what each commit reported."""
    reports: list[BaseException | None] = []
    for size in sizes:
        for _ in range(size):
            seq = journal.last_seq + len(journal.buffer) + 1
            journal.append(seq, TIME_NS + seq, order(seq))
        journal.commit(reports.append)
    return reports


def make_journal(directory: Path, sizes: Sequence[int], *, segment_bytes: int = 1 << 20) -> list[Path]:
    """A closed journal of batches of the given sizes; its files in order."""
    journal = Journal.open(directory, durability=Durability.WRITE, segment_bytes=segment_bytes)
    assert write_batches(journal, sizes) == [None] * len(sizes)
    journal.close()
    return sorted(directory.glob("*.journal"))


def read_journal(directory: Path) -> list[Entry]:
    """What a start would replay, with what it knows before."""
    journal = Journal.open(directory, durability=Durability.WRITE)
    try:
        found = list(journal.replay())
        assert [e.seq for e in found] == list(range(1, journal.last_seq + 1))
        assert journal.last_time_ns == (found[-1].time_ns if found else 0)
        return found
    finally:
        journal.close()


async def committed(journal: Journal) -> BaseException | None:
    """Commit what is buffered, and wait for the report."""
    report: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    journal.commit(report.set_result)
    return await report
