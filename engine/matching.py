"""Where orders trade, rest and end: the one place that changes book, accounts and expiries together."""

from __future__ import annotations

from engine.accounts import hold, settle
from engine.events import Event, OrderCancelled, OrderFilled, PositionUpdated, TradePrinted
from engine.expiries import Expiries
from engine.market import Market
from engine.order import FILLED, PARTIALLY_FILLED, Liquidity, Order, OrderStatus, move
from engine.registry import Registry

MAKER, TAKER = Liquidity.MAKER, Liquidity.TAKER
AFTER_MAKING = {liquidity: Liquidity(liquidity | MAKER) for liquidity in Liquidity}
AFTER_TAKING = {liquidity: Liquidity(liquidity | TAKER) for liquidity in Liquidity}


class Matching:
    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.expiries = Expiries()
        self.last_trade_id = 0

    def match(self, taker: Order, market: Market, events: list[Event]) -> tuple[OrderFilled, ...]:
        """Trade what `taker` can trade now, and say what both accounts and the public are to know of each trade.

        Returns the taker's own fills.
        """
        wanted = left = taker.remaining
        taken = market.book.sweep(taker)
        if not taken:
            return ()
        account, position, taker_id, client_id = taker.account, taker.position, taker.order_id, taker.client_order_id
        name, side, house, owner = market.instrument.instrument_id, taker.side, market.house, account.account_id
        fills = []
        for maker, quantity in taken:
            fee, maker_fee = settle(taker, maker, quantity, house)
            left -= quantity
            self.last_trade_id = trade_id = self.last_trade_id + 1
            price, other = maker.price, maker.account

            status = PARTIALLY_FILLED if left else FILLED
            account.number = number = account.number + 1
            fill = OrderFilled(
                owner, number, taker_id, client_id, trade_id, name, side, price, quantity, left, status, TAKER, fee
            )
            fills.append(fill)
            made = self.make(maker, quantity, trade_id, name, maker_fee)
            account.number = number = account.number + 1
            taking = PositionUpdated(owner, number, name, position.quantity)
            other.number = number = other.number + 1
            making = PositionUpdated(other.account_id, number, name, maker.position.quantity)
            market.number = number = market.number + 1
            events += (fill, made, taking, making, TradePrinted(name, number, trade_id, price, quantity, side))
        move(taker, PARTIALLY_FILLED if left else FILLED)
        taker.liquidity = AFTER_TAKING[taker.liquidity]
        market.last_price = price
        market.volume += wanted - left
        if not left:
            self.close(taker)
        return tuple(fills)

    def make(self, maker: Order, quantity: int, trade_id: int, name: str, fee: int) -> OrderFilled:
        """The maker's side of a trade: its status, and its fill."""
        left, account, side, price = maker.remaining, maker.account, maker.side, maker.price
        status = PARTIALLY_FILLED if left else FILLED
        move(maker, status)
        maker.liquidity = AFTER_MAKING[maker.liquidity]
        if not left:
            self.close(maker)
        account.number = number = account.number + 1
        owner, order_id, client_id = account.account_id, maker.order_id, maker.client_order_id
        return OrderFilled(
            owner, number, order_id, client_id, trade_id, name, side, price, quantity, left, status, MAKER, fee
        )

    def rest(self, order: Order, market: Market) -> None:
        """Let what remains of an order wait in the book."""
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


def cancelled(order: Order, left: int, reason: str) -> OrderCancelled:
    account = order.account
    account.number += 1
    return OrderCancelled(account.account_id, account.number, order.order_id, order.client_order_id, left, reason)
