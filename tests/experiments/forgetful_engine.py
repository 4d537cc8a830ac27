"""`python -m gateway` on a disk that says yes too early: what is written reaches the file when the next batch comes.

The control of the experiments with crashes: what such an engine acknowledges is lost with it.
"""

from __future__ import annotations

from gateway import __main__, service
from gateway.disk import LocalDisk


class ForgetfulDisk(LocalDisk):
    def __init__(self) -> None:
        self.held: dict[int, tuple[bytes, int]] = {}

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        if held := self.held.pop(fd, None):
            super().write(fd, *held)
        self.held[fd] = bytes(data), offset
        return len(data)

    def close(self, fd: int) -> None:
        if held := self.held.pop(fd, None):
            super().write(fd, *held)
        super().close(fd)


if __name__ == "__main__":
    service.LOCAL_DISK = ForgetfulDisk()
    __main__.main()
