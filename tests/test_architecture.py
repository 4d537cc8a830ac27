"""The six rules of ARCHITECTURE.md and the house's style, held by tests.

Rules 2, 3 and 6 are held by behaviour too: tests/gateway/test_sequencer.py, test_feeds.py and test_market_data.py.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.order import diagram
from engine.reject import RejectReason
from outcry import v1
from outcry.v1.statuses import GRPC_CODE, HTTP_STATUS

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("engine", "gateway", "rest_bridge", "outcry", "wire", "load")

# What a pure state machine may import: nothing that has a clock, a file, chance, a thread or a log.
PURE_STDLIB = {"__future__", "array", "bisect", "collections", "dataclasses", "enum", "hashlib", "heapq", "typing"}
PURE = PURE_STDLIB | {"zlib", "msgspec", "sortedcontainers", "engine"}

IMPURE_CALLS = {"float", "open", "print", "input", "id", "hash", "round"}


def sources(*rooms: str) -> list[Path]:
    files = (path for room in rooms for path in sorted((ROOT / room).rglob("*.py")))
    return [path for path in files if "_pb2" not in path.name]


def trees(*rooms: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sources(*rooms):
        yield path.relative_to(ROOT), ast.parse(path.read_text())


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_rule_1_the_engine_imports_nothing_impure() -> None:
    found = {(str(path), name) for path, tree in trees("engine") for name in imported(tree)}
    assert {(path, name) for path, name in found if name.split(".")[0] not in PURE} == set()


def test_rule_1_the_engine_has_no_floats_and_divides_only_in_whole_numbers() -> None:
    for path, tree in trees("engine"):
        for node in ast.walk(tree):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), where
            assert not (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)), where
            assert not (isinstance(node, ast.Call) and ast.unparse(node.func) in IMPURE_CALLS), where


def test_rule_1_the_engine_is_synchronous_and_never_iterates_over_a_set() -> None:
    for path, tree in trees("engine"):
        for node in ast.walk(tree):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), where
            if isinstance(node, ast.For | ast.comprehension):
                assert not isinstance(node.iter, ast.Set | ast.SetComp), where
                assert not (isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func) == "set"), where


def test_rule_2_only_the_sequencer_applies_and_journals() -> None:
    writers = {
        (str(path), ast.unparse(node.func))
        for path, tree in trees("gateway", "rest_bridge", "outcry")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("exchange.apply", "journal.append"))
    }
    assert writers == {
        ("gateway/sequencer.py", "self.exchange.apply"),
        ("gateway/sequencer.py", "self.journal.append"),
        ("gateway/snapshotter.py", "exchange.apply"),  # in a process of its own, from the journal
        ("gateway/verification.py", "self.exchange.apply"),  # a replay of its own, beside whatever runs
    }


def test_rule_2_there_are_no_locks_and_one_thread() -> None:
    threaded = {str(path) for path, tree in trees("engine", "gateway") if "threading" in set(imported(tree))}
    assert threaded <= {"gateway/journal.py"}
    for path, tree in trees("engine", "gateway"):
        names = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not {name for name in names if name.split(".")[-1] in {"Lock", "RLock", "Semaphore"}}, path


@pytest.mark.parametrize("name", ["codec", "journal", "event_log", "venue", "auth"])
def test_rule_4_the_order_path_is_plain_calls(name: str) -> None:
    tree = ast.parse((ROOT / "gateway" / f"{name}.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]


def test_rule_4_submit_starts_no_task_and_makes_no_future() -> None:
    tree = ast.parse((ROOT / "gateway" / "sequencer.py").read_text())
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for name in ("submit", "apply", "commit", "release", "query"):
        assert isinstance(functions[name], ast.FunctionDef), name
        calls = {ast.unparse(node.func) for node in ast.walk(functions[name]) if isinstance(node, ast.Call)}
        assert not {call for call in calls if "create_task" in call or "future" in call.lower()}, name


def modules(tree: ast.AST) -> Iterator[str]:
    """What is imported, each name of a `from` import by itself: `from outcry import v1` is outcry.v1."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_rule_5_the_import_arrows_are_those_of_the_plan() -> None:
    allowed = {
        "engine": ("engine.",),
        "gateway": ("gateway.", "engine.", "wire.", "outcry.v1."),
        "rest_bridge": ("rest_bridge.", "outcry."),
        "outcry": ("outcry.", "wire."),
        "wire": ("wire.",),
        "load": ("load.", "outcry.", "engine.", "wire."),
    }
    for room, rooms in allowed.items():
        for path, tree in trees(room):
            ours = [name for name in modules(tree) if name.split(".")[0] in ROOMS]
            assert [name for name in ours if not f"{name}.".startswith(rooms)] == [], path


def test_rule_5_import_linter_agrees() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([tool], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_rule_6_every_queue_names_its_bound() -> None:
    for path, tree in trees("gateway", "rest_bridge", "outcry", "wire"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"asyncio.Queue", "Queue"}:
                bound = ast.unparse(node.args[0]) if node.args else "0"
                assert bound.isupper(), f"{path}:{node.lineno} needs a bound with a name"


def test_the_engine_refuses_with_exactly_the_contract_s_reasons() -> None:
    contract = dict(v1.RejectReason.items())
    assert {reason.name: reason.value for reason in RejectReason}.items() <= contract.items()


def test_every_code_has_its_two_statuses() -> None:
    numbers = set(v1.RejectReason.values()) - {v1.REJECT_REASON_UNSPECIFIED}
    assert set(GRPC_CODE) == set(HTTP_STATUS) == numbers
    assert all(0 < code <= 16 for code in GRPC_CODE.values())
    assert all(400 <= status < 600 for status in HTTP_STATUS.values())


def test_no_file_is_over_400_lines_and_no_function_over_60() -> None:
    for path in [*sources(*ROOMS), *sources("tests")]:
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{path}:{node.lineno} {node.name}"


def test_names_say_what_a_thing_is() -> None:
    vague = ("manager", "helper", "util", "common.py", "misc")
    assert [path for path in sources(*ROOMS) if any(word in path.name.lower() for word in vague)] == []
    classes = [node.name for _, tree in trees(*ROOMS) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert [name for name in classes if name.endswith(("Manager", "Helper", "Utils"))] == []


def test_the_diagram_in_the_docs_is_the_table_of_transitions() -> None:
    assert diagram() in (ROOT / "ARCHITECTURE.md").read_text()
