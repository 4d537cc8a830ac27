"""What an order must look like before anything is asked about money: side, type, time in force, quantity, price.

The checks come in the order of precedence of `RejectReason`, and the first that fails is the answer.
"""

from __future__ import annotations

from engine.commands import NewOrder
from engine.fixed import text
from engine.instrument import Instrument
from engine.order import BUY, SELL, OrderType, TimeInForce
from engine.reject import Refusal, RejectReason

LIMIT, MARKET = int(OrderType.LIMIT), int(OrderType.MARKET)
GTC, GTD, FOK = int(TimeInForce.GTC), int(TimeInForce.GTD), int(TimeInForce.FOK)
# The words of a limit order that lasts, or does not rest: almost every order's, so they are recognised in one look.
PLAIN = frozenset(
    (side, LIMIT, int(time_in_force)) for side in (BUY, SELL) for time_in_force in TimeInForce if time_in_force != GTD
)


def form_refusal(command: NewOrder, instrument: Instrument, time_ns: int) -> Refusal | None:
    """Why the order is not one that can be entered at `time_ns`, if so."""
    words = command.side, command.order_type, command.time_in_force
    if words not in PLAIN or command.expires_at_ns is not None:
        refusal = words_refusal(command, time_ns)
        if refusal is not None:
            return refusal
    quantity, price = command.quantity, command.price
    if quantity <= 0 or quantity % instrument.lot_size:
        return quantity_refusal(quantity, instrument)
    if price is None:
        return None if words[1] == MARKET else Refusal(RejectReason.MISSING_PRICE, "A limit order needs a price")
    if words[1] == MARKET:
        return Refusal(RejectReason.INVALID_PRICE, "A market order has no price", {"price": price})
    if price <= 0 or price % instrument.tick_size:
        return price_refusal(price, instrument)
    return None


def words_refusal(command: NewOrder, time_ns: int) -> Refusal | None:
    """Why side, type, time in force and expiry do not make an order, if so."""
    side, order_type, time_in_force = command.side, command.order_type, command.time_in_force
    if side not in (BUY, SELL):
        return Refusal(RejectReason.INVALID_SIDE, f"Unknown side: {side}")
    if order_type not in (LIMIT, MARKET):
        return Refusal(RejectReason.INVALID_ORDER_TYPE, f"Unknown order type: {order_type}")
    if not GTC <= time_in_force <= FOK:
        return Refusal(RejectReason.INVALID_TIME_IN_FORCE, f"Unknown time in force: {time_in_force}")
    if time_in_force == GTD or command.expires_at_ns is not None:
        return expiry_refusal(command, time_ns)
    return None


def expiry_refusal(command: NewOrder, time_ns: int) -> Refusal | None:
    """Why the time in force and the moment of expiry do not go together, if so."""
    expires_at_ns = command.expires_at_ns
    if command.time_in_force != GTD:
        words = "expires_at goes with GTD alone"
    elif expires_at_ns is None:
        words = "A GTD order needs expires_at"
    elif expires_at_ns <= time_ns:
        words = "expires_at has passed"
    else:
        return None
    return Refusal(RejectReason.INVALID_TIME_IN_FORCE, words)


def quantity_refusal(quantity: int, instrument: Instrument) -> Refusal | None:
    """Why `quantity` is none of this instrument, if so."""
    lot = instrument.lot_size
    if quantity <= 0:
        words = f"Quantity must be above zero: {text(quantity)}"
    elif quantity % lot:
        words = f"Quantity must be a multiple of {text(lot)}: {text(quantity)}"
    else:
        return None
    return Refusal(RejectReason.INVALID_QUANTITY, words, {"quantity": quantity, "lot_size": lot})


def price_refusal(price: int, instrument: Instrument) -> Refusal | None:
    """Why `price` is none of this instrument, if so."""
    tick = instrument.tick_size
    if price <= 0:
        words = f"Price must be above zero: {text(price)}"
    elif price % tick:
        words = f"Price must be a multiple of {text(tick)}: {text(price)}"
    else:
        return None
    return Refusal(RejectReason.INVALID_PRICE, words, {"price": price, "tick_size": tick})
