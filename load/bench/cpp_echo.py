"""gRPC C++'s own server as a bare echo, compiled from `echo.cc` when it is needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from load.bench.figures import Skipped

SOURCE = Path(__file__).with_name("echo.cc")
# What libgrpc++ needs itself comes along: which parts of Abseil these are differs from release to release.
LIBRARIES = ["-Wl,--copy-dt-needed-entries", "-lgrpc++", "-lgrpc", "-lgpr"]
COMPILE_TIMEOUT_S = 180


def compiled(folder: Path) -> Path:
    """The program, made in `folder` once. Skipped where the compiler or the library is missing."""
    compiler = shutil.which("g++")
    if compiler is None:
        raise Skipped("gRPC C++: g++ is not installed (Debian: g++ libgrpc++-dev)")
    program = folder / "echo"
    if program.exists():
        return program
    command = [compiler, "-O2", "-std=c++17", str(SOURCE), "-o", str(program), *LIBRARIES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False)
    if done.returncode:
        problem = next((line for line in done.stderr.splitlines() if "error" in line), "it said nothing")
        raise Skipped(f"gRPC C++: the echo does not compile (Debian: libgrpc++-dev): {problem}")
    return program
