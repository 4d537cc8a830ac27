"""Faults that only the kernel can make: a system call that fails, or at which the process dies."""

from __future__ import annotations

import shutil
import subprocess

import pytest

TRACED = "pwrite64,fdatasync,fallocate,ftruncate,rename,unlink,openat"


def works() -> bool:
    """Whether strace is there, and may trace."""
    found = shutil.which("strace")
    return found is not None and subprocess.run([found, "-qq", "-e", "trace=none", "true"]).returncode == 0


needs_strace = pytest.mark.skipif(not works(), reason="needs strace, and the right to trace")


def killing_at(call: str, nth: int) -> list[str]:
    """A command that runs another, and kills it at the nth such call of one of its threads or children."""
    return under(f"{call}:signal=SIGKILL:when={nth}")


def failing_from(call: str, nth: int, error: str = "EIO") -> list[str]:
    """A command that runs another, in which such calls fail from the nth of a thread on."""
    return under(f"{call}:error={error}:when={nth}+")


def under(fault: str) -> list[str]:
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={TRACED}", "-e", f"inject={fault}"]
