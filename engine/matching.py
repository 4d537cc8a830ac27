"""Where orders trade, rest and end: the one place that changes book, accounts and expiries together."""

from __future__ import annotations

from engine.accounts import expose, hold, settle
from engine.events import Event, OrderCancelled, OrderFilled, PositionUpdated, TradePrinted
from engine.expiries import Expiries
from engine.market import Market
from engine.order import Liquidity, Order, OrderStatus, move
from engine.registry import Registry

MAKER, TAKER = Liquidity.MAKER, Liquidity.TAKER


class Matching:
    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.expiries = Expiries()
        self.last_trade_id = 0

    def match(self, taker: Order, market: Market, events: list[Event]) -> tuple[OrderFilled, ...]:
        """Trade what `taker` can trade now. Returns its own fills."""
        fills = []
        wanted = left = taker.remaining
        for maker, quantity in market.book.sweep(taker):
            left -= quantity
            fills.append(self.trade(taker, maker, quantity, left, market, events))
        if fills:
            market.last_price = fills[-1].price
            market.volume += wanted - left
            if not left:
                self.close(taker)
        return tuple(fills)

    def trade(
        self, taker: Order, maker: Order, quantity: int, left: int, market: Market, events: list[Event]
    ) -> OrderFilled:
        """Book one trade, and say what both accounts and the public are to know of it. Returns the taker's fill."""
        self.last_trade_id = trade_id = self.last_trade_id + 1
        price, name = maker.price, market.instrument.instrument_id
        taker_fee, maker_fee = settle(taker, maker, quantity, market.house)
        fill = fill_event(taker, trade_id, name, price, quantity, left, TAKER, taker_fee)
        events.append(fill)
        events.append(fill_event(maker, trade_id, name, price, quantity, maker.remaining, MAKER, maker_fee))
        events.append(position_event(taker, name))
        events.append(position_event(maker, name))
        market.number += 1
        events.append(TradePrinted(name, market.number, trade_id, price, quantity, taker.side))
        if not maker.remaining:
            self.close(maker)
        return fill

    def rest(self, order: Order, market: Market) -> None:
        """Let what remains of an order wait in the book."""
        expose(order)
        hold(order, order.remaining)
        market.book.rest(order)
        order.account.resting[order.order_id] = order
        if order.expires_at_ns is not None:
            self.expiries.add(order, order.expires_at_ns)

    def end(self, order: Order, market: Market, status: OrderStatus) -> int:
        """Take a resting order away, and end it. Returns the quantity that was left."""
        market.book.remove(order)
        hold(order, -order.remaining)
        return self.drop(order, status)

    def drop(self, order: Order, status: OrderStatus) -> int:
        """End an order that is in no book. Returns the quantity that was left."""
        left, order.remaining = order.remaining, 0
        move(order, status)
        self.close(order)
        return left

    def close(self, order: Order) -> None:
        """An order has ended: it waits for nothing any more, and counts among the account's last."""
        account = order.account
        if account.resting.pop(order.order_id, None) is not None and order.expires_at_ns is not None:
            self.expiries.discard(order, order.expires_at_ns)
        account.close(order, self.registry.venue.kept_closed_orders)


def fill_event(
    order: Order, trade_id: int, name: str, price: int, quantity: int, left: int, liquidity: Liquidity, fees: int
) -> OrderFilled:
    account = order.account
    account.number += 1
    return OrderFilled(
        account.account_id,
        account.number,
        order.order_id,
        order.client_order_id,
        trade_id,
        name,
        order.side,
        price,
        quantity,
        left,
        order.status,
        liquidity,
        fees,
    )


def position_event(order: Order, name: str) -> PositionUpdated:
    account = order.account
    account.number += 1
    return PositionUpdated(account.account_id, account.number, name, order.position.quantity)


def cancelled(order: Order, left: int, reason: str) -> OrderCancelled:
    account = order.account
    account.number += 1
    return OrderCancelled(account.account_id, account.number, order.order_id, order.client_order_id, left, reason)
