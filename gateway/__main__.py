"""`python -m gateway`: settings, wiring, signals. Prints one line when it serves; logs go to stderr.

Exit status: 0 after a stop that was asked for, 2 for what a restart cannot mend (settings, a port that is taken, a
damaged journal, a folder that is in use), 1 for a failure after which what is on disk is the truth.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

import structlog
import uvloop
from pydantic import ValidationError
from pydantic_settings import CliApp

from gateway.auth import KeyFileInvalid
from gateway.event_log import JournalBehind
from gateway.lock import DirectoryLocked
from gateway.refusals import Refused
from gateway.segments import JournalUnusable
from gateway.service import Gateway, Misconfigured
from gateway.settings import Settings
from gateway.venue import VenueInvalid

# What a restart cannot mend.
UNMENDABLE = (
    Misconfigured,
    JournalUnusable,
    JournalBehind,
    DirectoryLocked,
    VenueInvalid,
    KeyFileInvalid,
    OSError,
)
log = structlog.get_logger()

# Orders, events and commands are left out of collections by their type, so garbage in cycles is rare.
GC_THRESHOLDS = (50_000, 20, 50)
FAILURE_GRACE_S = 0.3  # for the last answers to leave
DRAIN_S = 8.0  # for what was accepted to become durable; the supervisor kills after ten


def main() -> None:
    configure_logs()
    try:
        settings = CliApp.run(Settings)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        sys.exit(refuse(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg'].removeprefix('Value error, ')}"))
    sys.exit(uvloop.run(serve(settings)))


def configure_logs() -> None:
    """Structured lines on stderr, without colours: they are read by programs, too."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def refuse(words: str) -> int:
    print(f"outcry engine: {words}", file=sys.stderr, flush=True)
    return 2


async def serve(settings: Settings) -> int:
    failure = asyncio.Event()
    gateway = Gateway(settings, on_failure=failure.set)
    try:
        await gateway.start()
    except UNMENDABLE as problem:
        return refuse(str(problem))
    except Refused as refused:  # the disk has not taken what the venue's file says
        log.critical("not_started", problem=refused.message)
        return 1
    stop = stop_signal(settings)
    gc.freeze()  # what start-up made stays: collections need not look at it again
    gc.set_threshold(*GC_THRESHOLDS)
    print(f"ready grpc={gateway.address}", flush=True)
    failed = asyncio.ensure_future(failure.wait())
    await asyncio.wait([asyncio.ensure_future(stop.wait()), failed], return_when=asyncio.FIRST_COMPLETED)
    if not failure.is_set():
        draining = asyncio.ensure_future(gateway.stop())
        await asyncio.wait([draining, failed], timeout=DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
        if draining.done() and not failure.is_set():
            draining.result()
            return 0
        log.critical("not_drained", failed=failure.is_set())
    await asyncio.sleep(FAILURE_GRACE_S)
    os._exit(1)  # the commit thread may hang in the kernel; nothing that is left may run


def stop_signal(settings: Settings) -> asyncio.Event:
    """Set by SIGTERM, by the end of the lifeline, and by Ctrl-C unless a supervisor decides about that."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    if settings.lifeline_fd is None:
        loop.add_signal_handler(signal.SIGINT, stop.set)
    else:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        loop.add_reader(settings.lifeline_fd, cut, settings.lifeline_fd, stop)
    return stop


def cut(lifeline_fd: int, stop: asyncio.Event) -> None:
    asyncio.get_running_loop().remove_reader(lifeline_fd)
    stop.set()


if __name__ == "__main__":
    main()
