"""A data folder that is only looked at: by the `verify` of an engine that runs, or of a backup that must stay as it is.

Files are opened for reading, no folder is made, no lock is taken; whatever else a disk can do is refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from gateway.disk import LocalDisk


class ReadOnlyDisk(LocalDisk):
    def names(self, directory: Path) -> list[str]:
        try:
            return sorted(path.name for path in directory.iterdir())
        except FileNotFoundError:
            return []

    def open(self, path: Path, *, make: bool = False) -> int:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def refuse(self, *_: object, **__: object) -> NoReturn:
        raise OSError("this disk is only read")

    write = allocate = truncate = sync = sync_directory = rename = remove = refuse


READ_ONLY_DISK = ReadOnlyDisk()
