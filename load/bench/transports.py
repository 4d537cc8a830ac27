"""What each transport costs a whole order, with the servers that it is compared with beside it.

All servers run at once and are driven in turn, so that the machine's moods hit them alike: what counts is the ratio
of medians within the run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from statistics import median

from msgspec import Struct

from load.bench.cpp_echo import compiled
from load.bench.echo_server import METHOD, echo_server, echoing
from load.bench.figures import ROUNDS, Figure, Skipped
from load.bench.floor import METHOD as FLOOR_METHOD
from load.bench.floor import floor_server
from load.bench.h2load import Load, Run, Target, need_h2load
from load.bench.trader import is_accepted, resting_order, resting_orders, trader
from outcry.own_engine import StartFailed, own_engine

MANY = Load("64 streams", 64, 1, 40_000, 10_000)
LONE = Load("lone", 1, 1, 2_000, 2_000)
SPREAD = Load("8 x 16", 16, 8, 40_000, 10_000)
DEEP = Load("8 x 64", 64, 8, 40_000, 10_000)
WRITE, FSYNC = [MANY, LONE, SPREAD], [DEEP]
DURABLE = [MANY, LONE, DEEP]

ECHO = "a bare grpcio.aio echo"
CPP_SYNC, CPP_CALLBACK = "a gRPC C++ sync echo", "a gRPC C++ callback echo"
FLOOR, FLOOR_FSYNC = "the floor, write", "the floor, fsync-thread"
GRPCIO, NATIVE = "whole order, grpcio, write", "whole order, native, write"
GRPCIO_FSYNC, NATIVE_FSYNC = "whole order, grpcio, fsync", "whole order, native, fsync"

Medians = Mapping[tuple[str, str], Run]


class Goal(Struct, frozen=True):
    """`ours` in throughput, or in time where a bound is from above, as a multiple of `other`."""

    ours: str
    other: str
    load: Load
    at_least: float | None = None
    at_most: float | None = None
    dream: float | None = None


GOALS = [
    Goal(NATIVE, ECHO, MANY, at_least=6),
    Goal(NATIVE, ECHO, LONE, at_most=0.3),
    Goal(NATIVE, CPP_SYNC, MANY, at_least=1.2),
    Goal(NATIVE, CPP_CALLBACK, MANY, dream=1),
    Goal(NATIVE, FLOOR, MANY, at_least=0.6),
    Goal(NATIVE, GRPCIO, MANY, at_least=6),
    Goal(NATIVE, GRPCIO, SPREAD),
    Goal(NATIVE_FSYNC, FLOOR_FSYNC, DEEP, at_least=0.6),
    Goal(NATIVE_FSYNC, CPP_CALLBACK, DEEP, dream=1),
]


def figures() -> Iterator[Figure | Skipped]:
    try:
        need_h2load()
    except Skipped as reason:
        yield reason
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        targets: list[tuple[Target, list[Load]]] = []
        skipped: dict[str, Skipped] = {}
        for opening, loads in openings(folder):
            try:
                targets.append((stack.enter_context(opening()), loads))
            except Skipped as reason:
                skipped.setdefault(str(reason), reason)  # two servers may lack the same
        yield from skipped.values()
        medians = measured(targets, folder)
        for target, _ in targets:
            check_book(target)
    for target, loads in targets:
        yield row(target.name, loads, medians)
    for goal in GOALS:
        yield judged(goal, medians)


class Opening:
    """A server for as long as the context lasts, its first answer looked at. Skipped where it cannot be had."""

    def __init__(self, start: Callable[[ExitStack], Target], is_right: Callable[[bytes], bool]) -> None:
        self.start, self.is_right, self.stack = start, is_right, ExitStack()

    def __enter__(self) -> Target:
        try:
            target = self.start(self.stack)
            target.check(self.is_right)
        except BaseException:
            self.stack.close()
            raise
        return target

    def __exit__(self, *_: object) -> None:
        self.stack.close()


def openings(folder: Path) -> list[tuple[Callable[[], AbstractContextManager[Target]], list[Load]]]:
    """How each server is had, and what it is measured at."""
    return [
        (lambda: floor(FLOOR, "write"), WRITE),
        (lambda: echo(ECHO, echo_server, slow=True), WRITE),
        (lambda: cpp(CPP_SYNC, folder, "sync"), WRITE),
        (lambda: cpp(CPP_CALLBACK, folder, "callback"), WRITE + FSYNC),
        (lambda: gateway(GRPCIO, "grpcio", "write"), WRITE),
        (lambda: gateway(NATIVE, "native", "write"), WRITE),
        (lambda: floor(FLOOR_FSYNC, "fsync-thread"), FSYNC),
        (lambda: gateway(GRPCIO_FSYNC, "grpcio", "fsync"), DURABLE),
        (lambda: gateway(NATIVE_FSYNC, "native", "fsync"), DURABLE),
    ]


def floor(name: str, mode: str) -> Opening:
    def start(stack: ExitStack) -> Target:
        server = stack.enter_context(floor_server(mode))
        return Target(name, server.pid, server.address, FLOOR_METHOD, server.order)

    return Opening(start, lambda answer: answer.startswith(b"\x08"))  # its order id is not 0


def echo(name: str, serve: Callable[[], AbstractContextManager[tuple[str, int]]], slow: bool = False) -> Opening:
    message = resting_order()

    def start(stack: ExitStack) -> Target:
        address, pid = stack.enter_context(serve())
        return Target(name, pid, address, METHOD, message, slow=slow)

    return Opening(start, message.__eq__)


def cpp(name: str, folder: Path, kind: str) -> Opening:
    return echo(name, lambda: echoing([str(compiled(folder)), kind]))


def gateway(name: str, transport: str, durability: str) -> Opening:
    def start(stack: ExitStack) -> Target:
        try:
            engine = stack.enter_context(own_engine(durability, "--transport", transport))
        except StartFailed as problem:
            raise Skipped(f"{name}: {problem}") from None
        return Target(
            name, engine.pid, engine.address, METHOD, resting_order(), trader(engine), slow=transport == "grpcio"
        )

    return Opening(start, is_accepted)


def check_book(target: Target) -> None:
    """See that every order that was sent to one of our gateways is in its book."""
    if target.metadata and (resting := resting_orders(target.address)) != target.sent:
        raise RuntimeError(f"{target.name}: {resting} of {target.sent} orders are in the book")


def measured(targets: list[tuple[Target, list[Load]]], folder: Path) -> Medians:
    taken: dict[tuple[str, str], list[Run]] = {}
    for _ in range(ROUNDS):
        for load in (*WRITE, *FSYNC):
            for target in (target for target, loads in targets if load in loads):
                taken.setdefault((target.name, load.name), []).append(target.run(load, folder))
    return {
        key: Run(median(run.rate for run in runs), median(run.cpu_us for run in runs)) for key, runs in taken.items()
    }


def row(name: str, loads: list[Load], medians: Medians) -> Figure:
    runs = [(load, medians[name, load.name]) for load in loads]
    values = [f"{1e6 / run.rate:.0f} us" if load is LONE else f"{run.rate:,.0f}/s" for load, run in runs]
    cpu = " / ".join(f"{run.cpu_us:.1f}" for _, run in runs)
    workload = "h2load: " + "; ".join(load.name for load in loads)
    return Figure(name, workload, f"{'; '.join(values)}; CPU us a call {cpu}")


def judged(goal: Goal, medians: Medians) -> Figure:
    name = f"{goal.ours} over {goal.other}"
    what = f"{goal.load.name}, {'throughput' if goal.at_most is None else 'time'}"
    ours, other = medians.get((goal.ours, goal.load.name)), medians.get((goal.other, goal.load.name))
    ratio = None
    if ours is not None and other is not None:
        ratio = ours.rate / other.rate if goal.at_most is None else other.rate / ours.rate
    return ratio_figure(name, what, ratio, goal.at_least, goal.at_most, goal.dream)


def ratio_figure(
    name: str,
    workload: str,
    ratio: float | None,
    at_least: float | None = None,
    at_most: float | None = None,
    dream: float | None = None,
) -> Figure:
    """A line that compares; a dream is told, not judged."""
    words = [(">= {:g}x", at_least), ("<= {:g}x", at_most), ("dream: {:g}x", dream)]
    goal = next((form.format(bound) for form, bound in words if bound is not None), "")
    if ratio is None:
        return Figure(name, workload, "not measured", goal)
    met = None
    if at_least is not None:
        met = ratio >= at_least
    elif at_most is not None:
        met = ratio <= at_most
    return Figure(name, workload, f"{ratio:.2f}x", goal, met)
