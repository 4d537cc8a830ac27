"""`python -m gateway.verify`: replay a data folder's journal, compare, report. `outcry verify` becomes this.

Exit status: 0 where all agrees, 1 where something does not, 2 where there is nothing to verify, or it
cannot be read.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
from pydantic import Field
from pydantic_settings import BaseSettings

from gateway.invocation import configuration, moment, refuse, settings_of
from gateway.verification import Progress, Report, verify

SHOW_EVERY_S = 0.2


class VerifySettings(BaseSettings):
    """Replay a data folder's journal and compare all that is kept. Nothing is changed; the engine may run meanwhile.

    Exit status: 0 where all agrees, 1 where something does not, 2 where there is nothing to verify, or it cannot be
    read.
    """

    model_config = configuration("verify")

    data: Path = Field(Path("data"), description="folder of the journal, the event log and the snapshots")
    json_: bool = Field(False, alias="json", description="print the report as one JSON object")


def main() -> None:
    settings = settings_of(VerifySettings)
    try:
        if not (settings.data / "journal").is_dir():
            refuse(VerifySettings, f"--data {settings.data}: there is no journal")
        report = verify(settings.data, progress=progress_line() if sys.stderr.isatty() else None)
    except OSError as problem:
        refuse(VerifySettings, f"--data {settings.data}: {problem}")
    print(msgspec.json.encode(report).decode() if settings.json_ else in_words(report), flush=True)
    sys.exit(report.fault is not None)


def progress_line() -> Progress:
    """Says on the terminal how far the replay is, and takes that back."""
    shown_s = time.monotonic()

    def show(seq: int, share: float) -> None:
        nonlocal shown_s
        now_s = time.monotonic()
        if share >= 1:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        elif now_s - shown_s >= SHOW_EVERY_S:
            shown_s = now_s
            print(f"\r\x1b[K{share:4.0%}  command {seq:,}", end="", file=sys.stderr, flush=True)

    return show


def in_words(report: Report) -> str:
    lines = [f"{name:<12}{words}" for name, words in findings(report)]
    lines += [
        f"torn tail   {torn.file}: {torn.bytes:,} bytes from offset {torn.offset:,} that were never finished"
        for torn in report.torn
    ]
    fault = report.fault
    if fault is None:
        return "\n".join([*lines, "All agrees."])
    where = "" if fault.offset is None else f" at offset {fault.offset}"
    return "\n".join([*lines, f"WRONG: {fault.file}{where}: {fault.why}"])


def findings(report: Report) -> list[tuple[str, str]]:
    last = f", the last at {moment(report.last_time_ns)}" if report.last_time_ns else ""
    begun = f", replayed from the snapshot after {report.replayed_after:,}" if report.replayed_after else ""
    events = f"{report.events:,} private"
    if report.event_log_events:
        span = f"commands {report.event_log_first_seq:,} to {report.event_log_last_seq:,}"
        events += f"; the event log has {report.event_log_events:,} of them, of {span}"
    found = [
        ("commands", f"{report.first_seq:,} to {report.last_seq:,}{last}{begun}"),
        ("segments", f"{report.segments:,}"),
        ("snapshots", ", ".join(f"after {seq:,}" for seq in report.snapshots) or "none"),
        ("accounts", f"{report.accounts:,}"),
        ("orders", f"{report.orders:,} entered, {report.open_orders:,} open"),
        ("trades", f"{report.trades:,}"),
        ("events", events),
        ("digest", report.digest),
    ]
    return found if report.fault is None else found[:3]


if __name__ == "__main__":
    main()
