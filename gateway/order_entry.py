"""OrderEntry servicer: one order a call, or batches of instructions on a stream.

A call is decoded, applied and buffered in one go; then it waits for `reply`. On a Session the whole of an Instructions
message is applied in one turn of the loop, so that it shares one commit, and its Results leave in one message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from engine.commands import Command
from engine.events import CancelAllOutcome, OrderOutcome
from engine.views import BookView
from gateway import codec, queries
from gateway.access import Access
from gateway.edge import Context, Malformed, Streams, direct, streaming
from gateway.refusals import Refused, invalid_request
from gateway.sequencer import Reply, Sequencer, Waiting
from outcry import v1

SESSION_WINDOW = 64  # batches of one Session that wait for their commit or for the reader
INSTRUCTIONS_LIMIT = 1_000  # in one message: it is one turn of the loop, and others wait for it
LEVELS_LIMIT = 20_000  # of all the books that one message asks for, a side

Answer = Waiting | Refused | tuple[BookView, int]
Timed = v1.NewOrder | v1.CancelRequest | v1.ReplaceRequest | v1.CancelAllRequest


def valid_until(request: Timed) -> int | None:
    return request.valid_until_ns if request.HasField("valid_until_ns") else None


class OrderEntry(v1.OrderEntryServicer):
    def __init__(self, access: Access, sequencer: Sequencer, streams: Streams) -> None:
        self.access = access
        self.sequencer = sequencer
        self.streams = streams

    @direct(codec.order_result)
    def SubmitOrder(self, request: v1.NewOrder, context: Context, reply: Reply) -> None:
        command = codec.new_order(self.access.account(context), request)
        self.sequencer.submit(command, reply, valid_until(request))

    @direct(codec.order_result)
    def CancelOrder(self, request: v1.CancelRequest, context: Context, reply: Reply) -> None:
        command = codec.cancel_order(self.access.account(context), request)
        self.sequencer.submit(command, reply, valid_until(request))

    @direct(codec.order_result)
    def ReplaceOrder(self, request: v1.ReplaceRequest, context: Context, reply: Reply) -> None:
        command = codec.replace_order(self.access.account(context), request)
        self.sequencer.submit(command, reply, valid_until(request))

    @direct(codec.cancel_all_result)
    def CancelAll(self, request: v1.CancelAllRequest, context: Context, reply: Reply) -> None:
        command = codec.cancel_all(self.access.account(context), request)
        self.sequencer.submit(command, reply, valid_until(request))

    @direct(codec.order_result)
    def ValidateOrder(self, request: v1.NewOrder, context: Context, reply: Reply) -> None:
        command = codec.new_order(self.access.account(context), request)
        sequencer = self.sequencer
        sequencer.query(lambda: sequencer.exchange.validate(sequencer.now_ns(), command), reply)

    @streaming
    async def Session(self, requests: AsyncIterator[v1.Instructions], context: Context) -> None:
        account = self.access.account(context)
        window: asyncio.Queue[Batch | None] = asyncio.Queue(SESSION_WINDOW)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.read(account, requests, window))
            while (batch := await window.get()) is not None:
                await batch.done
                await context.write(batch.results())

    async def read(
        self, account: int, requests: AsyncIterator[v1.Instructions], window: asyncio.Queue[Batch | None]
    ) -> None:
        async for message in requests:
            await window.put(self.batch(account, message))
        await window.put(None)

    def batch(self, account: int, message: v1.Instructions | Malformed) -> Batch:
        """Sequence a message's instructions; one that is no message, or too much of one, is refused whole."""
        if isinstance(message, Malformed):
            return refused_batch(v1.Instruction(), invalid_request("the message does not parse", "message"))
        instructions = list(message.instructions)
        if len(instructions) > INSTRUCTIONS_LIMIT:
            words = f"a message holds more than {INSTRUCTIONS_LIMIT} instructions"
            return refused_batch(instructions[0], invalid_request(words, "instructions"))
        batch = Batch(instructions)
        try:
            now_ns = self.sequencer.moment()
        except Refused as refused:
            batch.refuse(refused)
            return batch
        for instruction in instructions:
            batch.answers.append(self.instruct(account, now_ns, instruction, batch))
        if not batch.has_commands():
            self.wait_for_what_it_shows(batch)
        return batch

    def instruct(self, account: int, now_ns: int, instruction: v1.Instruction, batch: Batch) -> Answer:
        """Sequence one instruction, or look at the book as it is now; what is wrong with its form is its answer."""
        kind = instruction.WhichOneof("instruction")
        try:
            if kind == "get_order_book":
                batch.count_levels(instruction.get_order_book)
                return queries.book(self.sequencer, instruction.get_order_book)()
            if kind is None:
                raise invalid_request("an instruction is empty", "instruction")
            request = getattr(instruction, kind)
            command = DECODE[kind](account, request)
            return self.sequencer.enter(now_ns, command, batch.settle, valid_until(request))
        except Refused as refused:
            return refused

    def wait_for_what_it_shows(self, batch: Batch) -> None:
        """A batch of questions is answered once the state that it saw is durable."""
        try:
            self.sequencer.query(lambda: None, batch.settle)
        except Refused as refused:
            batch.refuse(refused)


DECODE: dict[str, Callable[[int, Any], Command]] = {
    "submit": codec.new_order,
    "cancel": codec.cancel_order,
    "replace": codec.replace_order,
    "cancel_all": codec.cancel_all,
}


class Batch:
    """The answers to one Instructions message, in its order.

    Its commands are sequenced in one turn of the loop and share a commit: the first answer to any of them settles all,
    but that time has run out for one, which settles nothing as long as another may wait.
    """

    def __init__(self, instructions: list[v1.Instruction]) -> None:
        self.instructions = instructions
        self.answers: list[Answer] = []
        self.late = 0
        self.levels = 0
        self.done: asyncio.Future[Refused | None] = asyncio.get_running_loop().create_future()

    def settle(self, answer: object) -> None:
        """All is durable; or, where `answer` is a Refused, nobody knows. Only the first call counts."""
        if isinstance(answer, Refused) and answer.reason == v1.PROCESSING_TIMEOUT:
            self.late += 1
            if self.late < sum(isinstance(waiting, Waiting) for waiting in self.answers):
                return
        if not self.done.done():
            self.done.set_result(answer if isinstance(answer, Refused) else None)

    def refuse(self, refused: Refused) -> None:
        """Answer every instruction with `refused`."""
        self.answers = [refused] * len(self.instructions)
        self.settle(None)

    def has_commands(self) -> bool:
        return any(type(answer) is Waiting for answer in self.answers)

    def count_levels(self, request: v1.GetOrderBookRequest) -> None:
        """Refused where the books of one message would be too much for one turn of the loop."""
        self.levels += queries.depth(request)
        if self.levels > LEVELS_LIMIT:
            raise invalid_request(f"the books of a message have more than {LEVELS_LIMIT} levels", "depth")

    def results(self) -> v1.Results:
        """What is to be said once the batch is settled."""
        failure = self.done.result()
        message = v1.Results()
        add = message.results.add
        for instruction, answer in zip(self.instructions, self.answers, strict=True):
            result = add()
            result.request_id = instruction.request_id
            if isinstance(answer, Refused):
                write_refusal(instruction, answer.reject(), result)
            elif failure is not None:
                write_refusal(instruction, failure.reject(), result)
            elif isinstance(answer, Waiting):
                write_outcome(answer.answer, result)
            else:
                codec.write_order_book(*answer, result.order_book)
        self.answers = []  # they know the batch, which knows them
        return message


def refused_batch(first: v1.Instruction, refused: Refused) -> Batch:
    """The one answer to a message that is refused whole."""
    batch = Batch([first])
    batch.refuse(refused)
    return batch


def write_outcome(outcome: object, result: v1.Result) -> None:
    match outcome:
        case OrderOutcome():
            codec.write_order_result(outcome, result.order)
        case CancelAllOutcome():
            result.cancel_all.CopyFrom(codec.cancel_all_result(outcome))
        case _:
            raise TypeError(f"no result for {type(outcome).__name__}")


def write_refusal(instruction: v1.Instruction, reject: v1.Reject, result: v1.Result) -> None:
    """What never reached the engine is refused in the form of the answer that was asked for."""
    kind = instruction.WhichOneof("instruction")
    if kind in ("submit", "cancel", "replace"):
        result.order.status = v1.ORDER_STATUS_REJECTED
        result.order.reject.CopyFrom(reject)
    elif kind == "cancel_all":
        result.cancel_all.reject.CopyFrom(reject)
    else:
        result.reject.CopyFrom(reject)
