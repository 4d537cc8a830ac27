"""The oracle's refusals, each from the whole record, in the order in which they are asked."""

from __future__ import annotations

from typing import Any

from engine.commands import NewOrder
from engine.instrument import Instrument
from engine.reject import Refusal, RejectReason
from tests.engine.naive_ledger import BUY, MOST, ONE, SELL, NaiveLedger


class No(Exception):
    def __init__(self, reason: str, amounts: dict[str, int] | None = None, texts: dict[str, Any] | None = None) -> None:
        self.refusal = Refusal(RejectReason[reason], "", amounts or {}, texts or {})


class NaiveRules(NaiveLedger):
    def unknown(self, name: str) -> No:
        texts = {"requested_instrument": name, "available_instruments": sorted(self.instruments)}
        return No("INVALID_INSTRUMENT", {}, texts)

    def check(self, now: int, c: NewOrder) -> None:
        if c.client_order_id and any(o["client"] == c.client_order_id for o in self.known(c.account)):
            raise No("DUPLICATE_CLIENT_ORDER_ID")
        if c.instrument_id not in self.instruments:
            raise self.unknown(c.instrument_id)
        i = self.instruments[c.instrument_id]
        if c.side not in (BUY, SELL):
            raise No("INVALID_SIDE")
        if c.order_type not in (1, 2):
            raise No("INVALID_ORDER_TYPE")
        if c.time_in_force not in (1, 2, 3, 4, 5) or (c.time_in_force == 3) != (c.expires_at_ns is not None):
            raise No("INVALID_TIME_IN_FORCE")
        if c.expires_at_ns is not None and c.expires_at_ns <= now:
            raise No("INVALID_TIME_IN_FORCE")
        self.check_quantity(i, c.quantity)
        if c.order_type == 1 and c.price is None:
            raise No("MISSING_PRICE")
        if c.order_type == 2 and c.price is not None:
            raise No("INVALID_PRICE")
        if c.price is not None:
            self.check_price(i, c.price)
        self.check_risk(c.account, i, c.side, c.quantity, c.price, c.quantity)
        now_there = sum(quantity for quantity, _ in self.takes(i, c.side, c.price, c.quantity))
        if c.time_in_force == 5 and now_there < c.quantity:
            raise No("FOK_NOT_FILLABLE", {"order_quantity": c.quantity, "available_quantity": now_there})

    def check_quantity(self, i: Instrument, quantity: int) -> None:
        if quantity <= 0 or quantity % i.lot_size != 0:
            raise No("INVALID_QUANTITY")

    def check_price(self, i: Instrument, price: int) -> None:
        if price <= 0 or price % i.tick_size != 0:
            raise No("INVALID_PRICE")

    def takes(self, i: Instrument, side: int, limit: int | None, quantity: int) -> list[tuple[int, int]]:
        """What such an order would trade now, as quantities and prices."""
        taken = []
        for maker in self.queue(i.instrument_id, 3 - side):
            if quantity and self.agree(side, limit, maker["price"]):
                part = min(quantity, self.left(maker))
                quantity -= part
                taken.append((part, maker["price"]))
        return taken

    def check_risk(self, account: int, i: Instrument, side: int, quantity: int, price: int | None, whole: int) -> None:
        """`quantity` can still trade, of an order of `whole`. The orders that wait are counted, this one is not."""
        taken = self.takes(i, side, price, quantity)
        now_costs = sum(part * at // ONE for part, at in taken)
        rest = quantity - sum(part for part, _ in taken)
        cost = now_costs if price is None else now_costs + price * rest // ONE
        most = price * quantity // ONE if price is not None and side == BUY else cost
        self.check_range(account, i, side, quantity, price, most, whole)
        notional = now_costs if price is None else price * whole // ONE
        if i.least_notional is not None and 0 < notional < i.least_notional:
            raise No("NOTIONAL_OUT_OF_RANGE")
        name = i.instrument_id
        if i.position_limit is not None and not self.holders[account].unlimited:
            same = sum(self.left(o) for o in self.waiting(account) if o["name"] == name and o["side"] == side)
            position = self.position(account, name)
            if (position if side == BUY else -position) + same + quantity > i.position_limit:
                amounts = {"current_position": position, "open_quantity": same, "order_quantity": quantity}
                raise No(
                    "POSITION_LIMIT_EXCEEDED",
                    {**amounts, "position_limit": i.position_limit, "limit": i.position_limit},
                )
        if i.settles_in_cash:
            asset, needed = (i.quote_asset, most) if side == BUY else (i.base_asset, quantity)
            there = self.total(account, asset) - self.reserved(account, asset)
            if needed > there:
                raise No("INSUFFICIENT_FUNDS", {"required_balance": needed, "available_balance": there})

    def check_range(
        self, account: int, i: Instrument, side: int, quantity: int, price: int | None, most: int, whole: int
    ) -> None:
        """Everything that waits could trade, and this too: nothing may then be beyond int64."""
        fees = self.holders[account].fees
        charge, rebate = max(fees.maker, fees.taker, 0), -min(fees.maker, fees.taker, 0)
        moves = [(i, side, quantity, most)]
        moves += [
            (self.instruments[o["name"]], o["side"], self.left(o), o["price"] * self.left(o) // ONE)
            for o in self.waiting(account)
        ]
        sums = [most, max(charge, rebate) * whole // ONE]
        level = [self.left(o) for o in self.queue(i.instrument_id, side) if o["price"] == price]
        sums.append(sum(level) + quantity)
        for asset in (i.quote_asset, i.base_asset):
            if asset:
                up = down = self.total(account, asset)
                for other, way, amount, cost in moves:
                    if other.quote_asset == asset:
                        up += (cost if way == SELL else 0) + rebate * amount // ONE
                        down -= (cost if way == BUY else 0) + charge * amount // ONE
                    if other.base_asset == asset:
                        up += amount if way == BUY else 0
                        down -= amount if way == SELL else 0
                sums += [up, -down]
        name = i.instrument_id
        ours = [(way, amount) for other, way, amount, _ in moves if other.instrument_id == name and way == side]
        position = self.position(account, name)
        sums.append((position if side == BUY else -position) + sum(amount for _, amount in ours))
        if max(sums) > MOST:
            raise No("NOTIONAL_OUT_OF_RANGE")

    def agree(self, side: int, limit: int | None, price: int) -> bool:
        return limit is None or (price <= limit if side == BUY else price >= limit)
