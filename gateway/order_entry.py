"""OrderEntry servicer: one order a call, or batches of instructions on a stream.

A call is decoded, applied and buffered in one go; then it waits for `reply`. On a Session the whole of an Instructions
message is applied in one turn of the loop, so that it shares one commit, and its Results leave in one message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from engine.commands import Command
from engine.events import CancelAllOutcome, OrderOutcome
from engine.views import BookView
from gateway import codec, queries
from gateway.access import Access
from gateway.edge import Context, Malformed, Streams, streaming, unary
from gateway.refusals import Refused, invalid_request
from gateway.sequencer import Reply, Sequencer
from outcry import v1

SESSION_WINDOW = 64  # batches of one Session that wait for their commit or for the reader
INSTRUCTIONS_LIMIT = 1_000  # in one message: it is one turn of the loop, and others wait for it
LEVELS_LIMIT = 20_000  # of all the books that one message asks for, a side

Timed = v1.NewOrder | v1.CancelRequest | v1.ReplaceRequest | v1.CancelAllRequest


def valid_until(request: Timed) -> int | None:
    return request.valid_until_ns if request.HasField("valid_until_ns") else None


class OrderEntry(v1.OrderEntryServicer):
    def __init__(self, access: Access, sequencer: Sequencer, streams: Streams) -> None:
        self.access = access
        self.sequencer = sequencer
        self.streams = streams

    @unary
    async def SubmitOrder(self, request: v1.NewOrder, context: Context) -> v1.OrderResult:
        command = codec.new_order(self.access.account(context), request)
        return codec.order_result(await self.sequencer.execute(command, valid_until(request)))

    @unary
    async def CancelOrder(self, request: v1.CancelRequest, context: Context) -> v1.OrderResult:
        command = codec.cancel_order(self.access.account(context), request)
        return codec.order_result(await self.sequencer.execute(command, valid_until(request)))

    @unary
    async def ReplaceOrder(self, request: v1.ReplaceRequest, context: Context) -> v1.OrderResult:
        command = codec.replace_order(self.access.account(context), request)
        return codec.order_result(await self.sequencer.execute(command, valid_until(request)))

    @unary
    async def CancelAll(self, request: v1.CancelAllRequest, context: Context) -> v1.CancelAllResult:
        command = codec.cancel_all(self.access.account(context), request)
        return codec.cancel_all_result(await self.sequencer.execute(command, valid_until(request)))

    @unary
    async def ValidateOrder(self, request: v1.NewOrder, context: Context) -> v1.OrderResult:
        command = codec.new_order(self.access.account(context), request)
        sequencer = self.sequencer
        outcome = await sequencer.ask(lambda: sequencer.exchange.validate(sequencer.now_ns(), command))
        return codec.order_result(outcome)

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
        for index, instruction in enumerate(instructions):
            self.instruct(account, instruction, batch, partial(batch.answer, index))
        return batch

    def instruct(self, account: int, instruction: v1.Instruction, batch: Batch, reply: Reply) -> None:
        """Sequence one instruction; what is wrong with its form is answered in its place."""
        kind = instruction.WhichOneof("instruction")
        try:
            if kind == "get_order_book":
                batch.count_levels(instruction.get_order_book)
                self.sequencer.query(queries.book(self.sequencer, instruction.get_order_book), reply)
            elif kind is None:
                raise invalid_request("an instruction is empty", "instruction")
            else:
                request = getattr(instruction, kind)
                self.sequencer.submit(DECODE[kind](account, request), reply, valid_until(request))
        except Refused as refused:
            reply(refused)


DECODE: dict[str, Callable[[int, Any], Command]] = {
    "submit": codec.new_order,
    "cancel": codec.cancel_order,
    "replace": codec.replace_order,
    "cancel_all": codec.cancel_all,
}


class Batch:
    """The answers to one Instructions message, in its order."""

    def __init__(self, instructions: list[v1.Instruction]) -> None:
        self.instructions = instructions
        self.answers: list[object] = [None] * len(instructions)
        self.missing = len(instructions)
        self.levels = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not instructions:
            self.done.set_result(None)

    def answer(self, index: int, answer: object) -> None:
        self.answers[index] = answer
        self.missing -= 1
        if not self.missing and not self.done.done():
            self.done.set_result(None)

    def count_levels(self, request: v1.GetOrderBookRequest) -> None:
        """Refused where the books of one message would be too much for one turn of the loop."""
        self.levels += queries.depth(request)
        if self.levels > LEVELS_LIMIT:
            raise invalid_request(f"the books of a message have more than {LEVELS_LIMIT} levels", "depth")

    def results(self) -> v1.Results:
        message = v1.Results()
        add = message.results.add
        for instruction, answer in zip(self.instructions, self.answers, strict=True):
            write_result(instruction, answer, add())
        return message


def refused_batch(first: v1.Instruction, refused: Refused) -> Batch:
    """The one answer to a message that is refused whole."""
    batch = Batch([first])
    batch.answer(0, refused)
    return batch


def write_result(instruction: v1.Instruction, answer: object, result: v1.Result) -> None:
    """Write an answer into an empty message of the kind that was asked for."""
    result.request_id = instruction.request_id
    match answer:
        case OrderOutcome():
            codec.write_order_result(answer, result.order)
        case (BookView() as view, int(time_ns)):
            codec.write_order_book(view, time_ns, result.order_book)
        case CancelAllOutcome():
            result.cancel_all.CopyFrom(codec.cancel_all_result(answer))
        case Refused():
            write_refusal(instruction, answer.reject(), result)
        case _:
            raise TypeError(f"no result for {type(answer).__name__}")


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
