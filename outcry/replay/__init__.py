"""Play a recorded day through a running engine and compare it, row by row, with what the venue recorded.

    files ─▶ translation ─▶ pipeline ─▶ engine          one line, one instruction, one Session per party
                                │
    files ─▶ comparison ◀───────┴── maker_feed          the book after each row, and who each aggressor met

`play.replay` is the whole of it; `command` is `outcry replay`.
"""

from outcry.replay.errors import ReplayFailed
from outcry.replay.play import Day, Report, replay

__all__ = ["Day", "ReplayFailed", "Report", "replay"]
