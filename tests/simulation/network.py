"""Clients, and the network between them and the exchange: it delays, loses and doubles what they say and are told.

A client that is not answered asks again, in the same words, until it knows: with the same client order id, as real ones
do. What it does and what happens to its messages depends on the seed, its intent and the attempt alone.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from google.rpc import status_pb2
from msgspec import Struct

from gateway.order_entry import OrderEntry
from outcry import v1
from tests.simulation.exchange import START_NS, key
from tests.simulation.loop import MS_NS, SECOND_NS

if TYPE_CHECKING:
    from tests.simulation.world import World

ATTEMPTS = 40
METHODS = {
    v1.NewOrder: OrderEntry.SubmitOrder,
    v1.CancelRequest: OrderEntry.CancelOrder,
    v1.ReplaceRequest: OrderEntry.ReplaceOrder,
    v1.CancelAllRequest: OrderEntry.CancelAll,
}


class Refusal(Struct, frozen=True):
    """A call that ended without an outcome. `outcome` is what is known of it: not_executed, unknown, or ""."""

    reason: str
    outcome: str

    @property
    def is_unknown(self) -> bool:
        return self.outcome == "unknown" or self.reason == "INTERNAL_ERROR"


NOBODY_THERE = Refusal("SERVICE_UNAVAILABLE", "not_executed")
PASSING = {"SERVICE_UNAVAILABLE", "PROCESSING_TIMEOUT", "INTERNAL_ERROR", "CIRCUIT_BREAKER_OPEN"}
Answer = Any  # a message of the contract, or a Refusal


def refusal(trailing: Any) -> Refusal:
    """What a status says, read from its trailing metadata as a client does."""
    packed = dict(trailing)["grpc-status-details-bin"]
    for detail in status_pb2.Status.FromString(packed).details:
        reject = v1.Reject()
        if detail.Unpack(reject):
            return Refusal(v1.RejectReason.Name(reject.reason), reject.details["outcome"].text)
    raise AssertionError("a status without a Reject")


class Call:
    """The server's end of one unary call."""

    def __init__(self, account: int, answered: Callable[[Answer], None]) -> None:
        self.account = account
        self.answered = answered
        self.answers = 0

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-api-key", key(self.account)),)

    def peer(self) -> str:
        return "unix:"

    def reply(self, message: Any) -> None:
        self.answers += 1
        self.answered(message)

    def end(self, code: object, words: str, trailing: Any) -> None:
        self.answers += 1
        self.answered(refusal(trailing))


class Intent:
    """What a client wants once, whatever it takes. `answer` is what it knows of it in the end."""

    def __init__(self, world: World, name: str, account: int, request: Any, seed: object) -> None:
        self.world = world
        self.name = name
        self.account = account
        self.request = request
        self.seed = seed
        self.attempt = 0
        self.known: set[int] = set()  # attempts that need no answer any more
        self.answer: Answer | None = None

    def dice(self) -> Random:
        return Random(f"{self.seed} {self.name} {self.attempt}")

    def send(self) -> None:
        """Make one attempt; and another when that has brought nothing in time."""
        calm = self.world.calm
        if self.answer is not None or (self.attempt >= ATTEMPTS and not calm):
            return
        self.attempt += 1
        dice, attempt = self.dice(), self.attempt
        request = type(self.request)()
        request.CopyFrom(self.request)
        if isinstance(request, v1.NewOrder):
            request.attempt = attempt
        if dice.random() < 0.1 and not calm:
            request.valid_until_ns = START_NS + self.world.loop.now_ns + dice.choice((1, 20, 300)) * MS_NS
        loop = self.world.loop
        if dice.random() > 0.1 or calm:
            loop.after(dice.randint(0, 8) * MS_NS, self.arrive, request.SerializeToString(), attempt)
        patience_ms = dice.choice((30, 200, 1000, 7000))
        loop.after(patience_ms * MS_NS, self.give_up, attempt)
        if dice.random() < 0.1 and not calm:  # somebody on the way asks twice
            loop.after(dice.randint(0, 20) * MS_NS, self.send)

    def give_up(self, attempt: int) -> None:
        if attempt not in self.known:
            self.known.add(attempt)
            self.send()

    def arrive(self, data: bytes, attempt: int) -> None:
        world, request = self.world, type(self.request).FromString(data)
        if world.running is None:
            self.hear(attempt, NOBODY_THERE)
            return
        call = Call(self.account, lambda answer: self.leave(request, attempt, answer))
        METHODS[type(request)].plain(world.running.order_entry, request, call)

    def leave(self, request: Any, attempt: int, answer: Answer) -> None:
        """The exchange has said this; it may get lost."""
        self.world.told(self.account, request, answer)
        dice = Random(f"{self.seed} {self.name} {attempt} back")
        if dice.random() > 0.1 or self.world.calm:
            self.world.loop.after(dice.randint(0, 8) * MS_NS, self.hear, attempt, answer)

    def hear(self, attempt: int, answer: Answer) -> None:
        self.known.add(attempt)
        if not isinstance(answer, Refusal):
            self.answer = self.answer or answer
        elif answer.reason not in PASSING:
            raise AssertionError(f"{self.name} was refused: {answer}")
        elif self.answer is None:
            pause_ns = min(SECOND_NS, 10 * MS_NS << min(self.attempt, 6))
            self.world.loop.after(pause_ns, self.send)
