"""An account for the benchmarks at a running engine: an instrument, no position limit, a key."""

from __future__ import annotations

import grpc

from load import flows
from outcry import v1
from outcry.own_engine import OwnEngine

INSTRUMENT = "BENCH"
PROFILE = "bench"
TIMEOUT_S = 10

Metadata = tuple[tuple[str, str], ...]


def trader(engine: OwnEngine, name: str = "bench") -> Metadata:
    """List the instrument, make or re-key the account `name`, and return the metadata of its calls."""
    operator = (("x-api-key", engine.operator_key),)
    with grpc.insecure_channel(engine.address) as channel:
        operations = v1.OperationsStub(channel)
        listing = v1.Instrument(instrument_id=INSTRUMENT, tick_size=flows.TICK, lot_size=flows.LOT, quote_asset="USD")
        requests = [
            (operations.PutInstrument, v1.PutInstrumentRequest(instrument=listing)),
            (operations.PutRiskProfile, v1.PutRiskProfileRequest(name=PROFILE, no_position_limit=True)),
            (operations.PutAccount, v1.PutAccountRequest(name=name, risk_profile=PROFILE, new_key=True)),
        ]
        for call, request in requests:
            answer = call(request, metadata=operator, timeout=TIMEOUT_S)
    return (("x-api-key", answer.api_key),)


def resting_order() -> bytes:
    """An order that nobody trades with, and that may be sent again and again: each rests by itself."""
    order = v1.NewOrder(
        instrument_id=INSTRUMENT,
        side=v1.SIDE_BUY,
        order_type=v1.ORDER_TYPE_LIMIT,
        quantity=flows.LOT,
        price=flows.MIDDLE,
    )
    return order.SerializeToString()


def is_accepted(answer: bytes) -> bool:
    return bool(v1.OrderResult.FromString(answer).order_id)


def resting_orders(address: str) -> int:
    """How many orders of `resting_order` are in the book."""
    with grpc.insecure_channel(address) as channel:
        request = v1.GetOrderBookRequest(instrument_id=INSTRUMENT, depth=1)
        book = v1.MarketDataStub(channel).GetOrderBook(request, timeout=TIMEOUT_S)
    units: int = sum(level.quantity for level in book.bids)
    return units // flows.LOT
