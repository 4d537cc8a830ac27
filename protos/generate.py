"""Generate the stubs in `outcry/v1/` from the protos beside this file: by hatchling at install, or by hand."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent.parent


def generate() -> None:
    from grpc_tools import protoc

    protos = ROOT / "protos"
    well_known = files("grpc_tools") / "_proto"
    sources = [str(path) for path in sorted(protos.glob("outcry/v1/*.proto"))]
    outputs = [f"--{kind}_out={ROOT}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", f"-I{protos}", f"-I{well_known}", *outputs, *sources]) != 0:
        sys.exit("protoc failed")
    for stub in (ROOT / "outcry" / "v1").glob("*_pb2_grpc.py"):
        if "Stub" not in stub.read_text():
            stub.unlink()  # a file without services


class GenerateStubs(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        generate()


if __name__ == "__main__":
    generate()
