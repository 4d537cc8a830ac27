"""What a replay needs at the exchange: an instrument with an empty book, and two accounts without limits.

An instrument that is there already is used as it is or not at all: nothing that somebody else listed is changed. The
accounts are new ones for every run, because the exchange keeps the names of closed orders.
"""

from __future__ import annotations

from typing import Any

import grpc
from msgspec import Struct

from outcry import v1
from outcry.channels import Stubs
from outcry.replay.errors import ReplayFailed
from outcry.replay.files import PRICE_UNIT, QUANTITY_UNIT
from outcry.replay.translation import Party

PROFILE = "replay"
QUOTE_ASSET = "USD"
CALL_TIMEOUT_S = 10

Metadata = tuple[tuple[str, str], ...]


def credentials(api_key: str) -> Metadata:
    return (("x-api-key", api_key),)


class Account(Struct, frozen=True):
    """An account of the replay: calls of `stubs` with `metadata` are its own."""

    stubs: Stubs
    metadata: Metadata

    def session(self) -> grpc.aio.StreamStreamCall[v1.Instructions, v1.Results]:
        call: grpc.aio.StreamStreamCall[v1.Instructions, v1.Results]
        call = self.stubs.orders.Session(metadata=self.metadata)
        return call

    def executions(self, from_seq: int) -> grpc.aio.UnaryStreamCall[v1.StreamExecutionsRequest, v1.ExecutionReports]:
        call: grpc.aio.UnaryStreamCall[v1.StreamExecutionsRequest, v1.ExecutionReports]
        request = v1.StreamExecutionsRequest(from_seq=from_seq)
        call = self.stubs.executions.StreamExecutions(request, metadata=self.metadata)
        return call

    async def cancel_all(self, instrument_id: str) -> int:
        """Take everything out of the book; return the account's last event number then."""
        request = v1.CancelAllRequest(instrument_id=instrument_id)
        result = await self.stubs.orders.CancelAll(request, metadata=self.metadata, timeout=CALL_TIMEOUT_S)
        seq: int = result.seq
        return seq


class Stage:
    """Sets the exchange up over `channel`, with an operator's key."""

    def __init__(self, channel: grpc.aio.Channel, operator_key: str, instrument_id: str) -> None:
        self.stubs = Stubs(channel)
        self.metadata = credentials(operator_key)
        self.instrument_id = instrument_id

    async def prepare(self, run: str) -> dict[Party, Account]:
        """List the instrument and make the accounts. ReplayFailed where the instrument does not fit or is in use."""
        await self.list_instrument()
        await self.operator("PutRiskProfile", v1.PutRiskProfileRequest(name=PROFILE, no_position_limit=True))
        return {party: await self.account(f"replay-{run}-{party.value}") for party in Party}

    async def list_instrument(self) -> None:
        listed = await self.stubs.market_data.ListInstruments(v1.ListInstrumentsRequest(), timeout=CALL_TIMEOUT_S)
        there = {instrument.instrument_id: instrument for instrument in listed.instruments}
        if self.instrument_id in there:
            self.check_fit(there[self.instrument_id])
            await self.check_empty()
        else:
            await self.operator("PutInstrument", v1.PutInstrumentRequest(instrument=self.instrument()))

    def instrument(self) -> v1.Instrument:
        """As fine as the file can be, and free of everything that could refuse an order."""
        return v1.Instrument(
            instrument_id=self.instrument_id, tick_size=PRICE_UNIT, lot_size=QUANTITY_UNIT, quote_asset=QUOTE_ASSET
        )

    def check_fit(self, instrument: v1.Instrument) -> None:
        """A tick or lot that is too coarse shows by itself; the accounts' cash would only run out some day."""
        if instrument.settles_in_cash:
            raise ReplayFailed(f"{self.instrument_id} settles in cash: choose another --instrument")

    async def check_empty(self) -> None:
        request = v1.GetOrderBookRequest(instrument_id=self.instrument_id, depth=1)
        book = await self.stubs.market_data.GetOrderBook(request, timeout=CALL_TIMEOUT_S)
        if book.bids or book.asks:
            raise ReplayFailed(f"the book of {self.instrument_id} is not empty: choose another --instrument")

    async def account(self, name: str) -> Account:
        made = await self.operator("PutAccount", v1.PutAccountRequest(name=name, risk_profile=PROFILE))
        return Account(self.stubs, credentials(made.api_key))

    async def operator(self, method: str, request: Any) -> Any:
        return await getattr(self.stubs.operations, method)(request, metadata=self.metadata, timeout=CALL_TIMEOUT_S)
