"""Experiment 10: a journal is replayed to one digest in any process, whatever the seed of its hashes.

The control folds the same commands into a number that depends on the order of a set, and so on the seed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data_folders.recorder import record

ROOT = Path(__file__).resolve().parents[2]
HASH_SEEDS = ("0", "1", "2", "random")
REPLAY = """
import sys
from pathlib import Path
from gateway.verification import verify
report = verify(Path(sys.argv[1]))
print(report.fault, report.digest, report.last_seq)
"""
BY_SET = """
import sys
from pathlib import Path
from gateway.read_only import READ_ONLY_DISK
from gateway.segments import read_journal
entries = read_journal(READ_ONLY_DISK, Path(sys.argv[1]) / "journal", 0, int(sys.argv[2]))
print([str(entry) for entry in {str(entry) for entry in entries}])
"""


def outputs(program: str, *arguments: str) -> set[str]:
    """What a program says in processes with different hash seeds."""
    said = set()
    for seed in HASH_SEEDS:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", program, *arguments]
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        said.add(run.stdout.strip())
    return said


@pytest.mark.parametrize("seed", [1, 2])
def test_a_journal_is_replayed_to_the_same_digest_in_any_process_under_any_hash_seed(tmp_path: Path, seed: int) -> None:
    recorder = record(tmp_path / "data", seed=seed, snapshots_after=(150,))
    expected = f"None {recorder.exchange.digest()} {recorder.seq}"
    assert outputs(REPLAY, str(tmp_path / "data")) == {expected}


def test_control_what_depends_on_the_order_of_a_set_differs(tmp_path: Path) -> None:
    recorder = record(tmp_path / "data")
    assert len(outputs(BY_SET, str(tmp_path / "data"), str(recorder.seq))) > 1
