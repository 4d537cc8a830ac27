"""Keys that change hands: rotated by their owners, revoked or given by operators, effective at once.

A key stops working when the command that ends it is applied, and with the commit end the streams that it opened. That
does not hang on whoever asked for it: a caller may go, or be told that the outcome is unknown, and it happens all the
same. The venue's own accounts have their keys in files, for programs that are started again: a new key goes there, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from engine.commands import PutAccount, RevokeKey, RotateKey
from engine.events import AdminOutcome
from gateway import codec
from gateway.edge import Streams
from gateway.sequencer import Sequencer, settle

log = structlog.get_logger()


class Keys:
    """`keep` puts an account's new key where it is kept, if anywhere: it is told the account and the key. OSError."""

    def __init__(self, sequencer: Sequencer, streams: Streams, keep: Callable[[int, str], None]) -> None:
        self.sequencer = sequencer
        self.streams = streams
        self.keep = keep

    async def change(self, command: PutAccount | RotateKey | RevokeKey, key: str = "") -> AdminOutcome:
        """Sequence a command that gives an account `key`, or takes the one it has. Refused, OSError."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.sequencer.submit(command, partial(self.changed, future, key))
        outcome: AdminOutcome = await future
        codec.require_done(outcome)
        return outcome

    def changed(self, future: asyncio.Future[Any], key: str, answer: object) -> None:
        """The reply to the command: the streams are ended whatever it says, because their keys have stopped working."""
        self.streams.end_keyless()
        if key and isinstance(answer, AdminOutcome) and answer.refusal is None:
            try:
                self.keep(answer.account, key)
            except OSError as problem:
                log.exception("key_not_kept", account=answer.account)
                if not future.done():
                    future.set_exception(problem)  # the key is not told
        settle(future, answer)
