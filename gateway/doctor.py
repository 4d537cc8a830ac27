"""`python -m gateway.doctor`: is this machine, and this data folder, fit to run an exchange? `outcry doctor` becomes
this. Each finding is one line: OK, WARN or FAIL, what was found, and what to do about it.

Nothing is changed: what is written to time the disk is removed again. Exit status: 1 if something fails, else 0.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import msgspec
from pydantic import Field
from pydantic_settings import BaseSettings

from gateway import checkup_disk, checkup_machine
from gateway.checkup import Finding, Level
from gateway.invocation import configuration, settings_of
from gateway.settings import Address


class DoctorSettings(BaseSettings):
    """Look whether this machine and a data folder are fit to run an exchange. Nothing is changed.

    Exit status: 0 where nothing fails, 1 where something does, 2 where what was asked for cannot be understood.
    """

    model_config = configuration("doctor")

    data: Path = Field(Path("data"), description="the data folder, which need not be there yet")
    grpc: Address = Field("127.0.0.1:50051", description="where the engine is to listen")
    http: Address = Field("127.0.0.1:8000", description="where the bridge is to listen")
    json_: bool = Field(False, alias="json", description="print the findings as one JSON array")


def findings(settings: DoctorSettings) -> Iterator[Finding]:
    data = settings.data
    checks: list[Callable[[], Iterator[Finding]]] = [
        checkup_machine.versions,
        lambda: checkup_machine.port("grpc", settings.grpc),
        lambda: checkup_machine.port("http", settings.http),
        lambda: checkup_disk.guarded("data", checkup_disk.folder, data),
        lambda: checkup_disk.holder(data),
        lambda: checkup_disk.guarded("formats", checkup_disk.formats, data),
        lambda: checkup_disk.guarded("room", checkup_disk.room, data),
        lambda: checkup_disk.syncs(data),
        checkup_machine.clock,
        checkup_machine.descriptors,
        checkup_machine.cores,
        checkup_machine.memory,
    ]
    return chain.from_iterable(check() for check in checks)


def main() -> None:
    settings = settings_of(DoctorSettings)
    found = []
    for finding in findings(settings):
        found.append(finding)
        if not settings.json_:
            print(in_words(finding), flush=True)
    if settings.json_:
        print(msgspec.json.encode(found).decode())
    sys.exit(any(finding.level is Level.FAIL for finding in found))


def in_words(finding: Finding) -> str:
    advice = f" {finding.advice}" if finding.advice else ""
    return f"{finding.level:<5}{finding.name:<13}{finding.words}.{advice}"


if __name__ == "__main__":
    main()
