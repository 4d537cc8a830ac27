"""`python -m load.bench`: time the engine alone, the Session, a unary order, the floor beside them, and the recorded
day.

Takes a few minutes. Nothing here fails because something is slow: a goal that is missed is shown as missed. Name
parts (`engine`, `session`, `unary`, `floor`, `day`) to run only those.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from load.bench import engine_alone, floor, real_day, session_stream, unary
from load.bench.figures import Figure, Skipped, machine

PARTS: dict[str, Callable[[], list[Figure]]] = {
    "engine": engine_alone.figures,
    "session": session_stream.figures,
    "unary": unary.figures,
    "floor": floor.figures,
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
                table.add_row(figure.name, figure.workload, figure.value, figure.goal, VERDICT[figure.met])
        except Skipped as reason:
            console.print(f"skipped: {reason}", highlight=False)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
