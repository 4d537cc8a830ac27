"""One `outcry up` to a data folder, found out before anything is written there.

The claim is a lock of the kernel's on DATA/up.lock, so it goes with the process, however that ends. The engine locks
the folder, too, for those who run it alone; but who is told the engine's number would stop what `up` starts again.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from outcry.supervision import UNMENDABLE, Ended, say

POLL_S = 0.05


class Claim:
    """Held from `take` to the end of the context."""

    def __init__(self, data: Path, wait_s: float) -> None:
        self.data = data
        self.logs = data / "logs"
        self.wait_s = wait_s

    def __enter__(self) -> Self:
        """Raises Ended where the folder cannot be written."""
        try:
            self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.fd = os.open(self.data / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Ended(f"--data {self.data}: {error.strerror}", UNMENDABLE) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)

    async def take(self) -> None:
        """Take the folder, waiting at most `wait_s` for one that is being stopped. Raises Ended."""
        deadline_s = asyncio.get_running_loop().time() + self.wait_s
        if not self.is_taken():
            say(f"the data folder {self.data} is in use by another `outcry up`, {self.holder()}; waiting for its end")
        while not self.is_taken():
            if asyncio.get_running_loop().time() >= deadline_s:
                words = f"the data folder {self.data} is in use by another `outcry up`, {self.holder()}"
                raise Ended(f"{words}: stop it, or give another --data", UNMENDABLE)
            await asyncio.sleep(POLL_S)
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, str(os.getpid()).encode(), 0)

    def is_taken(self) -> bool:
        """Take it if nobody else has it; taking it twice does no harm."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def holder(self) -> str:
        return f"process {os.pread(self.fd, 32, 0).decode('ascii', 'replace').strip() or 'unknown'}"
