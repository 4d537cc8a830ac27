"""`python -m gateway.restore`: make a data folder of a backup. `outcry restore` becomes this.

Exit status: 0 where the engine can be started on what was restored, 1 where the backup is damaged, 2 where there is
none, or the folder for it is in use.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
from pydantic import Field
from pydantic_settings import BaseSettings, CliPositionalArg

from gateway.invocation import configuration, moment, refuse, settings_of
from gateway.lock import DirectoryLocked
from gateway.restoration import NotRestorable, restore
from gateway.segments import JournalUnusable
from gateway.verification import Report
from gateway.verify import in_words


class RestoreSettings(BaseSettings):
    """Make a data folder of a backup, which is any copy of one, taken while the engine ran or not.

    Exit status: 0 where the engine can be started on what was restored, 1 where the backup is damaged, 2 where there is
    none, or the folder for it is in use.
    """

    model_config = configuration("restore")

    backup: CliPositionalArg[Path] = Field(description="the copy: a folder with a journal in it")
    data: Path = Field(Path("data"), description="folder to restore to, without a journal")
    pass_over_damage: bool = Field(
        False, description="end where the journal is damaged, though what is behind may have been acknowledged"
    )
    json_: bool = Field(False, alias="json", description="print the report, and what was left out, as one JSON object")


def main() -> None:
    settings = settings_of(RestoreSettings)
    try:
        report, left_out = restore(settings.backup, settings.data, pass_over_damage=settings.pass_over_damage)
    except (NotRestorable, DirectoryLocked, OSError) as problem:
        refuse(RestoreSettings, str(problem))
    except JournalUnusable as problem:
        sys.exit(f"outcry restore: {problem}")
    if settings.json_:
        print(msgspec.json.encode({"report": report, "left_out": left_out}).decode())
    else:
        print("\n".join(told(report, left_out)))
        if report.fault is None:
            print(f"Restored to {settings.data}, up to command {report.last_seq:,} of {moment(report.last_time_ns)}.")
    sys.exit(report.fault is not None)


def told(report: Report, left_out: list[str]) -> Iterator[str]:
    yield in_words(report)
    yield from (f"left out    {words}" for words in left_out)
    if report.beyond_seq:
        yield (
            f"WARNING: the backup tells of commands up to {report.beyond_seq:,}, but those after {report.last_seq:,}"
            " cannot be restored. Only if it was copied while the engine ran are they all of after the copy began: if"
            " not, commands that were acknowledged are missing."
        )


if __name__ == "__main__":
    main()
