"""The client for plain, synchronous programs: the same methods as `AsyncClient`, over grpc's synchronous channel."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from queue import Full, Queue
from threading import Timer
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

from outcry import calls, decoding, models, v1
from outcry.addresses import dialled
from outcry.calls import Call, InstrumentOptions
from outcry.channels import Link, Metadata, keyed, open_channel, rate_limits
from outcry.encoding import Number, OrderOptions
from outcry.errors import ExchangeError, Unavailable
from outcry.failures import exception, session_ended, session_stalled
from outcry.feeds import ExecutionReader, Gap, MarketDataReader, Reader, Retrying

Answer = TypeVar("Answer")
Item = TypeVar("Item")

SESSION_WINDOW = 64  # batches of one session that wait for the link
LIVENESS_CHECK_S = 0.1


class Client:
    """An account's way to the exchange. Numbers go in as Decimal, int or str, and come out as Decimal.

    A refusal raises a subclass of `ExchangeError`; see `outcry.errors` for what each one means. A channel that is given
    stays open when the client is closed. `timeout_s` bounds each call that does not say otherwise.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        api_key: str | None = None,
        *,
        root_certificates: bytes | None = None,
        channel: grpc.Channel | None = None,
        timeout_s: float = 5.0,
        metadata: Metadata = (),
    ) -> None:
        self._link: Link[grpc.Channel] = Link(lambda: channel or open_channel(dialled(address), root_certificates))
        self._owns_channel = channel is None
        self._timeout_s = timeout_s
        self._given = tuple(metadata)
        self._metadata = keyed(self._given, api_key)
        self.rate_limits: dict[str, str] = {}
        """What the last answer said of the limits that the account is held to; nothing where there are none."""

    def close(self) -> None:
        if self._owns_channel and self._link.channel is not None:
            self._link.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def with_key(self, api_key: str | None, metadata: Metadata = ()) -> Self:
        """A client for another account on the same channel; `metadata` is added to this one's. Needs no closing."""
        other = copy(self)
        other._owns_channel = False
        other._given = (*self._given, *metadata)
        other._metadata = keyed(other._given, api_key)
        other.rate_limits = {}
        return other

    def _perform(self, call: Call[Answer], timeout_s: float | None = None) -> Answer:
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        ask: Any = call.method(self._link.stubs)
        try:
            answer, asked = ask.with_call(call.request, timeout=limit_s, metadata=self._metadata)
        except grpc.RpcError as error:
            self.rate_limits = rate_limits(error.trailing_metadata())
            about = call.client_order_id
            raise exception(error, changes=call.changes, timeout_s=limit_s, client_order_id=about) from error
        self.rate_limits = rate_limits(asked.trailing_metadata())
        return call.read(answer)

    def submit_order(
        self,
        instrument_id: str,
        side: str,
        quantity: Number,
        price: Number | None = None,
        *,
        timeout_s: float | None = None,
        **options: Unpack[OrderOptions],
    ) -> models.OrderResult:
        """Enter an order (see `OrderOptions` for the rest it may say) and return its state after it was matched."""
        return self._perform(calls.submit_order(instrument_id, side, quantity, price, **options), timeout_s)

    def buy(
        self,
        instrument_id: str,
        quantity: Number,
        price: Number | None = None,
        *,
        timeout_s: float | None = None,
        **options: Unpack[OrderOptions],
    ) -> models.OrderResult:
        return self._perform(calls.submit_order(instrument_id, "buy", quantity, price, **options), timeout_s)

    def sell(
        self,
        instrument_id: str,
        quantity: Number,
        price: Number | None = None,
        *,
        timeout_s: float | None = None,
        **options: Unpack[OrderOptions],
    ) -> models.OrderResult:
        return self._perform(calls.submit_order(instrument_id, "sell", quantity, price, **options), timeout_s)

    def validate_order(
        self,
        instrument_id: str,
        side: str,
        quantity: Number,
        price: Number | None = None,
        *,
        timeout_s: float | None = None,
        **options: Unpack[OrderOptions],
    ) -> models.OrderResult:
        """Judge an order as `submit_order` would, and change nothing."""
        return self._perform(calls.validate_order(instrument_id, side, quantity, price, **options), timeout_s)

    def cancel_order(
        self,
        order_id: int | None = None,
        *,
        client_order_id: str | None = None,
        valid_until_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> models.OrderResult:
        """Cancel what is left of an order, named by one of its ids."""
        return self._perform(calls.cancel_order(order_id, client_order_id, valid_until_ns), timeout_s)

    def replace_order(
        self,
        order_id: int | None = None,
        *,
        client_order_id: str | None = None,
        quantity: Number | None = None,
        price: Number | None = None,
        valid_until_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> models.OrderResult:
        """Give an order a new total quantity (what is filled included), a new price, or both."""
        call = calls.replace_order(order_id, client_order_id, quantity, price, valid_until_ns)
        return self._perform(call, timeout_s)

    def cancel_all(
        self,
        instrument_id: str = "",
        side: str | None = None,
        *,
        valid_until_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> models.CancelAllResult:
        """Cancel the account's open orders: in one instrument or all (""), on one side or both (None)."""
        return self._perform(calls.cancel_all(instrument_id, side, valid_until_ns), timeout_s)

    def order(self, order_id: int | None = None, *, client_order_id: str | None = None) -> models.Order:
        return self._perform(calls.order(order_id, client_order_id))

    def orders(self, *, include_closed: bool = False, instrument_id: str = "") -> list[models.Order]:
        """The account's orders, oldest first: the open ones, or all that are kept."""
        orders: list[models.Order] = []
        more = True
        while more:
            after = orders[-1].order_id if orders else 0
            page = self._perform(calls.orders_page(include_closed, instrument_id, after))
            orders += page.orders
            more = page.more and bool(page.orders)
        return orders

    def positions(self) -> models.Positions:
        return self._perform(calls.positions())

    def balances(self) -> models.Balances:
        return self._perform(calls.balances())

    def register(self, team_name: str, role: str = "", invite: str = "") -> models.Registration:
        """Make an account. Its key is in the answer, and is not shown again."""
        return self._perform(calls.register(team_name, role, invite))

    def rotate_key(self) -> models.AccountKey:
        """Give the account another key, which is in the answer and is not shown again. The old one ends at once, and so
        does every stream that was opened with it: go on `with_key` of the new one."""
        return self._perform(calls.rotate_key())

    def instruments(self) -> list[models.Instrument]:
        return self._perform(calls.instruments())

    def order_book(self, instrument_id: str, depth: int = 0) -> models.OrderBook:
        """The book, `depth` levels a side; 0: all there are."""
        return self._perform(calls.order_book(instrument_id, depth))

    def market_data(
        self, instruments: Iterable[str] = (), channels: Iterable[str] = ("book", "trades")
    ) -> Generator[models.MarketDataUpdate, None, None]:
        """Public updates of some instruments, or all: first each one's book, then what changes.

        After a lost link a fresh book comes in place of what was missed. Raises what opening again cannot mend.
        """
        return self._read(MarketDataReader(instruments, channels), Retrying(True))

    def executions(
        self, from_seq: int | None = None, *, reconnect: bool = True
    ) -> Generator[models.ExecutionReport, None, None]:
        """The account's events after number `from_seq`, for ever; None: those from when the stream opens.

        A lost link is mended and the stream goes on with the next number: nothing is missing and nothing comes twice.
        A gap that cannot be closed raises SequenceOutOfRange. To start from what is known, begin with the `seq` of
        `positions()`.
        """
        return self._read(ExecutionReader(from_seq), Retrying(reconnect))

    def _read(self, reader: Reader[Item], retrying: Retrying) -> Generator[Item, None, None]:
        while True:
            failure: ExchangeError | Gap | None = None
            stream = reader.method(self._link.stubs)(reader.request(), metadata=self._metadata)
            try:
                for message in stream:
                    for item in reader.take(message):
                        retrying.progress()
                        yield item
            except grpc.RpcError as error:
                failure = exception(error, changes=False, timeout_s=None)
            except Gap as gap:
                failure = gap
            finally:
                stream.cancel()
            time.sleep(retrying.wait_s(failure))

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A stream of instructions and results. Leaving it waits until all that was sent is answered."""
        batches: Queue[v1.Instructions | None] = Queue(SESSION_WINDOW)
        stream = self._link.stubs.orders.Session(iter(batches.get, None), metadata=self._metadata)
        session = Session(batches, stream)
        try:
            yield session
            session.finish(self._timeout_s)
        finally:
            stream.cancel()
            with suppress(Full):
                batches.put_nowait(None)  # grpc's thread may wait for another one

    def put_instrument(
        self,
        instrument_id: str,
        tick_size: Number,
        lot_size: Number,
        quote_asset: str,
        **options: Unpack[InstrumentOptions],
    ) -> int:
        """Create or change an instrument; returns the command's journal number. Needs an operator's key."""
        return self._perform(calls.put_instrument(instrument_id, tick_size, lot_size, quote_asset, **options))

    def put_account(
        self,
        name: str,
        *,
        role: str = "",
        risk_profile: str = "",
        opening_balances: Mapping[str, Number] | None = None,
        new_key: bool = False,
    ) -> models.AccountKey:
        """Create an account, or change the one an operator made under this name. Needs an operator's key."""
        return self._perform(calls.put_account(name, role, risk_profile, opening_balances, new_key))

    def revoke_key(
        self, account_id: int | None = None, *, name: str | None = None, new_key: bool = False
    ) -> models.AccountKey:
        """Take an account's key away at once, or give it another in its place. Needs an operator's key."""
        return self._perform(calls.revoke_key(account_id, name, new_key))

    def put_risk_profile(
        self,
        name: str,
        *,
        no_position_limit: bool = False,
        order_rate: models.RateLimit | None = None,
        cancel_rate: models.RateLimit | None = None,
        query_rate: models.RateLimit | None = None,
    ) -> int:
        """Create or change a risk profile; returns the command's journal number. Needs an operator's key.

        The rates are how often its accounts may ask, None as often as they like. Replaces count as orders.
        """
        rates = {"order_rate": order_rate, "cancel_rate": cancel_rate, "query_rate": query_rate}
        return self._perform(calls.put_risk_profile(name, no_position_limit, rates))

    def create_invite(self, role: str = "") -> str:
        """An invite that is good for one registration, with `role` where it is named. Needs an operator's key."""
        return self._perform(calls.create_invite(role))

    def state_digest(self) -> models.StateDigest:
        """The digest of the exchange's state. Needs an operator's key."""
        return self._perform(calls.state_digest())


class Session:
    """A stream of instructions, answered in order, one batch of results for each batch sent.

    Make instructions with `outcry.encoding.instruction`. One thread may send while another reads.
    """

    def __init__(self, batches: Queue[v1.Instructions | None], stream: Any) -> None:
        self._batches = batches
        self._stream = stream

    def send(self, instructions: Iterable[v1.Instruction]) -> None:
        """Send one batch. Returns when it is on its way, not when it is answered."""
        self._put(v1.Instructions(instructions=instructions))

    def _put(self, batch: v1.Instructions | None) -> None:
        while self._stream.is_active():
            with suppress(Full):
                return self._batches.put(batch, timeout=LIVENESS_CHECK_S)
        raise session_ended()

    def receive(self) -> v1.Results | None:
        """The next batch of results as it came; None after the last one."""
        try:
            batch: v1.Results | None = next(self._stream, None)
        except grpc.RpcError as error:
            raise exception(error, changes=True, timeout_s=None) from error
        return batch

    def batches(self) -> Generator[list[models.SessionResult], None, None]:
        while (batch := self.receive()) is not None:
            yield [decoding.session_result(result) for result in batch.results]

    def __iter__(self) -> Generator[models.SessionResult, None, None]:
        for batch in self.batches():
            yield from batch

    def finish(self, timeout_s: float) -> None:
        """Send nothing more, and wait until all that was sent is answered."""
        with suppress(Unavailable):  # what ended it comes with the results
            self._put(None)
        stalled = Timer(timeout_s, self._stream.cancel)
        stalled.start()
        try:
            while self.receive() is not None:
                pass
        except ExchangeError as error:
            raise (session_stalled(timeout_s) if stalled.finished.is_set() else error) from None
        finally:
            stalled.cancel()
