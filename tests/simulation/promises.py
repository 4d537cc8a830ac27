"""What the exchange has promised, held against what is on its disk.

`History` is a fold of the journal of its own, one command after the other, as anybody may make it. `Promises` knows
what clients were told, and asks after every step whether all of it is in that history.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.commands import AdvanceTime, NewOrder
from engine.events import CancelAllOutcome, OrderAccepted, OrderFilled, OrderOutcome, PositionUpdated
from engine.exchange import Exchange
from engine.order import BUY, SELL
from gateway import codec
from gateway.event_records import Numbered, is_private
from gateway.executions import report
from gateway.segments import Entry, entries, first_seq_of, frames_of
from outcry import v1
from tests.simulation.disk import SimulatedDisk
from tests.simulation.exchange import JOURNAL
from tests.simulation.network import Answer, Refusal

SUFFIX = ".journal"


class Broken(BaseException):
    """A promise is broken, and which. No `except Exception` of the exchange keeps it from being known."""


def require(holds: bool, words: str, *details: object) -> None:
    if not holds:
        raise Broken(" ".join([words, *map(repr, details)]))


def written(disk: SimulatedDisk, after_seq: int) -> Iterable[Entry]:
    """What anybody finds in the journal's files after a command, without asking the disk for anything."""
    names = [name for name in disk.listing(JOURNAL) if name.endswith(SUFFIX)]
    for number, name in enumerate(names):
        if number + 1 < len(names) and first_seq_of(names[number + 1]) <= after_seq + 1:
            continue
        for frame in frames_of(JOURNAL / name, disk.content(JOURNAL / name)):
            if frame.last_seq > after_seq:
                yield from (entry for entry in entries(JOURNAL / name, frame) if entry.seq > after_seq)


class History:
    """The state after the commands in `entries`, and what it said on the way."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.entries: list[Entry] = []
        self.answers: list[Any] = []
        self.attempts: dict[tuple[int, str, int], int] = {}  # account, client order id, attempt: its command
        self.accepted: Counter[tuple[int, str]] = Counter()
        self.feeds: defaultdict[int, list[v1.ExecutionReport]] = defaultdict(list)

    @property
    def last_seq(self) -> int:
        return len(self.entries)

    def extend(self, more: Iterable[Entry]) -> None:
        for entry in more:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        seq, command = entry.seq, entry.command
        require(seq == self.last_seq + 1, "the journal has a gap before", seq)
        require(not self.entries or entry.time_ns >= self.entries[-1].time_ns, "journal time goes back at", seq)
        events = self.exchange.apply(seq, entry.time_ns, command)
        self.entries.append(entry)
        self.answers.append(message(events[-1]))
        if isinstance(command, NewOrder):
            attempt = command.account, command.client_order_id, command.attempt
            require(attempt not in self.attempts, "an attempt is in the journal twice:", attempt)
            self.attempts[attempt] = seq
        for event in events:
            if is_private(event):
                self.say(entry, event)

    def say(self, entry: Entry, event: Any) -> None:
        feed, sender = self.feeds[event.account], getattr(entry.command, "account", None)
        own = event.account == sender or isinstance(event, OrderFilled | PositionUpdated)
        require(own or isinstance(entry.command, AdvanceTime), "somebody touched what is another's:", entry.command)
        require(event.number == len(feed) + 1, "an account's events are not numbered 1, 2, 3:", event)
        feed.append(report(Numbered(event.number, entry.seq, entry.time_ns, event)))
        if isinstance(event, OrderAccepted):
            self.accepted[event.account, event.client_order_id] += 1
            once = self.accepted[event.account, event.client_order_id] == 1
            require(once, "a client order id was executed twice:", event.client_order_id)


def message(outcome: object) -> Any:
    """What the sender of a command is told."""
    if isinstance(outcome, OrderOutcome):
        return codec.order_result(outcome)
    return codec.cancel_all_result(outcome) if isinstance(outcome, CancelAllOutcome) else None


class Promises:
    """`told` are the answers that left the exchange, by command; `withdrawn` the attempts that it will not execute."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self.disk = disk
        self.history = History()
        self.unseen: list[tuple[Any, int, Any]] = []  # answers that were not yet held against the journal
        self.told: dict[int, Any] = {}
        self.withdrawn: set[tuple[int, str, int]] = set()
        self.reports: list[tuple[int, int, v1.ExecutionReport]] = []
        self.visible_seq = 0  # the last command of which anybody has seen anything
        self.checked = Counter[str]()

    # What is seen of the exchange

    def answered(self, account: int, request: Any, answer: Answer) -> None:
        if not isinstance(answer, Refusal):
            self.unseen.append((request, account, answer))
        elif isinstance(request, v1.NewOrder) and not answer.is_unknown:
            attempt = account, request.client_order_id, request.attempt
            require(attempt not in self.history.attempts, "what is executed was called not executed:", attempt)
            self.withdrawn.add(attempt)

    def reported(self, account: int, after: int, message: v1.ExecutionReport) -> None:
        """A reader that had the events up to `after` was given this one."""
        self.reports.append((account, after, message))

    # Whether it is so

    def look(self) -> None:
        """Hold what was said since the last look against what is on the disk now."""
        self.history.extend(written(self.disk, self.history.last_seq))
        for request, account, answer in self.unseen:
            seq = self.command_of(request, account, answer)
            require(seq <= self.history.last_seq, "acknowledged and not in the journal:", request)
            require(self.history.answers[seq - 1] == answer, "told otherwise than it was:", answer)
            self.told[seq] = answer
            self.visible_seq = max(self.visible_seq, seq)
            self.checked["answers"] += 1
        self.unseen.clear()
        for attempt in self.withdrawn:
            require(attempt not in self.history.attempts, "executed after it was called not executed:", attempt)
        for account, after, message in self.reports:
            feed = self.history.feeds[account]
            require(message.seq == after + 1, "a feed has a gap or a repeat: after", after, message.seq)
            require(message.seq <= len(feed), "a feed tells what is not in the journal:", message)
            require(feed[message.seq - 1] == message, "a feed tells what was not:", account, message)
            self.visible_seq = max(self.visible_seq, message.journal_seq)
            self.checked["events"] += 1
        self.reports.clear()

    def command_of(self, request: Any, account: int, answer: Any) -> int:
        """The command that an answer is of; the answer to a duplicate names the first one's."""
        if not isinstance(request, v1.NewOrder):
            return int(answer.journal_seq)
        attempt = account, request.client_order_id, request.attempt
        require(attempt in self.history.attempts, "acknowledged and not in the journal:", attempt)
        return self.history.attempts[attempt]

    def recovered(self, first_seq: int, lost_after: int | None) -> None:
        """After a start: the journal is the one there was, and all that was told is in it.

        What comes before `first_seq` is kept in snapshots alone. Where the journal may have lost a suffix, `lost_after`
        is the last command that it must have.
        """
        found, known = History(), self.history.entries
        found.extend(known[: first_seq - 1])
        found.extend(written(self.disk, found.last_seq))
        last_seq = found.last_seq
        common = min(len(known), last_seq)
        require(found.entries[:common] == known[:common], "the journal holds other commands than it did")
        if lost_after is None:
            require(last_seq >= self.visible_seq, "acknowledged and lost: commands after", last_seq, self.visible_seq)
        else:
            require(last_seq >= min(lost_after, len(known)), "more is lost than could be:", last_seq, lost_after)
        for seq, answer in list(self.told.items()):
            if seq > last_seq:
                del self.told[seq]
            else:
                require(found.answers[seq - 1] == answer, "told otherwise than it is now:", answer)
        self.visible_seq = min(self.visible_seq, last_seq)
        self.history = found
        self.checked["recoveries"] += 1

    def agree(self, exchange: Exchange) -> None:
        """The state is the fold of the journal."""
        require(exchange.digest() == self.history.exchange.digest(), "the digest is not that of the journal's replay")
        for account in exchange.accounts:
            same = exchange.last_number(account) == self.history.exchange.last_number(account)
            require(same, "an account's events are numbered otherwise than in the journal's replay:", account)


def require_balance(exchange: Exchange) -> None:
    """Nothing is made or lost, what is reserved is what open orders need, and no book is crossed."""
    totals, positions = Counter[str](), Counter[str]()
    for number, account in exchange.accounts.items():
        for asset, balance in account.balances.items():
            totals[asset] += balance.total
            require(not number or balance.reserved >= 0, "less than nothing is reserved:", number, asset)
        for name, position in account.positions.items():
            positions[name] += position.quantity
            orders = [order for order in account.resting.values() if order.content.instrument_id == name]
            open_buy = sum(order.remaining for order in orders if order.side == BUY)
            open_sell = sum(order.remaining for order in orders if order.side == SELL)
            require((position.open_buy, position.open_sell) == (open_buy, open_sell), "open quantities:", number, name)
    require(not any(totals.values()), "cash and fees do not come to zero:", totals)
    require(not any(positions.values()), "positions do not come to zero:", positions)
    for name in exchange.instruments:
        book = exchange.book(name)
        assert book is not None
        crossed = book.bids and book.asks and book.bids[0][0] >= book.asks[0][0]
        require(not crossed, "a book is crossed:", name)


def last_frame(disk: SimulatedDisk, path: Path) -> int | None:
    """The command before the last batch of the journal; None where `path` is not its last file."""
    names = [name for name in disk.listing(JOURNAL) if name.endswith(SUFFIX)]
    if path.name != names[-1]:
        return None
    found = list(frames_of(path, disk.content(path)))
    return found[-1].first_seq - 1 if found else None
