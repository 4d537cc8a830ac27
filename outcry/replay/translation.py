"""From the file's commands to instructions for an exchange that knows nothing of the file.

Two parties act: the maker owns every resting order, the taker sends the aggressive ones, so that each trade is between
two accounts. Each order gets a name of its own, `RUN:NUMBER:ID`, because an id of the file can come back after a DROP.
What is sent later refers to that name, so nothing has to wait for the answer that brings the exchange's own id.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from msgspec import Struct

from outcry import v1
from outcry.replay.errors import ReplayFailed
from outcry.replay.files import Command, Op


class Party(Enum):
    MAKER = "maker"
    TAKER = "taker"


class Resting(Struct):
    """An order that should be in the book. `total` is its quantity as the exchange counts it, fills included."""

    name: str
    total: int
    remaining: int


class Request(Struct, frozen=True):
    """An instruction, who gives it, and for an aggressive order the name of the order that it must trade with."""

    party: Party
    instruction: v1.Instruction
    maker: str | None = None


class Translation:
    """Turns commands into requests, in order; knows which orders rest and how much is left of them.

    `run` makes the names different from those of every other run against the same exchange.
    """

    def __init__(self, instrument_id: str, run: str) -> None:
        self.instrument_id = instrument_id
        self.run = run
        self.resting: dict[int, Resting] = {}
        self.named = 0
        self.by_op: dict[Op, Callable[[Command], Request]] = {
            Op.SEED: self.enter,
            Op.ADD: self.enter,
            Op.DROP: self.cancel,
            Op.CANCEL: self.cancel,
            Op.REDUCE: self.reduce,
            Op.TAKE: self.reduce,
            Op.HIT: self.hit,
        }

    def request(self, command: Command) -> Request:
        """Translate one command. ReplayFailed where it names an order that does not rest, or takes too much of it."""
        return self.by_op[command.op](command)

    def name(self, command: Command) -> str:
        self.named += 1
        return f"{self.run}:{self.named}:{command.id}"

    def enter(self, command: Command) -> Request:
        if command.id in self.resting:
            raise ReplayFailed(f"row {command.row}: order {command.id} rests already")
        name = self.name(command)
        self.resting[command.id] = Resting(name, command.quantity, command.quantity)
        return Request(Party.MAKER, self.submit(command, name, command.buys, v1.TIME_IN_FORCE_GTC))

    def cancel(self, command: Command) -> Request:
        order = self.named_by(command)
        del self.resting[command.id]
        return Request(Party.MAKER, v1.Instruction(cancel=v1.CancelRequest(client_order_id=order.name)))

    def reduce(self, command: Command) -> Request:
        order = self.taken_from(command)
        if not order.remaining:
            return Request(Party.MAKER, v1.Instruction(cancel=v1.CancelRequest(client_order_id=order.name)))
        order.total -= command.quantity
        replace = v1.ReplaceRequest(client_order_id=order.name, quantity=order.total)
        return Request(Party.MAKER, v1.Instruction(replace=replace))

    def hit(self, command: Command) -> Request:
        order = self.taken_from(command)
        instruction = self.submit(command, self.name(command), not command.buys, v1.TIME_IN_FORCE_IOC)
        return Request(Party.TAKER, instruction, order.name)

    def named_by(self, command: Command) -> Resting:
        order = self.resting.get(command.id)
        if order is None:
            raise ReplayFailed(f"row {command.row}: {command.op} of order {command.id}, which does not rest")
        return order

    def taken_from(self, command: Command) -> Resting:
        """The order named, with the command's quantity gone from it."""
        order = self.named_by(command)
        if command.quantity > order.remaining:
            raise ReplayFailed(f"row {command.row}: {command.op} takes more than is left of order {command.id}")
        order.remaining -= command.quantity
        if not order.remaining:
            del self.resting[command.id]
        return order

    def submit(self, command: Command, name: str, buys: bool, time_in_force: v1.TimeInForce) -> v1.Instruction:
        order = v1.NewOrder(
            instrument_id=self.instrument_id,
            side=v1.SIDE_BUY if buys else v1.SIDE_SELL,
            order_type=v1.ORDER_TYPE_LIMIT,
            time_in_force=time_in_force,
            quantity=command.quantity,
            price=command.price,
            client_order_id=name,
        )
        return v1.Instruction(submit=order)


def file_id(name: str) -> str:
    """The file's id of the order that a Translation named."""
    return name.rpartition(":")[2]
