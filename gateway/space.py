"""What may come in when the disk is full: what takes orders away, as long as there is room for it.

Journal and event log have space allocated ahead. Where no more can be had, orders are refused before they are
sequenced, so that they have no event and no number; cancels, and what operators say, go into what is allocated already.
That is looked for again at every beat, and when there is space, orders come in as before.
"""

from __future__ import annotations

from typing import Protocol

from gateway.refusals import RETRY_AFTER_S, Refused
from outcry import v1

COMMAND_BYTES = 2 << 10  # more than a command and what it says take in either file
CLOSING_BYTES = 640  # more than what is said of one order that it closes besides


class File(Protocol):
    """A file with space allocated ahead."""

    @property
    def is_short(self) -> bool:
        """Whether no more could be allocated."""

    @property
    def room(self) -> int:
        """Bytes that can be written nevertheless."""


class Space:
    """Watches the files that every command goes to."""

    def __init__(self, *files: File) -> None:
        self.files = files

    @property
    def narrows(self) -> bool:
        return any(file.is_short for file in self.files)

    def admit(self) -> None:
        """Let one order in. Refused where there is no space for more."""
        if self.narrows:
            raise full()

    def reserve(self, commands: int, closings: int) -> None:
        """Let in the last of so many commands that are not written yet, which closes so many orders. Refused where
        there is no room for them all."""
        size = commands * COMMAND_BYTES + closings * CLOSING_BYTES
        if self.narrows and min(file.room for file in self.files) < size:
            raise full()


def full() -> Refused:
    words = "The disk is full; orders are taken again when there is space"
    return Refused(v1.SERVICE_UNAVAILABLE, words, {"retry_after": RETRY_AFTER_S})
