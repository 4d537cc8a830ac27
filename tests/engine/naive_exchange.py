"""A second exchange, written to be obviously right and in no way fast: the oracle for the first.

Its commands change two lists, and everything else is worked out from those whenever somebody asks.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from engine.commands import AdvanceTime, CancelAll, CancelOrder, NewOrder, ReplaceOrder
from engine.events import (
    AdminOutcome,
    BookChanged,
    CancelAllOutcome,
    CancelRejected,
    Event,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderOutcome,
    OrderRejected,
    OrderReplaced,
    PositionUpdated,
    ReplaceRejected,
    TradePrinted,
)
from engine.order import Liquidity, OrderStatus
from engine.reject import Refusal
from tests.engine.naive_ledger import BUY, ONE, OPEN, SELL
from tests.engine.naive_rules import NaiveRules, No

DAY = 24 * 60 * 60 * ONE


class NaiveExchange(NaiveRules):
    def apply(self, seq: int, now: int, command: Any) -> list[Event]:
        self.events = []
        before = {name: self.depth(name) for name in self.instruments}
        outcome = {
            NewOrder: self.new,
            CancelOrder: self.cancel,
            ReplaceOrder: self.replace,
            CancelAll: self.cancel_all,
            AdvanceTime: self.advance,
        }[type(command)](seq, now, command)
        for name in self.instruments:
            after = self.depth(name)
            changed = sorted(key for key in before[name] | after if before[name][key] != after[key])
            if changed:
                self.numbers[name] += 1
                levels = tuple((side, price, after[side, price]) for side, price in changed)
                self.events.append(BookChanged(name, self.numbers[name], levels))
        return [*self.events, outcome]

    def number(self, whose: int | str) -> int:
        self.numbers[whose] += 1
        return self.numbers[whose]

    def outcome(self, seq: int, now: int, o: dict[str, Any]) -> OrderOutcome:
        filled = self.filled(o)
        mine = [t for t in self.trades if o["id"] in (t["taker"], t["maker"])]
        spent = sum(t["price"] * t["quantity"] // ONE for t in mine)
        return OrderOutcome(
            o["account"],
            o["id"],
            o["client"],
            OrderStatus[o["status"].upper()],
            filled,
            self.left(o),
            round(Fraction(spent * ONE, filled)) if filled else None,
            self.fees(o),
            self.liquidity(o),
            tuple(e for e in self.events if isinstance(e, OrderFilled) and e.liquidity == Liquidity.TAKER),
            self.numbers[o["account"]],
            seq,
            now,
        )

    def refused(self, seq: int, now: int, account: int, order_id: int, client: str, refusal: Refusal) -> OrderOutcome:
        none = OrderStatus.REJECTED, 0, 0, None, 0, Liquidity.NONE, ()
        return OrderOutcome(account, order_id, client, *none, self.numbers[account], seq, now, False, refusal)

    def new(self, seq: int, now: int, c: NewOrder) -> OrderOutcome:
        for o in self.known(c.account):
            if c.client_order_id and o["client"] == c.client_order_id and self.content(o["command"]) == self.content(c):
                first: OrderOutcome = o["outcome"]
                return self.again(first)
        try:
            self.check(now, c)
        except No as no:
            event = OrderRejected(c.account, self.number(c.account), c.client_order_id, c.instrument_id, no.refusal)
            self.events.append(event)
            return self.refused(seq, now, c.account, 0, c.client_order_id, no.refusal)
        expires = c.expires_at_ns if c.time_in_force == 3 else now - now % DAY + DAY if c.time_in_force == 2 else None
        o = {
            "id": len(self.orders) + 1,
            "account": c.account,
            "client": c.client_order_id,
            "name": c.instrument_id,
            "side": c.side,
            "price": c.price,
            "quantity": c.quantity,
            "status": "new",
            "waits": False,
            "expires": expires,
            "command": c,
        }
        self.orders.append(o)
        same = c.client_order_id, c.instrument_id, c.side, c.order_type, c.time_in_force, c.quantity, c.price
        self.events.append(OrderAccepted(c.account, self.number(c.account), o["id"], *same, expires))
        self.trade(o)
        if self.left(o) and c.order_type == 2:
            self.finish(o, "cancelled", "no_liquidity")
        elif self.left(o) and c.time_in_force == 4:
            self.finish(o, "cancelled", "immediate_or_cancel")
        elif self.left(o):
            self.join(o)
        o["outcome"] = self.outcome(seq, now, o)
        return o["outcome"]

    def again(self, first: OrderOutcome) -> OrderOutcome:
        values = {name: getattr(first, name) for name in first.__struct_fields__}
        return OrderOutcome(**{**values, "duplicate": True})

    def content(self, c: NewOrder) -> list[Any]:
        return [getattr(c, name) for name in c.__struct_fields__ if name not in ("attempt", "channel")]

    def join(self, o: dict[str, Any]) -> None:
        self.turn += 1
        o["turn"], o["waits"] = self.turn, True

    def trade(self, o: dict[str, Any]) -> None:
        name, side = o["name"], o["side"]
        while self.left(o):
            others = [m for m in self.queue(name, 3 - side) if self.agree(o["side"], o["price"], m["price"])]
            if not others:
                return
            maker = others[0]
            self.print_trade(o, maker, min(self.left(o), self.left(maker)))

    def print_trade(self, taker: dict[str, Any], maker: dict[str, Any], quantity: int) -> None:
        name, price, accounts = taker["name"], maker["price"], (taker["account"], maker["account"])
        rates = self.holders[accounts[0]].fees.taker, self.holders[accounts[1]].fees.maker
        fees = rates[0] * quantity // ONE, rates[1] * quantity // ONE
        buyer, seller = accounts if taker["side"] == BUY else accounts[::-1]
        trade_id = len(self.trades) + 1
        self.trades.append(
            {
                "name": name,
                "price": price,
                "quantity": quantity,
                "taker": taker["id"],
                "maker": maker["id"],
                "buyer": buyer,
                "seller": seller,
                "fees": list(zip(accounts, fees, strict=True)),
            }
        )
        for o, liquidity, fee in ((taker, Liquidity.TAKER, fees[0]), (maker, Liquidity.MAKER, fees[1])):
            o["status"] = "partially_filled" if self.left(o) else "filled"
            self.events.append(
                OrderFilled(
                    o["account"],
                    self.number(o["account"]),
                    o["id"],
                    o["client"],
                    trade_id,
                    name,
                    o["side"],
                    price,
                    quantity,
                    self.left(o),
                    OrderStatus[o["status"].upper()],
                    liquidity,
                    fee,
                )
            )
        for account in accounts:
            self.events.append(PositionUpdated(account, self.number(account), name, self.position(account, name)))
        self.events.append(TradePrinted(name, self.number(name), trade_id, price, quantity, taker["side"]))
        for o in (maker, taker):
            if o["status"] == "filled":
                self.turn += 1
                o["ended"], o["waits"] = self.turn, False

    def finish(self, o: dict[str, Any], status: str, reason: str) -> None:
        left, account = self.left(o), o["account"]
        self.turn += 1
        o["status"], o["ended"], o["waits"] = status, self.turn, False
        head = account, self.number(account), o["id"], o["client"], left
        self.events.append(OrderExpired(*head) if status == "expired" else OrderCancelled(*head, reason))

    def find(self, c: CancelOrder | ReplaceOrder) -> dict[str, Any] | None:
        for o in self.known(c.account):
            if o["id"] == c.order_id or (not c.order_id and c.client_order_id and o["client"] == c.client_order_id):
                return o
        return None

    def gone(self, reason: str, c: CancelOrder | ReplaceOrder, o: dict[str, Any] | None) -> No:
        because = {None: "not_found", "filled": "already_filled"}.get(o and o["status"], "already_cancelled")
        asked = f"ORD_{c.order_id}" if c.order_id else c.client_order_id
        return No(reason, {}, {"order_id": asked, "reason": because})

    def cancel(self, seq: int, now: int, c: CancelOrder) -> OrderOutcome:
        o = self.find(c)
        if o is not None and o["status"] in OPEN:
            self.finish(o, "cancelled", "user_requested")
            return self.outcome(seq, now, o)
        refusal = self.gone("CANCEL_FAILED", c, o).refusal
        because = str(refusal.texts["reason"])
        asked = c.order_id, c.client_order_id
        self.events.append(CancelRejected(c.account, self.number(c.account), *asked, because))
        return self.refused(seq, now, c.account, *asked, refusal)

    def replace(self, seq: int, now: int, c: ReplaceOrder) -> OrderOutcome:
        o = self.find(c)
        try:
            if c.quantity is None and c.price is None:
                raise No("INVALID_REQUEST")
            if o is None or o["status"] not in OPEN:
                raise self.gone("REPLACE_FAILED", c, o)
            self.change(o, c)
        except No as no:
            asked = c.order_id, c.client_order_id
            self.events.append(ReplaceRejected(c.account, self.number(c.account), *asked, no.refusal))
            return self.refused(seq, now, c.account, *asked, no.refusal)
        return self.outcome(seq, now, o)

    def change(self, o: dict[str, Any], c: ReplaceOrder) -> None:
        quantity = o["quantity"] if c.quantity is None else c.quantity
        price = o["price"] if c.price is None else c.price
        i = self.instruments[o["name"]]
        self.check_quantity(i, quantity)
        self.check_price(i, price)
        if quantity <= self.filled(o):
            self.finish(o, "cancelled", "replaced")
            return
        back = price != o["price"] or quantity > o["quantity"]
        if back:
            o["waits"] = False
            try:
                self.check_risk(o["account"], i, o["side"], quantity - self.filled(o), price, quantity)
            except No:
                o["waits"] = True
                raise
        o["quantity"], o["price"] = quantity, price
        head = o["account"], self.number(o["account"]), o["id"], o["client"]
        self.events.append(OrderReplaced(*head, quantity, price, self.left(o)))
        if back:
            self.trade(o)
            if self.left(o):
                self.join(o)

    def cancel_all(self, seq: int, now: int, c: CancelAll) -> CancelAllOutcome:
        refusal = None
        if c.instrument_id and c.instrument_id not in self.instruments:
            refusal = self.unknown(c.instrument_id).refusal
        elif c.side not in (0, BUY, SELL):
            refusal = No("INVALID_SIDE").refusal
        ids = []
        for o in self.waiting(c.account):
            if refusal is None and c.instrument_id in ("", o["name"]) and c.side in (0, o["side"]):
                self.finish(o, "cancelled", "user_requested")
                ids.append(o["id"])
        return CancelAllOutcome(c.account, tuple(ids), self.numbers[c.account], seq, now, refusal)

    def advance(self, seq: int, now: int, c: AdvanceTime) -> AdminOutcome:
        due = [o for o in self.orders if o["waits"] and o["expires"] and o["expires"] <= now]
        for o in sorted(due, key=lambda o: (o["expires"], o["id"])):
            self.finish(o, "expired", "")
        return AdminOutcome(seq)
