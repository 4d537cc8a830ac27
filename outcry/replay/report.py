"""The result of a replay for people: a table of figures, and the first differences by name."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from outcry.replay.comparison import Tally
from outcry.replay.play import Report

NAMED = 10  # differences that are printed


def percentile(values: list[int], percent: int) -> int:
    """The smallest value that at least `percent` of `values` do not exceed; 0 of none."""
    if not values:
        return 0
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(rank, 1) - 1]


def milliseconds(duration_ns: int) -> str:
    return f"{duration_ns / 1_000_000:.2f} ms"


def per_second(amount: int, duration_ns: int) -> str:
    return f"{amount * 1_000_000_000 // max(duration_ns, 1):,}/s"


def score(tally: Tally) -> str:
    return f"{tally.equal:,} of {tally.compared:,}"


def show(report: Report, console: Console) -> None:
    """Print the figures. A round trip is a batch's: from handing it to the channel to having its results."""
    comparison, duration_ns = report.comparison, report.duration_ns
    table = Table(show_header=False, box=None)
    table.add_row("rows equal", score(comparison.books) if comparison.books.compared else "not compared")
    table.add_row("makers equal", score(comparison.makers))
    table.add_row("instructions accepted", score(comparison.instructions))
    table.add_row("time", f"{duration_ns / 1_000_000_000:.1f} s")
    table.add_row("instructions", per_second(report.commands, duration_ns))
    if report.queries:
        table.add_row("with the books asked for", per_second(report.commands + report.queries, duration_ns))
    table.add_row("batches", f"{len(report.round_trips_ns):,}")
    table.add_row("round trip of a batch, p50", milliseconds(percentile(report.round_trips_ns, 50)))
    table.add_row("round trip of a batch, p99", milliseconds(percentile(report.round_trips_ns, 99)))
    console.print(table)
    for difference in comparison.differences()[:NAMED]:
        where = f"row {difference.row}, {difference.where}"
        console.print(
            f"[red]different[/]: {where}: expected {difference.expected}, got {difference.got}", highlight=False
        )
    if comparison.different:
        console.print(f"[red]{comparison.different:,} differences[/]")
