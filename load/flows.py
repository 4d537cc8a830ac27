"""Order flow made of chance and a seed: the same seed gives the same flow, everywhere.

Prices stand around 150.00 on a tick of 0.01. Most orders rest within twenty ticks of the middle on their own side;
one in ten reaches across it, trades what it can and does not rest. That is about what a recorded day looks like: of
its instructions nearly half are cancels, and one in twenty trades. A flow says what happens; `command` and
`instruction` say it to the engine or to a Session.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from msgspec import Struct

from engine.commands import CancelOrder, NewOrder
from engine.order import OrderType, Side, TimeInForce
from outcry import v1

TICK = 10_000_000
LOT = 1_000_000_000
MIDDLE = 150_000_000_000
# Plain integers, as commands hold them.
BUY, SELL, LIMIT = int(Side.BUY), int(Side.SELL), int(OrderType.LIMIT)
GTC, IOC = int(TimeInForce.GTC), int(TimeInForce.IOC)
REACH_TICKS = 20  # how far from the middle an order may rest
CROSSING_TICKS = 2  # how far across the middle an aggressive one reaches
LARGEST_LOTS = 10


class Enter(Struct, frozen=True, gc=False):
    """A limit order of the account numbered `trader`, under a name of its own; what is aggressive does not rest."""

    trader: int
    name: str
    buys: bool
    price: int
    quantity: int
    aggressive: bool = False


class Cancel(Struct, frozen=True, gc=False):
    trader: int
    name: str


Act = Enter | Cancel


def orders(seed: int, count: int, traders: int = 1, run: str = "") -> Iterator[Enter]:
    """Yield `count` limit orders of `traders` accounts; one in ten is aggressive. Names begin with `run`."""
    chance = Random(seed)
    for number in range(count):
        buys = chance.random() < 0.5
        aggressive = chance.random() < 0.1
        ticks = -chance.randint(1, CROSSING_TICKS) if aggressive else chance.randint(1, REACH_TICKS)
        price = MIDDLE - ticks * TICK if buys else MIDDLE + ticks * TICK
        quantity = chance.randint(1, LARGEST_LOTS) * LOT
        yield Enter(chance.randrange(traders), f"{run}{number}", buys, price, quantity, aggressive)


def half_cancels(seed: int, count: int, traders: int = 1, run: str = "") -> Iterator[Act]:
    """Yield `count` acts, of which half cancel an order entered before (which may have traded meanwhile)."""
    chance = Random(seed)
    entering = orders(seed, count, traders, run)
    entered: list[Enter] = []
    for _ in range(count):
        if entered and chance.random() < 0.5:
            at = chance.randrange(len(entered))
            entered[at], entered[-1] = entered[-1], entered[at]
            order = entered.pop()
            yield Cancel(order.trader, order.name)
        else:
            order = next(entering)
            if not order.aggressive:
                entered.append(order)
            yield order


def command(act: Act, instrument_id: str, accounts: list[int]) -> NewOrder | CancelOrder:
    """The act as the engine's command; `accounts` are the traders' ids."""
    account = accounts[act.trader]
    if isinstance(act, Cancel):
        return CancelOrder(account, 0, act.name)
    side = BUY if act.buys else SELL
    return NewOrder(
        account, act.name, instrument_id, side, LIMIT, IOC if act.aggressive else GTC, act.quantity, act.price
    )


def new_order(order: Enter, instrument_id: str) -> v1.NewOrder:
    return v1.NewOrder(
        instrument_id=instrument_id,
        side=v1.SIDE_BUY if order.buys else v1.SIDE_SELL,
        order_type=v1.ORDER_TYPE_LIMIT,
        time_in_force=v1.TIME_IN_FORCE_IOC if order.aggressive else v1.TIME_IN_FORCE_GTC,
        quantity=order.quantity,
        price=order.price,
        client_order_id=order.name,
    )


def instruction(act: Act, instrument_id: str) -> v1.Instruction:
    """The act as an instruction of a Session."""
    if isinstance(act, Cancel):
        return v1.Instruction(cancel=v1.CancelRequest(client_order_id=act.name))
    return v1.Instruction(submit=new_order(act, instrument_id))
