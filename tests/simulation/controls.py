"""The protections of the exchange, each switched off for a while: the simulation must notice, or it proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from engine import matching
from engine.amendment import Amendment
from engine.entry import Entry
from gateway import frames, journal, recovery, segments, snapshots
from gateway.append_file import AppendFile
from gateway.event_log import EventLog
from gateway.feeds import Feeds, Window
from gateway.journal import Journal
from gateway.manifest import Retention
from gateway.refusals import Refused
from gateway.sequencer import Sequencer, ignore
from gateway.upkeep import Upkeep
from tests.simulation.disk import SimulatedDisk

Control = Callable[[], AbstractContextManager[Any]]


def instead(owner: Any, name: str, change: Callable[[Any], Any]) -> Control:
    """Puts `change(the original)` in the original's place."""
    return lambda: patch.object(owner, name, change(getattr(owner, name)))


def nothing(original: Any) -> Any:
    return lambda *_, **__: None


def answer_first(commit: Any) -> Any:
    def changed(self: Sequencer) -> None:
        for waiting in self.pending:
            waiting.reply(waiting.answer)
            waiting.reply = ignore
        commit(self)

    return changed


def forget_the_failure(write: Any) -> Any:
    def changed(self: Journal, batch: Any) -> None:
        write(self, batch)
        self.error = None

    return changed


def forget_the_name(accept: Any) -> Any:
    def changed(self: Entry, order: Any, account: Any, command: Any) -> Any:
        event = accept(self, order, account, command)
        account.by_client_order_id.pop(command.client_order_id, None)
        return event

    return changed


def execute_what_is_refused(enter: Any) -> Any:
    def changed(self: Sequencer, now_ns: int, command: Any, reply: Any, valid_until_ns: int | None) -> Any:
        try:
            return enter(self, now_ns, command, reply, valid_until_ns)
        except Refused:
            self.apply(now_ns, command, ignore, 0)
            raise

    return changed


def cancel_for_anybody(cancel: Any) -> Any:
    def changed(self: Amendment, seq: int, time_ns: int, command: Any) -> Any:
        owners = [number for number, account in self.accounts.items() if command.order_id in account.resting]
        return cancel(self, seq, time_ns, replace(command, account=owners[0]) if owners else command)

    return changed


def sometimes(append: Any) -> Any:
    def changed(self: Window, event: Any, size: int) -> None:
        if event.number % 7:
            append(self, event, size)

    return changed


def keep_a_coin(settle: Any) -> Any:
    def changed(taker: Any, maker: Any, quantity: int, house: Any) -> Any:
        house.total += 1
        return settle(taker, maker, quantity, house)

    return changed


def replay_late(replay: Any) -> Any:
    def changed(self: Journal, after_seq: int = 0) -> Any:
        return (replace(entry, time_ns=entry.time_ns + 1) for entry in replay(self, after_seq))

    return changed


def lenient(event_log: Any) -> Any:
    class Lenient(event_log):  # type: ignore[misc]
        @classmethod
        def open(cls, *given: Any, **named: Any) -> Any:
            return event_log.open(*given, **{**named, "strict": False})

    return Lenient


def prepared(journal: Any) -> Any:
    def opened(*given: Any, **named: Any) -> Any:
        found = journal.open(*given, **{**named, "prepared": True})
        found.prepare = lambda: None
        return found

    return SimpleNamespace(open=opened)


def keep_snapshots(remove: Any) -> Any:
    return lambda self, path: None if path.suffix == snapshots.SUFFIX else remove(self, path)


CONTROLS: dict[str, Control] = {
    "nothing is synced": instead(AppendFile, "sync", nothing),
    "folders are not synced": instead(SimulatedDisk, "sync_directory", nothing),
    "what a start finds is not synced": instead(Journal, "settle", nothing),
    "what a failed sync left is not written again": instead(journal, "write_all", nothing),
    "a failed write or sync is passed over": instead(Journal, "write", forget_the_failure),
    "answers leave before the commit": instead(Sequencer, "commit", answer_first),
    "client order ids are forgotten": instead(Entry, "accept", forget_the_name),
    "what is called not executed is executed": instead(Sequencer, "enter", execute_what_is_refused),
    "anybody may cancel": instead(Amendment, "cancel_order", cancel_for_anybody),
    "whatever is not whole is a torn tail": instead(segments, "require_torn_tail", nothing),
    "checksums say nothing": instead(frames, "checksum", lambda _: lambda seed, data: 0),
    "an event log beyond the journal is cut": instead(recovery, "EventLog", lenient),
    "an event log that fails is passed over": instead(Feeds, "flush", lambda _: lambda self: self.event_log.flush()),
    "the event log leaves out an event": instead(EventLog, "read", lambda read: lambda *given: read(*given)[1:]),
    "the window leaves out an event": instead(Window, "append", sometimes),
    "the journal is cut before the event log was asked": instead(recovery, "Journal", prepared),
    "snapshots of what was lost stay": instead(SimulatedDisk, "remove", keep_snapshots),
    "what a start needs is deleted": instead(Upkeep, "retention", lambda _: lambda *_: Retention(1 << 60, 0)),
    "time goes with the clock": instead(Sequencer, "moment", lambda _: lambda self: self.clock()),
    "a replay has times of its own": instead(Journal, "replay", replay_late),
    "trades make money": instead(matching, "settle", keep_a_coin),
}
