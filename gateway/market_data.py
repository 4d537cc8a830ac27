"""MarketData servicer: the public view of each instrument, numbered, to readers who need no key.

Each reader has a bounded queue of updates, shared between readers as objects. A reader that overflows it loses the
updates of that instrument and is given the book as it is then, marked `conflated`: it has missed steps, and ends up
right. Books and tickers are asked of the sequencer, so that they too show durable state only. The ticker is always
conflated: a reader gets the latest one, when it can take it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator

from engine.events import BookChanged, TradePrinted
from engine.fixed import INT64_MAX
from engine.order import Side
from engine.views import BookView
from gateway import codec
from gateway.edge import Context, Streams, streaming, unary
from gateway.queries import book, unknown_instrument
from gateway.refusals import invalid_request
from gateway.sequencer import Sequencer, Waiting
from outcry import v1

QUEUE_LIMIT = 2_000  # updates that one reader may have waiting


class Reader:
    """One stream: what it wants, what waits for it, and which books it must be given anew."""

    def __init__(self, instruments: frozenset[str], channels: frozenset[int]) -> None:
        self.instruments = instruments
        self.channels = channels
        self.queue: deque[v1.MarketDataUpdate] = deque()
        self.books_due: dict[str, bool] = {}  # instrument -> whether it is because updates were lost
        self.tickers_due: dict[str, None] = {}
        self.true_at: dict[str, int] = {}  # instrument -> number of the book it has
        self.wake = asyncio.Event()

    def offer(self, update: v1.MarketDataUpdate, limit: int) -> None:
        self.queue.append(update)
        if len(self.queue) > limit:
            for lost in self.queue:
                self.books_due[lost.instrument_id] = True
            self.queue.clear()
        self.wake.set()

    def is_news(self, update: v1.MarketDataUpdate) -> bool:
        """Whether a change comes after the book that the reader has."""
        return not update.HasField("change") or update.seq > self.true_at.get(update.instrument_id, 0)


class MarketDataHub:
    """Turns public events into updates, once each, for all readers. `publish` is called after each commit."""

    def __init__(self, *, queue_limit: int = QUEUE_LIMIT) -> None:
        self.queue_limit = queue_limit
        self.readers: dict[str, set[Reader]] = {}
        self.count = 0

    def publish(self, batch: list[Waiting]) -> None:
        if not self.count:
            return
        for waiting in batch:
            for event in waiting.events:
                if type(event) is BookChanged:
                    if readers := self.readers.get(event.instrument_id):
                        self.offer(readers, v1.MARKET_DATA_CHANNEL_BOOK, change(event, waiting.time_ns))
                elif type(event) is TradePrinted and (readers := self.readers.get(event.instrument_id)):
                    self.offer(readers, v1.MARKET_DATA_CHANNEL_TRADES, trade(event, waiting.time_ns))

    def offer(self, readers: set[Reader], channel: int, update: v1.MarketDataUpdate) -> None:
        for reader in readers:
            if channel in reader.channels:
                reader.offer(update, self.queue_limit)
            if v1.MARKET_DATA_CHANNEL_TICKER in reader.channels:
                reader.tickers_due[update.instrument_id] = None
                reader.wake.set()

    def join(self, reader: Reader) -> None:
        self.count += 1
        for instrument_id in reader.instruments:
            self.readers.setdefault(instrument_id, set()).add(reader)

    def leave(self, reader: Reader) -> None:
        self.count -= 1
        for instrument_id in reader.instruments:
            self.readers[instrument_id].discard(reader)


class MarketData(v1.MarketDataServicer):
    def __init__(self, sequencer: Sequencer, hub: MarketDataHub, streams: Streams) -> None:
        self.sequencer = sequencer
        self.hub = hub
        self.streams = streams

    @unary
    async def ListInstruments(self, request: v1.ListInstrumentsRequest, context: Context) -> v1.ListInstrumentsResponse:
        exchange = self.sequencer.exchange
        listing = await self.sequencer.ask(lambda: [codec.instrument(i) for i in exchange.instruments.values()])
        return v1.ListInstrumentsResponse(instruments=listing)

    @unary
    async def GetOrderBook(self, request: v1.GetOrderBookRequest, context: Context) -> v1.OrderBook:
        return codec.order_book(*await self.sequencer.ask(book(self.sequencer, request)))

    @streaming
    async def StreamMarketData(self, request: v1.StreamMarketDataRequest, context: Context) -> None:
        reader = self.reader(request)
        self.hub.join(reader)
        try:
            while True:
                await reader.wake.wait()
                reader.wake.clear()
                async for update in self.due(reader):
                    await context.write(update)
        finally:
            self.hub.leave(reader)

    def reader(self, request: v1.StreamMarketDataRequest) -> Reader:
        """A reader of what is asked for, with its first books and tickers due. Refused where that is not there."""
        known = self.sequencer.exchange.instruments
        for instrument_id in request.instruments:
            if codec.word(instrument_id, "instruments") not in known:
                raise unknown_instrument(self.sequencer, instrument_id)
        built = (v1.MARKET_DATA_CHANNEL_BOOK, v1.MARKET_DATA_CHANNEL_TRADES, v1.MARKET_DATA_CHANNEL_TICKER)
        if not request.channels or not set(request.channels) <= set(built):
            raise invalid_request("channels must be book, trades or ticker", "channels")
        reader = Reader(frozenset(request.instruments or known), frozenset(request.channels))
        if v1.MARKET_DATA_CHANNEL_BOOK in reader.channels:
            reader.books_due = dict.fromkeys(sorted(reader.instruments), False)
        if v1.MARKET_DATA_CHANNEL_TICKER in reader.channels:
            reader.tickers_due = dict.fromkeys(sorted(reader.instruments))
        reader.wake.set()
        return reader

    async def due(self, reader: Reader) -> AsyncIterator[v1.MarketDataUpdate]:
        """What the reader must be told now: fresh books first, then what came after them, then tickers."""
        while reader.books_due or reader.queue or reader.tickers_due:
            if reader.books_due:
                instrument_id = next(iter(reader.books_due))
                conflated = reader.books_due.pop(instrument_id)
                yield await self.fresh_book(reader, instrument_id, conflated)
            elif reader.queue:
                update = reader.queue.popleft()
                if reader.is_news(update):
                    yield update
            else:
                instrument_id = next(iter(reader.tickers_due))
                del reader.tickers_due[instrument_id]
                request = v1.GetOrderBookRequest(instrument_id=instrument_id, depth=1)
                yield ticker(*await self.sequencer.ask(book(self.sequencer, request)))

    async def fresh_book(self, reader: Reader, instrument_id: str, conflated: bool) -> v1.MarketDataUpdate:
        request = v1.GetOrderBookRequest(instrument_id=instrument_id)
        view, time_ns = await self.sequencer.ask(book(self.sequencer, request))
        reader.true_at[instrument_id] = view.number
        update = v1.MarketDataUpdate(instrument_id=instrument_id, seq=view.number, time_ns=time_ns, conflated=conflated)
        if v1.MARKET_DATA_CHANNEL_BOOK in reader.channels:
            update.book.CopyFrom(codec.order_book(view, time_ns))
        return update


def ticker(view: BookView, time_ns: int) -> v1.MarketDataUpdate:
    latest = v1.Ticker(
        last_price=view.last_price,
        best_bid=view.bids[0][0] if view.bids else None,
        best_ask=view.asks[0][0] if view.asks else None,
        volume=min(view.volume, INT64_MAX),
    )
    return v1.MarketDataUpdate(instrument_id=view.instrument_id, seq=view.number, time_ns=time_ns, ticker=latest)


def change(event: BookChanged, time_ns: int) -> v1.MarketDataUpdate:
    def levels(side: Side) -> Iterator[v1.BookLevel]:
        return (v1.BookLevel(price=p, quantity=q) for s, p, q in event.levels if s == side)

    changes = v1.BookChange(bids=levels(Side.BUY), asks=levels(Side.SELL))
    return v1.MarketDataUpdate(instrument_id=event.instrument_id, seq=event.number, time_ns=time_ns, change=changes)


def trade(event: TradePrinted, time_ns: int) -> v1.MarketDataUpdate:
    printed = v1.PublicTrade(
        trade_id=event.trade_id,
        price=event.price,
        quantity=event.quantity,
        buyer_is_aggressor=event.aggressor == Side.BUY,
    )
    return v1.MarketDataUpdate(instrument_id=event.instrument_id, seq=event.number, time_ns=time_ns, trade=printed)
