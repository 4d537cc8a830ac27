"""A trader of the soak: one account and what it does on a channel, by chance and a seed. Every answer is checked.

An act that is not answered within its bound has stalled; an answer that is not one of the right ones is wrong. Either
is a fault, and the trader goes on with the next act.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from random import Random
from typing import Any

import grpc
import grpc.aio

import wire
from load import flows
from outcry import v1
from outcry.channels import OPTIONS, Stubs

INSTRUMENT = "SOAK"
BOUND_S = 20.0  # for an act, most of which take milliseconds
SLOW_S = 1.0  # for which a slow reader reads nothing
TIMEOUT_S = 10.0
TOO_LARGE = 5 << 20  # bytes; the engine takes 4 MiB
CATCH_UP = 2_000  # events that a feed may begin behind
SLOW_CATCH_UP = 20_000  # of a slow reader: more than the windows hold
VISITS = (1, 5, 20, 60, 500)  # acts on one channel
BURST = 50
BATCHES = 100  # of a Session: more than its window
CHANNELS_OF_DATA = (v1.MARKET_DATA_CHANNEL_BOOK, v1.MARKET_DATA_CHANNEL_TRADES)

CHANNELS: dict[str, Callable[..., Any]] = {"native": wire.insecure_channel, "grpcio": grpc.aio.insecure_channel}
OK, CANCELLED, LATE = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED
CLOSED = (v1.REJECT_REASON_UNSPECIFIED, v1.CANCEL_FAILED)  # what a cancel may say: done, or too late


class Wrong(Exception):
    """An answer is not what it must be."""


def demand(holds: bool, *words: object) -> None:
    if not holds:
        raise Wrong(" ".join(str(word) for word in words))


class Tally:
    """What was done, how long the longest took, and what was wrong."""

    def __init__(self) -> None:
        self.acts: Counter[tuple[str, str]] = Counter()
        self.longest_s: dict[str, float] = {}
        self.faults: list[str] = []

    def fault(self, words: str) -> None:
        self.faults.append(words)
        if len(self.faults) <= 20:
            print(f"fault: {words}", flush=True)


class Trader:
    def __init__(self, number: int, key: str, address: str, seed: int, tally: Tally) -> None:
        self.name = f"trader-{number}"
        self.metadata = (("x-api-key", key),)
        self.address = address
        self.chance = Random(f"{seed}/{number}")
        self.tally = tally
        self.names = count()
        self.seq = 0  # the account's last number, as far as it was told

    # Visits

    async def trade(self, until: float) -> None:
        while time.monotonic() < until:
            await self.visit(until)

    async def visit(self, until: float) -> None:
        """Open a channel, act on it, close it; now and then with calls under way."""
        kind = self.chance.choice(list(CHANNELS))
        channel = CHANNELS[kind](self.address, options=OPTIONS)
        stubs = Stubs(channel)
        acts = self.chance.choices(list(ACTS), list(ACTS.values()), k=self.chance.choice(VISITS))
        for act in acts:
            if time.monotonic() >= until:
                break
            await self.bounded(kind, act.__name__, act(self, stubs, channel))
        await self.bounded(kind, "tidy", self.tidy(stubs, channel))
        leave = self.leave if self.chance.random() < 0.3 else self.close
        await self.bounded(kind, leave.__name__, leave(stubs, channel))

    async def bounded(self, kind: str, name: str, act: Awaitable[None]) -> None:
        started = time.monotonic()
        where = f"{self.name}, {name} on {kind}"
        try:
            async with asyncio.timeout(BOUND_S):
                await act
        except TimeoutError:
            self.tally.fault(f"{where}: stalled for {BOUND_S} s")
        except grpc.aio.AioRpcError as error:
            self.tally.fault(f"{where}: {error.code().name}, {error.details()}")
        except Wrong as wrong:
            self.tally.fault(f"{where}: {wrong}")
        except BaseException as problem:
            self.tally.fault(f"{where}: {problem!r}\n{traceback.format_exc()}")
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
        self.tally.acts[kind, name] += 1
        self.tally.longest_s[name] = max(self.tally.longest_s.get(name, 0), time.monotonic() - started)

    async def tidy(self, stubs: Stubs, channel: Any) -> None:
        """No order is left, once Sessions that were left have been noticed; and no stream."""
        left = True
        while left:
            await stubs.orders.CancelAll(v1.CancelAllRequest(), metadata=self.metadata, timeout=TIMEOUT_S)
            left = bool((await stubs.accounts.ListOrders(v1.ListOrdersRequest(), metadata=self.metadata)).orders)
        if hasattr(channel, "link"):
            streams = list(channel.link.line.core.streams)
            demand(not streams, "streams are left", streams)

    async def close(self, stubs: Stubs, channel: Any) -> None:
        await channel.close()

    async def leave(self, stubs: Stubs, channel: Any) -> None:
        """Close with calls of every kind under way: each ends."""
        calls = [
            stubs.executions.StreamExecutions(v1.StreamExecutionsRequest(), metadata=self.metadata),
            stubs.market_data.StreamMarketData(
                v1.StreamMarketDataRequest(channels=CHANNELS_OF_DATA), timeout=TIMEOUT_S
            ),
            stubs.orders.Session(metadata=self.metadata),
            stubs.orders.SubmitOrder(self.order(), metadata=self.metadata),
        ]
        await self.moment()
        await channel.close(self.chance.choice((None, 0.01)))
        codes = [await call.code() for call in calls]
        demand(set(codes) <= {OK, CANCELLED}, "ended by the channel's close:", codes)

    async def moment(self) -> None:
        """Nothing, a turn of the loop, or up to a few milliseconds: so that what follows comes in any phase."""
        chosen = self.chance.random()
        if chosen > 0.2:
            await asyncio.sleep(0 if chosen < 0.4 else self.chance.random() * 0.003)

    # Orders

    def order(self) -> v1.NewOrder:
        number = next(self.names)
        drawn = next(flows.orders(self.chance.randrange(1 << 30), 1))
        order = flows.new_order(drawn, INSTRUMENT)
        order.client_order_id = f"{self.name}-{number}"
        return order

    def check(self, order: v1.NewOrder, result: v1.OrderResult) -> None:
        demand(result.order_id > 0 and not result.HasField("reject"), "refused:", result)
        demand(result.client_order_id == order.client_order_id, "another order:", result)
        open_now = result.status in (v1.ORDER_STATUS_NEW, v1.ORDER_STATUS_PARTIALLY_FILLED, v1.ORDER_STATUS_FILLED)
        demand(not open_now or result.filled_quantity + result.remaining_quantity == order.quantity, "sum:", result)
        demand(result.filled_quantity == sum(fill.quantity for fill in result.fills), "fills:", result)
        self.seq = max(self.seq, result.seq)

    async def submit(self, stubs: Stubs, timeout_s: float | None = None) -> v1.OrderResult:
        order = self.order()
        result: v1.OrderResult = await stubs.orders.SubmitOrder(order, metadata=self.metadata, timeout=timeout_s)
        self.check(order, result)
        return result

    async def order_and_cancel(self, stubs: Stubs, channel: Any) -> None:
        timeout = self.chance.choice((None, TIMEOUT_S))
        entered = await self.submit(stubs, timeout)
        request = v1.CancelRequest(order_id=entered.order_id)
        result = await stubs.orders.CancelOrder(request, metadata=self.metadata, timeout=timeout)
        demand(result.reject.reason in CLOSED, "cancel:", result)

    async def burst(self, stubs: Stubs, channel: Any) -> None:
        await asyncio.gather(*(self.submit(stubs, TIMEOUT_S) for _ in range(BURST)))

    async def ask(self, stubs: Stubs, channel: Any) -> None:
        book = await stubs.market_data.GetOrderBook(v1.GetOrderBookRequest(instrument_id=INSTRUMENT), timeout=TIMEOUT_S)
        prices = [[level.price for level in book.bids], [level.price for level in book.asks]]
        demand(prices == [sorted(prices[0], reverse=True), sorted(prices[1])], "book:", book)
        wanted = v1.ListOrdersRequest(include_closed=True)
        listed = await stubs.accounts.ListOrders(wanted, metadata=self.metadata)
        ids = [order.order_id for order in listed.orders]
        demand(ids == sorted(set(ids)), "order of orders:", ids)

    async def hurry(self, stubs: Stubs, channel: Any) -> None:
        """A deadline that may be too short: done or late, and what is done can be found."""
        order = self.order()
        timeout = self.chance.random() * 0.004
        call = stubs.orders.SubmitOrder(order, metadata=self.metadata, timeout=timeout)
        await self.settled(stubs, order, call, LATE)

    async def withdraw(self, stubs: Stubs, channel: Any) -> None:
        """A call cancelled in any phase, by itself or with the task that waits for it."""
        order = self.order()
        call = stubs.orders.SubmitOrder(order, metadata=self.metadata, timeout=self.chance.choice((None, TIMEOUT_S)))
        if self.chance.random() < 0.5:
            waiting = asyncio.ensure_future(self.answer(call))
            await asyncio.sleep(0)  # it waits
            await self.moment()
            waiting.cancel()
            await asyncio.wait([waiting])
            demand(call.done(), "a call outlives its task")
        else:
            await self.moment()
            call.cancel()
        await self.settled(stubs, order, call, CANCELLED)

    async def answer(self, call: Any) -> Any:
        return await call

    async def settled(self, stubs: Stubs, order: v1.NewOrder, call: Any, otherwise: grpc.StatusCode) -> None:
        code = await call.code()
        demand(code in (OK, otherwise), code, await call.details())
        if code is OK:
            self.check(order, await call)
        request = v1.GetOrderRequest(client_order_id=order.client_order_id)
        asked = stubs.accounts.GetOrder(request, metadata=self.metadata)
        found = await asked.code()
        demand(found is OK or (code is not OK and found is grpc.StatusCode.NOT_FOUND), "GetOrder:", found)

    async def be_refused(self, stubs: Stubs, channel: Any) -> None:
        """Calls that no server takes, each with its own status."""
        missing = channel.unary_unary("/outcry.v1.OrderEntry/Nothing")
        large = channel.unary_unary("/outcry.v1.OrderEntry/SubmitOrder")
        calls = {
            grpc.StatusCode.UNAUTHENTICATED: stubs.orders.SubmitOrder(self.order(), metadata=(("x-api-key", "no"),)),
            grpc.StatusCode.UNIMPLEMENTED: missing(b"", metadata=self.metadata),
            grpc.StatusCode.RESOURCE_EXHAUSTED: large(bytes(TOO_LARGE), metadata=self.metadata),
            grpc.StatusCode.INVALID_ARGUMENT: large(b"\xff", metadata=self.metadata),
        }
        for expected, call in calls.items():
            code = await call.code()
            demand(code is expected, f"{code} in the place of {expected}", await call.details())

    async def hang_up(self, stubs: Stubs, channel: Any) -> None:
        """A connection that says what is no HTTP/2, or not enough, and is gone."""
        host, _, port = self.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.chance.randbytes(200)
        writer.write(said[: self.chance.randint(0, len(said))])
        await self.moment()
        writer.transport.abort()

    # Streams

    def batch(self) -> v1.Instructions:
        instructions = [v1.Instruction(request_id=next(self.names), submit=self.order()) for _ in range(10)]
        names = [instruction.submit.client_order_id for instruction in instructions]
        instructions += [
            v1.Instruction(request_id=next(self.names), cancel=v1.CancelRequest(client_order_id=name))
            for name in names[::2]
        ]
        asked = v1.GetOrderBookRequest(instrument_id=INSTRUMENT)
        return v1.Instructions(instructions=[*instructions, v1.Instruction(request_id=1, get_order_book=asked)])

    def check_results(self, batch: v1.Instructions, results: v1.Results) -> None:
        asked = [instruction.request_id for instruction in batch.instructions]
        demand([result.request_id for result in results.results] == asked, "results do not fit:", results)
        for instruction, result in zip(batch.instructions, results.results, strict=True):
            if instruction.HasField("submit"):
                self.check(instruction.submit, result.order)
            elif instruction.HasField("cancel"):
                demand(result.order.reject.reason in CLOSED, "cancel:", result)
            else:
                demand(result.HasField("order_book"), "book:", result)

    async def session(self, stubs: Stubs, channel: Any, slow_s: float = 0, ends: bool = True) -> None:
        """Batches written as fast as they go, answered in order; finished, cancelled or left in any phase."""
        call = stubs.orders.Session(metadata=self.metadata)
        many = slow_s or self.chance.random() < 0.1
        batches = [self.batch() for _ in range(BATCHES if many else self.chance.randint(0, 8))]
        stops_at = len(batches) if ends else self.chance.randint(0, len(batches))
        writing = asyncio.ensure_future(self.write(call, batches))
        await asyncio.sleep(slow_s)
        for batch in batches[:stops_at]:
            self.check_results(batch, await call.read())
        if ends:
            await writing
            demand(await call.read() is grpc.aio.EOF, "more than was asked for")
            demand(await call.code() is OK, "the session's end:", await call.code())
            return
        await self.moment()
        writing.cancel()
        if self.chance.random() < 0.5:
            call.cancel()
            demand(await call.code() in (OK, CANCELLED), "the session's end:", await call.code())
        await asyncio.wait([writing])

    async def write(self, call: Any, batches: list[v1.Instructions]) -> None:
        for batch in batches:
            await call.write(batch)
        await call.done_writing()

    async def slow_session(self, stubs: Stubs, channel: Any) -> None:
        await self.session(stubs, channel, SLOW_S)

    async def broken_session(self, stubs: Stubs, channel: Any) -> None:
        await self.session(stubs, channel, ends=False)

    async def feed(self, stubs: Stubs, channel: Any, slow_s: float = 0) -> None:
        """The account's events from some number on, none missing, none twice, to the last one that there is."""
        behind = SLOW_CATCH_UP if slow_s else self.chance.randint(0, CATCH_UP)
        after = max(0, (await self.submit(stubs)).seq - behind)
        request = v1.StreamExecutionsRequest(from_seq=after)
        call = stubs.executions.StreamExecutions(request, metadata=self.metadata)
        await self.moment()
        last = await self.submit(stubs)
        await asyncio.sleep(slow_s)
        async for message in numbered(call):
            for report in message.reports:
                demand(report.seq == after + 1, f"event {report.seq} after {after}")
                after = report.seq
            if after >= last.seq:
                break
        await self.leave_stream(call)

    async def leave_stream(self, call: Any) -> None:
        call.cancel()
        demand(await call.code() is CANCELLED, "the stream ended by itself:", await call.code(), await call.details())

    async def slow_feed(self, stubs: Stubs, channel: Any) -> None:
        await self.feed(stubs, channel, SLOW_S)

    async def market_data(self, stubs: Stubs, channel: Any, slow_s: float = 0) -> None:
        """A book, then each change and trade by number, or a fresh book; trades may be from before their book."""
        request = v1.StreamMarketDataRequest(instruments=[INSTRUMENT], channels=CHANNELS_OF_DATA)
        call = stubs.market_data.StreamMarketData(request, timeout=TIMEOUT_S)
        book = await call.read()
        demand(book.HasField("book") and not book.conflated, "first comes the book, not", book)
        seq = book.seq
        for _ in range(self.chance.randint(1, 10)):
            await self.submit(stubs)
        await asyncio.sleep(slow_s)
        now = await stubs.market_data.GetOrderBook(v1.GetOrderBookRequest(instrument_id=INSTRUMENT))
        async for update in numbered(call):
            demand(update.conflated or update.seq <= seq + 1, f"number {update.seq} after {seq}")
            demand(update.seq > seq or update.HasField("trade"), f"number {update.seq} again after {seq}")
            seq = max(seq, update.seq)
            if seq >= now.seq:
                break
        await self.leave_stream(call)

    async def slow_market_data(self, stubs: Stubs, channel: Any) -> None:
        await self.market_data(stubs, channel, SLOW_S)


async def numbered(call: Any) -> AsyncIterator[Any]:
    while (message := await call.read()) is not grpc.aio.EOF:
        yield message


Act = Callable[[Trader, Stubs, Any], Awaitable[None]]
ACTS: dict[Any, int] = {
    Trader.order_and_cancel: 300,
    Trader.burst: 50,
    Trader.ask: 50,
    Trader.hurry: 150,
    Trader.withdraw: 150,
    Trader.be_refused: 20,
    Trader.hang_up: 20,
    Trader.session: 60,
    Trader.broken_session: 60,
    Trader.slow_session: 5,
    Trader.feed: 60,
    Trader.slow_feed: 5,
    Trader.market_data: 60,
    Trader.slow_market_data: 5,
}
