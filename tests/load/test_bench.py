"""How figures are taken. What they are is no matter for tests."""

from __future__ import annotations

import os
import time
from math import inf
from pathlib import Path

import pytest

from load.bench.echo_server import METHOD, echo_server
from load.bench.figures import alternating, cpu_seconds
from load.bench.h2load import Load, Run, Target, framed
from load.bench.open_loop import Driver, Row, per_second, seconds
from load.bench.overload import SLICE_S, normal_after_s
from load.bench.raw_http2 import RawClient
from load.bench.transports import Goal, judged
from outcry.replay.report import percentile


def test_measures_take_turns_and_the_median_counts() -> None:
    order: list[str] = []
    values = {"a": [1.0, 9.0, 2.0], "b": [5.0, 4.0, 6.0]}

    def measure(name: str) -> float:
        order.append(name)
        return values[name][order.count(name) - 1]

    assert alternating({"a": lambda: measure("a"), "b": lambda: measure("b")}) == {"a": 2.0, "b": 5.0}
    assert order == ["a", "b"] * 3


def test_the_cpu_time_of_a_process_is_its_own() -> None:
    before, own = cpu_seconds(os.getpid()), time.process_time()
    assert before <= own < before + 1


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = list(range(100, 0, -1))
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (50, 99, 100)
    assert percentile([7], 50) == 7
    assert percentile([], 99) == 0


LOAD = Load("some", 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal("ours", "other", LOAD, at_least=2), "2.00x", True),
        (Goal("ours", "other", LOAD, at_least=2.1), "2.00x", False),
        (Goal("ours", "other", LOAD, at_most=0.5), "0.50x", True),
        (Goal("ours", "other", LOAD, at_most=0.4), "0.50x", False),
        (Goal("ours", "other", LOAD, dream=3), "2.00x", None),
        (Goal("ours", "absent", LOAD, at_least=2), "not measured", None),
    ],
)
def test_a_bound_from_below_is_of_throughput_and_one_from_above_of_time(
    goal: Goal, value: str, met: bool | None
) -> None:
    figure = judged(goal, {("ours", "some"): Run(200.0, 1.0), ("other", "some"): Run(100.0, 1.0)})
    assert (value, met) == (figure.value, figure.met)


def test_requests_made_beforehand_are_each_answered_though_the_header_table_overflows() -> None:
    calls = 1_000
    with echo_server() as (address, _):
        client = RawClient(address)
        requests = [client.encoded(METHOD, b"same", f"{30_000_000 - number}u", ()) for number in range(calls)]
        client.replay(requests, b"same", in_flight=64)
        client.close()
    assert [framed(b"same")] * calls == list(client.answers.values())


def test_a_run_whose_calls_were_refused_is_no_run() -> None:
    said = "finished in 1s, 10 req/s\n10 succeeded\ntraffic: 1KB (1000) total, 1KB (900) headers, 0B ({}) data"
    target = Target("server", 0, "", "", b"", answer_bytes=5)
    assert target.rate(said.format(100), 10) == 10.0
    with pytest.raises(RuntimeError, match="refused"):
        target.rate(said.format(99), 10)


def answers(*taken_us: int, every_s: float = SLICE_S) -> list[Row]:
    """Answers to requests that were sent one a slice of time."""
    return [Row(int((number + 0.5) * every_s * 1e6), 200, taken) for number, taken in enumerate(taken_us)]


def test_it_is_normal_again_at_the_end_of_the_first_slice_of_time_that_is() -> None:
    assert normal_after_s(answers(900, 800, 90, 900), 0, 100e-6) == 3 * SLICE_S
    assert normal_after_s(answers(90), 0, 100e-6) == SLICE_S
    assert normal_after_s(answers(900, 800), 0, 100e-6) == inf


def test_what_was_offered_is_counted_from_the_first_to_the_last_request() -> None:
    assert per_second(answers(*[10] * 11, every_s=0.1)) == pytest.approx(11)
    assert seconds(answers(100, 300, 200), 50) == pytest.approx(200e-6)


def test_rows_are_read_as_h2load_writes_them(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("1700000000000001\t200\t15\n1700000000000002\t-1\t16\n")
    driver = Driver("", b"", (), tmp_path)
    assert driver.rows() == [Row(1700000000000001, 200, 15), Row(1700000000000002, -1, 16)]
