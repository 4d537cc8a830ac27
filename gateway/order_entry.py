"""OrderEntry servicer: one order a call, or batches of instructions on a stream.

A call is decoded, applied and buffered in one go; then it waits for `reply`. On a Session the whole of an Instructions
message is applied in one turn of the loop, so that it shares one commit, and its Results leave in one message. They
are written in that turn, too, and nothing else of the message is kept until they leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import Any

from engine.commands import Command
from engine.events import CancelAllOutcome, OrderOutcome
from gateway import codec, queries
from gateway.access import Access
from gateway.edge import Context, Malformed, Streams, direct, streaming
from gateway.limits import CANCELS, ORDERS, QUERIES
from gateway.refusals import Refused, invalid_request
from gateway.sequencer import Reply, Sequencer
from outcry import v1

SESSION_WINDOW = 64  # batches of one Session that wait for their commit or for the reader
SESSION_BYTES = 512 << 10  # of their results; in memory these take up to ten times as much
INSTRUCTIONS_LIMIT = 1_000  # in one message: it is one turn of the loop, and others wait for it
LEVELS_LIMIT = 20_000  # of all the books that one message asks for, a side

Answer = Any  # an outcome, a Refused, a book and its time, or None where the engine fails
Timed = v1.NewOrder | v1.CancelRequest | v1.ReplaceRequest | v1.CancelAllRequest


def valid_until(request: Timed) -> int | None:
    return request.valid_until_ns if request.HasField("valid_until_ns") else None


class OrderEntry(v1.OrderEntryServicer):
    def __init__(self, access: Access, sequencer: Sequencer, streams: Streams) -> None:
        self.access = access
        self.limits = access.limits
        self.sequencer = sequencer
        self.streams = streams

    @direct(codec.order_result)
    def SubmitOrder(self, request: v1.NewOrder, context: Context, reply: Reply) -> None:
        command = codec.new_order(self.access.account(context, ORDERS), request)
        self.sequencer.submit(command, reply, valid_until(request))

    @direct(codec.order_result)
    def CancelOrder(self, request: v1.CancelRequest, context: Context, reply: Reply) -> None:
        command = codec.cancel_order(self.access.account(context, CANCELS), request)
        self.sequencer.submit(command, reply, valid_until(request))

    @direct(codec.order_result)
    def ReplaceOrder(self, request: v1.ReplaceRequest, context: Context, reply: Reply) -> None:
        command = codec.replace_order(self.access.account(context, ORDERS), request)
        self.sequencer.submit(command, reply, valid_until(request))

    @direct(codec.cancel_all_result)
    def CancelAll(self, request: v1.CancelAllRequest, context: Context, reply: Reply) -> None:
        command = codec.cancel_all(self.access.account(context, CANCELS), request)
        self.sequencer.submit(command, reply, valid_until(request))

    @direct(codec.order_result)
    def ValidateOrder(self, request: v1.NewOrder, context: Context, reply: Reply) -> None:
        command = codec.new_order(self.access.account(context, QUERIES), request)
        sequencer = self.sequencer
        sequencer.query(lambda: sequencer.exchange.validate(sequencer.now_ns(), command), reply)

    @streaming
    async def Session(self, requests: AsyncIterator[v1.Instructions], context: Context) -> None:
        account = self.access.account(context)
        window = Window()
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self.read(account, requests, window))
            self.streams.present().leave = partial(window.end, reading)  # what was sequenced is answered
            while (batch := await window.batches.get()) is not None:
                await batch.done
                await context.write(batch.answer())
                window.sent(batch)

    async def read(self, account: int, requests: AsyncIterator[v1.Instructions], window: Window) -> None:
        async for message in requests:
            window.put(self.batch(account, message))
            del message  # room may be long in coming, and a message is large
            await window.has_room()
        window.end()

    def batch(self, account: int, message: v1.Instructions | Malformed) -> Batch:
        """Sequence a message's instructions; one that is no message, or too much of one, is refused whole."""
        if isinstance(message, Malformed):
            return refused_batch([v1.Instruction()], invalid_request("the message does not parse", "message"))
        if len(message.instructions) > INSTRUCTIONS_LIMIT:
            words = f"a message holds more than {INSTRUCTIONS_LIMIT} instructions"
            return refused_batch(message.instructions[:1], invalid_request(words, "instructions"))
        instructions = list(message.instructions)
        try:
            now_ns = self.sequencer.moment()
        except Refused as refused:
            return refused_batch(instructions, refused)
        batch = Batch()
        answers = [self.instruct(account, now_ns, instruction, batch) for instruction in instructions]
        batch.write(instructions, answers)
        if batch.shows and not batch.commands:
            self.wait_for_what_it_shows(batch)
        elif not batch.commands:
            batch.settle(None)  # refusals are as true now as later
        return batch

    def instruct(self, account: int, now_ns: int, instruction: v1.Instruction, batch: Batch) -> Answer:
        """Sequence one instruction, or look at the book as it is now; what is wrong with its form is its result."""
        kind = instruction.WhichOneof("instruction")
        try:
            if self.limits.on:
                self.limits.take(account, COUNTS_AS.get(kind, QUERIES))
            if kind == "get_order_book":
                batch.shows = True
                batch.count_levels(instruction.get_order_book)
                return queries.book(self.sequencer, instruction.get_order_book)()
            if kind is None:
                raise invalid_request("an instruction is empty", "instruction")
            request = getattr(instruction, kind)
            command = DECODE[kind](account, request)
            return self.sequencer.enter(now_ns, command, batch.settle, valid_until(request)).answer
        except Refused as refused:
            return refused.with_traceback(None)  # which knows the message, and by its frames itself

    def wait_for_what_it_shows(self, batch: Batch) -> None:
        """A batch of questions is answered once the state that it saw is durable."""
        try:
            self.sequencer.query(lambda: None, batch.settle)
        except Refused as refused:
            batch.settle(refused)


DECODE: dict[str, Callable[[int, Any], Command]] = {
    "submit": codec.new_order,
    "cancel": codec.cancel_order,
    "replace": codec.replace_order,
    "cancel_all": codec.cancel_all,
}
COUNTS_AS: dict[str | None, str] = {"submit": ORDERS, "replace": ORDERS, "cancel": CANCELS, "cancel_all": CANCELS}
FORM: dict[str | None, str] = {"submit": "order", "cancel": "order", "replace": "order", "cancel_all": "cancel_all"}


class Batch:
    """The results of one Instructions message, in its order; `settle` tells when they may leave.

    Its commands are sequenced in one turn of the loop and share a commit: the first answer to any of them settles all,
    but that time has run out for one, which settles nothing as long as another may wait.
    """

    def __init__(self) -> None:
        self.results = v1.Results()
        self.size = 0
        self.commands = 0
        self.shows = False  # a book, or that there is none
        self.late = 0
        self.levels = 0
        self.failure: v1.Reject | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, answer: object) -> None:
        """All is durable; or, where `answer` is a Refused, nobody knows. Only the first call counts."""
        if isinstance(answer, Refused) and answer.reason == v1.PROCESSING_TIMEOUT:
            self.late += 1
            if self.late < self.commands:
                return
        if not self.done.done():
            self.failure = answer.reject() if isinstance(answer, Refused) else None
            self.done.set_result(None)

    def write(self, instructions: Iterable[v1.Instruction], answers: Iterable[Answer]) -> None:
        """Write the results. A failure that is known by now is that of the engine over one of these commands."""
        add = self.results.results.add
        for instruction, answer in zip(instructions, answers, strict=True):
            result = add()
            result.request_id = instruction.request_id
            if isinstance(answer, Refused):
                write_refusal(form_of(instruction), answer.reject(), result)
            elif self.failure is not None:
                write_refusal(form_of(instruction), self.failure, result)
            elif isinstance(answer, tuple):
                view, time_ns = answer
                codec.write_order_book(view, time_ns, result.order_book)
            else:
                write_outcome(answer, result)
                self.commands += 1

    def count_levels(self, request: v1.GetOrderBookRequest) -> None:
        """Refused where the books of one message would be too much for one turn of the loop."""
        self.levels += queries.depth(request)
        if self.levels > LEVELS_LIMIT:
            raise invalid_request(f"the books of a message have more than {LEVELS_LIMIT} levels", "depth")

    def answer(self) -> v1.Results:
        """What is to be said once the batch is settled."""
        if self.failure is not None:
            for result in self.results.results:
                withhold(result, self.failure)
        return self.results


def refused_batch(instructions: Sequence[v1.Instruction], refused: Refused) -> Batch:
    """The same answer to every instruction."""
    batch = Batch()
    batch.write(instructions, repeat(refused, len(instructions)))
    batch.settle(None)
    return batch


class Window:
    """The batches of one Session that have not left, in their order and None at their end.

    They are bounded in number and in bytes; one batch alone may be larger.
    """

    def __init__(self) -> None:
        self.batches: asyncio.Queue[Batch | None] = asyncio.Queue(SESSION_WINDOW + 1)  # and the end
        self.ended = False
        self.size = 0
        self.room = asyncio.Event()

    def put(self, batch: Batch) -> None:
        batch.size = batch.results.ByteSize()
        self.size += batch.size
        self.batches.put_nowait(batch)

    async def has_room(self) -> None:
        """Return when there is room for another."""
        while self.batches.qsize() >= SESSION_WINDOW or self.size >= SESSION_BYTES:
            self.room.clear()
            await self.room.wait()

    def end(self, reading: asyncio.Task[None] | None = None) -> None:
        """No more are to come, and nobody is to be `reading` any more."""
        if reading is not None:
            reading.cancel()
        if not self.ended:
            self.ended = True
            self.batches.put_nowait(None)

    def sent(self, batch: Batch) -> None:
        self.size -= batch.size
        self.room.set()


def write_outcome(outcome: object, result: v1.Result) -> None:
    match outcome:
        case OrderOutcome():
            codec.write_order_result(outcome, result.order)
        case CancelAllOutcome():
            result.cancel_all.CopyFrom(codec.cancel_all_result(outcome))
        case _:
            raise TypeError(f"no result for {type(outcome).__name__}")


def form_of(instruction: v1.Instruction) -> str:
    """The field of a Result in which an instruction is answered."""
    return FORM.get(instruction.WhichOneof("instruction"), "reject")


def write_refusal(form: str, reject: v1.Reject, result: v1.Result) -> None:
    """What never reached the engine is refused in the form of the answer that was asked for."""
    if form == "order":
        result.order.status = v1.ORDER_STATUS_REJECTED
        result.order.reject.CopyFrom(reject)
    elif form == "cancel_all":
        result.cancel_all.reject.CopyFrom(reject)
    else:
        result.reject.CopyFrom(reject)


def withhold(result: v1.Result, reject: v1.Reject) -> None:
    """Say `reject` in the place of what only a commit makes true.

    What was refused before it was sequenced has no number of the journal, and stays.
    """
    form = result.WhichOneof("result")
    if form == "order_book" or (form in ("order", "cancel_all") and getattr(result, form).journal_seq):
        result.ClearField(form)
        write_refusal(form, reject, result)
