"""What may come in: everything, while all goes well; when it does not, cancels before orders.

Orders that cannot be made durable in time are worth nothing to anybody, and those that wait for the disk keep others
waiting. So they are refused before they are sequenced: they change nothing, have no number, and may be sent again.

Two things are bounded. What waits for the disk: the last tenth of the places is for cancels. And the time that a commit
takes: a circuit breaker opens when one batch has been on its way to the disk for LAG_BEATS, and lets no order in. Once
that batch has arrived it is half open: a few orders are let in at each beat, on trial, and when no batch has lagged for
as long as they may take, it closes. Cancels are let in all the time, and so are retries of orders that are known, whose
senders must not be told that nothing was executed.

    closed ── a batch lags ──▶ open ── it has arrived ──▶ half open ── trials were quick ──▶ closed
                                ▲─────── a batch lags ────────┘

Time is counted in beats of the sequencer's heart, not read from a clock: a process that stood still knows nothing of
the disk. Nothing of this costs the order path anything while it is wide: the sequencer tests one flag.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

import structlog

from engine.commands import Command, NewOrder, Register, ReplaceOrder
from gateway.refusals import overloaded

LAG_BEATS = 20  # a second
PROOF_BEATS = 2 * (LAG_BEATS + 1)  # a trial may wait for a batch before its own, and either may yet lag
TRIALS = 10  # orders at each beat while half open
CANCELS_SHARE = 10  # one place in ten is kept for cancels

# What is shed. Cancels and what operators say are not.
SHED = (NewOrder, ReplaceOrder, Register)

log = structlog.get_logger()


class Reason(Protocol):
    """Something for which orders may be kept out."""

    @property
    def narrows(self) -> bool:
        """Whether it keeps any order out now."""

    def admit(self) -> None:
        """Let one order in. Refused where it may not come."""


class State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class Sign(Enum):
    """What a beat tells of the commits."""

    LAGGING = "lagging"
    CLEAR = "clear"
    PROVEN = "proven"  # clear for as long as it may take, since the first trial


NEXT = {
    (State.CLOSED, Sign.LAGGING): State.OPEN,
    (State.OPEN, Sign.CLEAR): State.HALF_OPEN,
    (State.HALF_OPEN, Sign.LAGGING): State.OPEN,
    (State.HALF_OPEN, Sign.PROVEN): State.CLOSED,
}


class Breaker:
    """The circuit breaker: it watches how long a batch is on its way to the disk."""

    def __init__(self) -> None:
        self.state = State.CLOSED
        self.batch = 0
        self.age = 0  # of that batch, in beats
        self.trials = 0  # left until the next beat
        self.tried = False
        self.proof = 0  # beats since the first trial

    @property
    def narrows(self) -> bool:
        return self.state is not State.CLOSED

    def admit(self) -> None:
        if self.state is State.HALF_OPEN and self.trials:
            self.trials -= 1
            self.tried = True
        elif self.state is not State.CLOSED:
            raise overloaded("The disk lags behind; orders are not taken for a while")

    def beat(self, batch: int) -> None:
        """Some time has passed. `batch` names the one that is on its way to the disk; 0: there is none."""
        self.age = self.age + 1 if batch and batch == self.batch else 0
        self.batch = batch
        self.trials = TRIALS
        self.proof += self.tried
        state = NEXT.get((self.state, self.sign()))
        if state is not None:
            log.warning("circuit_breaker", was=self.state.value, now=state.value, batch=batch)
            self.state, self.tried, self.proof = state, False, 0

    def sign(self) -> Sign:
        if self.age >= LAG_BEATS:
            return Sign.LAGGING
        return Sign.PROVEN if self.proof >= PROOF_BEATS else Sign.CLEAR


class Admission:
    """Judges what comes in while it is narrow. Beside the breaker, any of `reasons` keeps orders out."""

    def __init__(self, pending_limit: int, *reasons: Reason) -> None:
        self.pending_limit = pending_limit  # commands that wait for the disk
        self.orders_limit = pending_limit - pending_limit // CANCELS_SHARE  # above which no order is let in
        self.breaker = Breaker()
        self.reasons: list[Reason] = [*reasons, self.breaker]  # the breaker last: what others keep out was no trial

    def is_narrow(self, waiting: int) -> bool:
        """Whether anything is kept out while `waiting` commands wait for the disk."""
        return waiting >= self.orders_limit or any(reason.narrows for reason in self.reasons)

    def admit(self, command: Command, is_retry: bool, waiting: int) -> None:
        """Let a command in. Refused where it may not come."""
        shed = isinstance(command, SHED) and not is_retry
        if waiting >= (self.orders_limit if shed else self.pending_limit):
            raise overloaded("Too many commands wait for the disk", pending_limit=self.pending_limit)
        if shed:
            for reason in self.reasons:
                reason.admit()
