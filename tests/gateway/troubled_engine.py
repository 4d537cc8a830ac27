"""`python -m gateway` on a disk whose syncs go wrong while there is a FIFO at DATA.disk: each waits for the FIFO to be
written and closed, and fails if anything was written. It is not waited for as long as usual when the engine stops."""

from __future__ import annotations

import sys
from pathlib import Path

from gateway import __main__, service
from gateway.disk import LocalDisk

DRAIN_S = 1.0


def trouble(data: Path) -> Path:
    return data.with_suffix(".disk")


class TroubledDisk(LocalDisk):
    def __init__(self, data: Path) -> None:
        self.fifo = trouble(data)

    def sync(self, fd: int) -> None:
        if self.fifo.exists() and self.fifo.read_bytes():
            raise OSError(5, "Input/output error")
        super().sync(fd)


if __name__ == "__main__":
    service.LOCAL_DISK = TroubledDisk(Path(sys.argv[sys.argv.index("--data") + 1]))
    __main__.DRAIN_S = DRAIN_S
    __main__.main()
