from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.lock import DirectoryLock, DirectoryLocked

HOLDER = """
import sys
from pathlib import Path
from gateway.lock import DirectoryLock
DirectoryLock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its standard input is closed, or it is killed."""
    command = [sys.executable, "-c", HOLDER, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_folder_in_use_is_refused_naming_it_and_its_holder(tmp_path: Path) -> None:
    with holder(tmp_path) as process, pytest.raises(DirectoryLocked) as refusal:
        DirectoryLock.acquire(tmp_path, wait_ns=0)
    assert str(tmp_path) in str(refusal.value)
    assert f"process {process.pid}:" in str(refusal.value)


def test_the_wait_for_a_lock_is_bounded(tmp_path: Path) -> None:
    now_ns, waits = 0, 0

    def sleep(seconds: float) -> None:
        nonlocal now_ns, waits
        now_ns += round(seconds * 1e9)
        waits += 1

    held = DirectoryLock.acquire(tmp_path)
    with pytest.raises(DirectoryLocked):
        DirectoryLock.acquire(tmp_path, wait_ns=1_000_000_000, monotonic=lambda: now_ns, sleep=sleep)
    assert now_ns == 1_000_000_000
    assert waits == 20
    held.release()


def test_a_lock_that_is_released_meanwhile_is_taken(tmp_path: Path) -> None:
    held = DirectoryLock.acquire(tmp_path)
    lock = DirectoryLock.acquire(tmp_path, sleep=lambda seconds: held.release())
    with pytest.raises(DirectoryLocked):
        DirectoryLock.acquire(tmp_path, wait_ns=0)
    lock.release()


def test_the_lock_goes_with_a_process_that_is_killed_and_its_file_is_harmless(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
        assert (tmp_path / "lock").read_text() == f"{process.pid}\n"
        DirectoryLock.acquire(tmp_path, wait_ns=0).release()


@pytest.mark.parametrize("stale", [b"", b"12345\n", b"\xff" * 100])
def test_whatever_the_file_says_only_the_lock_counts(tmp_path: Path, stale: bytes) -> None:
    (tmp_path / "lock").write_bytes(stale)
    lock = DirectoryLock.acquire(tmp_path, wait_ns=0)
    lock.release()
    lock.release()
    DirectoryLock.acquire(tmp_path, wait_ns=0).release()
