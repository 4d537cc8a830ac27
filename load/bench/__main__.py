"""`python -m load.bench`: time the engine alone, its snapshots, starts, the Session, a unary order, the transports
with a floor and gRPC C++ beside them, twice the load that can be taken by gRPC and by REST, and the recorded day.

Takes a few minutes. Nothing here fails because something is slow: a goal that is missed is shown as missed. Name
parts (`engine`, `snapshots`, `recovery`, `session`, `unary`, `wire`, `overload`, `levels`, `day`) to run only those.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from itertools import chain

from rich.console import Console
from rich.table import Table

from load.bench import (
    beside_snapshot,
    engine_alone,
    overload,
    real_day,
    recovery,
    service_levels,
    session_stream,
    snapshots,
    unary,
    wire,
)
from load.bench.figures import Figure, Skipped, machine

PARTS: dict[str, Callable[[], Iterable[Figure | Skipped]]] = {
    "engine": engine_alone.figures,
    "snapshots": lambda: chain(snapshots.figures(), beside_snapshot.figures()),
    "recovery": recovery.figures,
    "session": session_stream.figures,
    "unary": unary.figures,
    "wire": wire.figures,
    "overload": overload.figures,
    "levels": service_levels.figures,
    "day": real_day.figures,
}
VERDICT = {None: "", True: "met", False: "[red]missed[/]"}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"no such part: {unknown[0]}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table("figure", "workload", "median", "goal", "", title=machine())
    for name in names or PARTS:
        console.print(f"measuring: {name}", style="dim")
        try:
            for figure in PARTS[name]():
                show(figure, table, console)
        except Skipped as reason:
            show(reason, table, console)
    console.print(table)
    return 0


def show(figure: Figure | Skipped, table: Table, console: Console) -> None:
    if isinstance(figure, Skipped):
        console.print(f"skipped: {figure}", highlight=False)
    else:
        table.add_row(figure.name, figure.workload, figure.value, figure.goal, VERDICT[figure.met])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
