"""What a connection holds of a call that is to be cancelled when nobody else holds it any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import ref

from wire.hpack import Block

if TYPE_CHECKING:
    from wire.client_call import ClientCall


class Tether:
    """Passes on what happens to the call's stream, while there is a call."""

    __slots__ = ("alive", "give_back")

    def __init__(self, call: ClientCall, give_back: Callable[[int], None]) -> None:
        self.alive = ref(call)
        self.give_back = give_back  # what came too late to be read

    def on_headers(self, block: Block, ended: bool) -> None:
        if (call := self.alive()) is not None:
            call.on_headers(block, ended)

    def on_data(self, data: bytes, size: int, ended: bool) -> None:
        if (call := self.alive()) is not None:
            call.on_data(data, size, ended)
        elif size:
            self.give_back(size)

    def on_trailers(self, block: Block) -> None:
        if (call := self.alive()) is not None:
            call.on_trailers(block)

    def on_reset(self, code: int, by_peer: bool) -> None:
        if (call := self.alive()) is not None:
            call.on_reset(code, by_peer)

    def on_lost(self, words: str, unsent: bool) -> None:
        if (call := self.alive()) is not None:
            call.on_lost(words, unsent)

    def wake(self) -> None:
        if (call := self.alive()) is not None:
            call.wake()
