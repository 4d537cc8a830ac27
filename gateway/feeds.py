"""Private feeds: each account's events by number, to readers who may come, go, resume and be slow.

A reader pulls; nothing is queued for it. While an account has readers, its latest events are kept in a window shared by
all of them; what is older is read from the event log. So a reader that is slow or dead costs no memory. One that had
caught up and then falls out of the window is told the last number it was given, and ended; it resumes from there.

    event log [1 ............ n]
                    window  [n-k ....... n]     reader: `after` moves right; waits at n
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from gateway.event_log import EventLog, NoLongerKept
from gateway.event_records import Numbered, is_private
from gateway.event_segments import EventLogDamaged
from gateway.refusals import Refused, overloaded, unavailable
from gateway.sequencer import Waiting
from outcry import v1

WINDOW = 10_000  # events an account's readers may lag behind
MESSAGE_LIMIT = 1_000  # events in one message; one read of the event log gives fewer
READERS_LIMIT = 64  # of one account


class Reader:
    """One follower of one account. `on_lost` is called when it has fallen out of the window."""

    def __init__(self, after: int, on_lost: Callable[[], object]) -> None:
        self.after = after  # the last number given to it
        self.on_lost = on_lost
        self.live = False  # it has caught up with the window once
        self.lost = False
        self.wake = asyncio.Event()


class Window:
    """The latest events of an account, while somebody reads them; `first` is the number of the oldest kept."""

    def __init__(self, last_number: int) -> None:
        self.events: list[Numbered] = []
        self.first = last_number + 1
        self.readers: set[Reader] = set()

    def append(self, event: Numbered, size: int) -> None:
        self.events.append(event)
        if len(self.events) >= 2 * size:
            del self.events[:size]
            self.first += size
            self.drop_the_slow()

    def drop_the_slow(self) -> None:
        for reader in self.readers:
            if reader.live and reader.after + 1 < self.first and not reader.lost:
                reader.lost = True
                reader.on_lost()

    def after(self, number: int, limit: int) -> list[Numbered]:
        start = number + 1 - self.first
        return self.events[start : start + limit]


class Feeds:
    """All accounts' feeds. `publish` is called by the sequencer after each commit; `follow` serves one reader."""

    def __init__(
        self,
        event_log: EventLog,
        *,
        on_damage: Callable[[Exception], None],
        window: int = WINDOW,
        readers_limit: int = READERS_LIMIT,
    ) -> None:
        self.event_log = event_log
        self.on_damage = on_damage
        self.window = window
        self.readers_limit = readers_limit
        self.windows: dict[int, Window] = {}

    def publish(self, batch: list[Waiting]) -> None:
        windows = self.windows
        if not windows:
            return
        touched: set[int] = set()
        for waiting in batch:
            for event in waiting.events:
                if is_private(event) and (window := windows.get(event.account)) is not None:
                    window.append(Numbered(event.number, waiting.seq, waiting.time_ns, event), self.window)
                    touched.add(event.account)
        for account in touched:
            for reader in windows[account].readers:
                reader.wake.set()

    def check_range(self, account: int, from_seq: int) -> None:
        first, last = self.event_log.first_number(account), self.event_log.last_number(account)
        if not first - 1 <= from_seq <= last:
            raise out_of_range(from_seq, first, last)

    def join(self, account: int, from_seq: int | None, on_lost: Callable[[], object]) -> Reader:
        """Start following: after `from_seq`, or from now on. Refused where the number is out of range."""
        self.flush()
        last = self.event_log.last_number(account)
        if from_seq is not None:
            self.check_range(account, from_seq)
        window = self.windows.get(account)
        if window is None:
            window = self.windows[account] = Window(last)
        if len(window.readers) >= self.readers_limit:
            raise overloaded("Too many streams of this account", limit=self.readers_limit)
        reader = Reader(last if from_seq is None else from_seq, on_lost)
        window.readers.add(reader)
        return reader

    def flush(self) -> None:
        """Write what the event log was given. Where that fails the process ends: what comes next would leave a gap."""
        try:
            self.event_log.flush()
        except OSError as problem:
            self.on_damage(problem)
            raise unavailable("The engine is stopping") from None

    def leave(self, account: int, reader: Reader) -> None:
        window = self.windows[account]
        window.readers.discard(reader)
        if not window.readers:
            del self.windows[account]

    async def follow(self, account: int, reader: Reader) -> AsyncIterator[list[Numbered]]:
        """Yield what comes after the reader's number, in order, for ever: at most MESSAGE_LIMIT at once."""
        window = self.windows[account]
        while True:
            if reader.lost:
                raise too_slow(reader)
            if reader.after + 1 < window.first:
                events = await self.read(account, reader.after)
            else:
                reader.live = True
                events = window.after(reader.after, MESSAGE_LIMIT)
            if events:
                reader.after = events[-1].number
                yield events
            else:
                reader.wake.clear()
                await reader.wake.wait()

    async def read(self, account: int, after: int) -> list[Numbered]:
        """From the event log. One that has changed under us is not read again: the process ends, and mends it."""
        self.flush()
        try:
            return await asyncio.to_thread(self.event_log.read, account, after, MESSAGE_LIMIT)
        except NoLongerKept:  # since it has joined
            first, last = self.event_log.first_number(account), self.event_log.last_number(account)
            raise out_of_range(after, first, last) from None
        except (EventLogDamaged, OSError) as problem:
            self.on_damage(problem)
            raise unavailable("The engine is stopping") from None


def out_of_range(from_seq: int, first: int, last: int) -> Refused:
    kept = f"events {first} to {last} are kept" if first <= last else f"events 1 to {last} are no longer kept"
    words = f"from_seq {from_seq} is out of range: {kept if last else 'the account has no events yet'}"
    return Refused(v1.SEQUENCE_OUT_OF_RANGE, words, {"first": first, "last": last})


def too_slow(reader: Reader) -> Refused:
    return overloaded(f"The reader is too slow; resume from {reader.after}", last=reader.after)
