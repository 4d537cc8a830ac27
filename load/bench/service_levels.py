"""What 100 traders wait for an order by REST, at normal load and at twice what the bridge can take.

Normal load is half of the capacity. A connection of HTTP/1.1 carries one request at a time, so a trader who does not
wait for answers has several: at twice the capacity there are more of them than the bridge lets in at once. A request
that is shed is answered, too, and counts as such.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from msgspec import Struct

from load.bench.figures import ROUNDS, Figure, Skipped
from load.bench.h2load import need_h2load
from load.bench.open_loop import Driver, Load, Row, per_second, seconds
from load.bench.overload import LASTS_S
from load.bench.trader import INSTRUMENT, trader
from outcry.own_engine import OwnEngine, own_engine, running

TRADERS = 100
EACH = 20  # connections of a trader who does not wait
PEAK_S = 5.0
READY = "ready http="
LEVELS = {95: 0.5, 99: 2.0, 100: 5.0}  # seconds, by percentile
DONE = 200


class NotUp(Exception):
    """The bridge did not come up."""


class Measure(Struct, frozen=True):
    offered: float  # and answered, a second
    done: float  # a second
    waits: dict[int, float]  # seconds, by percentile


def figures() -> Iterator[Figure | Skipped]:
    try:
        need_h2load()
    except Skipped as reason:
        yield reason
        return
    for durability in ("write", "fsync"):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            yield from judged(durability, measured(durability, Path(folder)))


def measured(durability: str, folder: Path) -> dict[str, list[Measure]]:
    taken: dict[str, list[Measure]] = {"normal load": [], "twice the capacity": []}
    with own_engine(durability) as engine, own_bridge(engine, folder) as url:
        order = {"instrument_id": INSTRUMENT, "side": "buy", "quantity": 1, "price": 100}
        headers = [("content-type", "application/json"), *trader(engine)]
        driver = Driver(f"{url}/exchange/orders", json.dumps(order).encode(), headers, folder, ("--h1",))
        driver.run(Load(TRADERS, 1), PEAK_S)  # everything is warm
        for _ in range(ROUNDS):
            capacity = per_second([row for row in driver.run(Load(TRADERS, 1), PEAK_S) if row.status == DONE])
            for name, load in (
                ("normal load", Load(TRADERS, 1, capacity / 2)),
                ("twice the capacity", Load(TRADERS * EACH, 1, capacity * 2)),
            ):
                taken[name].append(measure(driver.run(load, LASTS_S)))
    return taken


def measure(rows: list[Row]) -> Measure:
    done = [row for row in rows if row.status == DONE]
    offered = per_second(rows)
    return Measure(offered, offered * len(done) / len(rows), {percent: seconds(rows, percent) for percent in LEVELS})


@contextmanager
def own_bridge(engine: OwnEngine, folder: Path) -> Iterator[str]:
    """A bridge before the engine; its address."""
    key = str(engine.data / "keys" / "bridge.key")
    command = [sys.executable, "-m", "rest_bridge", "--http", "127.0.0.1:0", "--grpc", engine.address]
    with (folder / "bridge.log").open("wb") as log, running([*command, "--service-key", key], log.fileno()) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line.startswith(READY):
            raise NotUp((folder / "bridge.log").read_text(errors="replace"))
        yield line.removeprefix(READY).split()[0]


def judged(durability: str, taken: dict[str, list[Measure]]) -> Iterator[Figure]:
    for name, measures in taken.items():
        offered, done = median(m.offered for m in measures), median(m.done for m in measures)
        waits = {percent: median(m.waits[percent] for m in measures) for percent in LEVELS}
        yield Figure(
            f"POST /exchange/orders, 100 traders, {name}",
            f"{durability}, {offered:,.0f}/s for {LASTS_S:.0f} s, {done:,.0f}/s of them accepted",
            ", ".join(f"{words(percent)} {waits[percent] * 1e3:,.0f} ms" for percent in LEVELS),
            ", ".join(f"{words(percent)} < {limit * 1e3:,.0f}" for percent, limit in LEVELS.items()),
            all(waits[percent] < limit for percent, limit in LEVELS.items()),
        )


def words(percent: int) -> str:
    return "all" if percent == 100 else f"{percent}%"
