"""The exchange: commands in, events out. The only entry to the engine.

`apply` is a pure function of the state and its three arguments: the same commands with the same sequence numbers and
times give the same events and the same digest, in any process. Queries change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.accounts import Account, find
from engine.amendment import Amendment
from engine.commands import (
    AdvanceTime,
    CancelAll,
    CancelOrder,
    Command,
    CreateInvite,
    NewOrder,
    PutAccount,
    PutFeeSchedule,
    PutInstrument,
    PutRiskProfile,
    PutRole,
    PutVenue,
    Register,
    ReplaceOrder,
    RevokeKey,
    RotateKey,
)
from engine.digest import digest
from engine.entry import Entry
from engine.events import AdminOutcome, Event, OrderOutcome
from engine.fixed import average
from engine.instrument import FeeSchedule, Instrument, RiskProfile, Role
from engine.matching import Matching
from engine.order import Order, Side
from engine.registry import HOUSE, Refused, Registry
from engine.views import BalanceView, BookView, OrderView, PositionView

Handler = Callable[[int, int, Any], list[Event]]


class Exchange:
    """A whole venue in memory. Amounts in units of 1e-9, times in nanoseconds since 1970."""

    def __init__(self) -> None:
        self.registry = registry = Registry()
        self.matching = Matching(registry)
        self.entry = Entry(registry, self.matching)
        self.amendment = Amendment(registry, self.matching, self.entry)
        self.instruments: dict[str, Instrument] = registry.instruments
        self.fee_schedules: dict[str, FeeSchedule] = registry.fee_schedules
        self.risk_profiles: dict[str, RiskProfile] = registry.risk_profiles
        self.roles: dict[str, Role] = registry.roles
        self.accounts: dict[int, Account] = registry.accounts
        self.account_by_key: dict[bytes, int] = registry.account_by_key
        self.named_accounts: dict[str, int] = registry.named_accounts
        self.handlers: dict[type, Handler] = {
            NewOrder: self.entry.new_order,
            CancelOrder: self.amendment.cancel_order,
            ReplaceOrder: self.amendment.replace_order,
            CancelAll: self.amendment.cancel_all,
            AdvanceTime: self.amendment.advance_time,
        }
        configure: dict[type, Callable[[Any], int]] = {
            PutInstrument: registry.put_instrument,
            PutFeeSchedule: registry.put_fee_schedule,
            PutRiskProfile: registry.put_risk_profile,
            PutRole: registry.put_role,
            PutVenue: registry.put_venue,
            PutAccount: registry.put_account,
            Register: registry.register,
            CreateInvite: registry.create_invite,
            RotateKey: registry.rotate_key,
            RevokeKey: registry.revoke_key,
        }
        self.handlers |= {command: administrative(method) for command, method in configure.items()}

    def apply(self, seq: int, time_ns: int, command: Command) -> list[Event]:
        """Carry out one command. The last event is its outcome; a refusal is an outcome too, and never raises."""
        return self.handlers[type(command)](seq, time_ns, command)

    @property
    def venue(self) -> PutVenue:
        return self.registry.venue

    @property
    def next_expiry_ns(self) -> int:
        """When the next order expires; INT64_MAX where none does. Only AdvanceTime expires orders."""
        return self.matching.expiries.next_ns

    def risk_profile(self, account: int) -> RiskProfile:
        """The limits that an account is held to: its own profile, or its role's."""
        return self.registry.profile_of(self.accounts[account])

    def validate(self, time_ns: int, command: NewOrder) -> OrderOutcome:
        """The dry run of an order. Status `new` and order id 0 where it would be accepted."""
        return self.entry.validate(time_ns, command)

    def is_known(self, account: int, client_order_id: str) -> bool:
        """Whether the account has an order under this client order id, open or among the closed ones that are kept."""
        owner = self.accounts.get(account)
        return owner is not None and find(owner, 0, client_order_id) is not None

    def digest(self) -> str:
        """The state in 64 hexadecimal digits: equal for equal histories."""
        return digest(self)

    def book(self, instrument_id: str, depth: int = 0) -> BookView | None:
        """The best `depth` levels a side, 0 for all; None where there is no such instrument."""
        market = self.registry.markets.get(instrument_id)
        if market is None:
            return None
        bids, asks = (market.book.depth(side, depth) for side in Side)
        return BookView(instrument_id, market.number, bids, asks, market.last_price, market.volume)

    def order(self, account: int, order_id: int, client_order_id: str = "") -> OrderView | None:
        """The account's order named by `order_id`, or by `client_order_id` where that is 0."""
        owner = self.accounts.get(account)
        order = None if owner is None else find(owner, order_id, client_order_id)
        return None if order is None else view(order)

    def orders(
        self,
        account: int,
        include_closed: bool = False,
        instrument_id: str = "",
        after_order_id: int = 0,
        limit: int = 1000,
    ) -> tuple[list[OrderView], bool]:
        """A page of at most `limit` orders with larger ids, oldest first; and whether there are more."""
        page: list[OrderView] = []
        owner = self.accounts.get(account)
        if owner is None:
            return page, False
        for order in owner.orders_after(after_order_id, include_closed, instrument_id):
            if len(page) == limit:
                return page, True
            page.append(view(order))
        return page, False

    def positions(self, account: int) -> list[PositionView]:
        """The account's positions in the instruments in which it has entered orders, by instrument id."""
        positions = self.accounts[account].positions if account in self.accounts else {}
        return [
            PositionView(name, position.quantity, position.open_buy, position.open_sell)
            for name, position in sorted(positions.items())
        ]

    def balances(self, account: int) -> list[BalanceView]:
        """What the account has of each asset, by name."""
        balances = self.accounts[account].balances if account in self.accounts else {}
        return [BalanceView(name, balance.total, balance.reserved) for name, balance in sorted(balances.items())]

    def last_number(self, account: int) -> int:
        """The number of the account's last event; 0 before the first."""
        owner = self.accounts.get(account)
        return 0 if owner is None else owner.number


def administrative(method: Callable[[Any], int]) -> Handler:
    """A configuring command's method as a handler: its account, or its refusal, becomes the outcome."""

    def handle(seq: int, time_ns: int, command: Any) -> list[Event]:
        try:
            return [AdminOutcome(seq, method(command))]
        except Refused as problem:
            return [AdminOutcome(seq, HOUSE, problem.refusal)]

    return handle


def view(order: Order) -> OrderView:
    content = order.content
    return OrderView(
        order.order_id,
        order.client_order_id,
        content.instrument_id,
        order.side,
        content.order_type,
        content.time_in_force,
        order.quantity,
        order.price or None,
        order.filled,
        order.remaining,
        average(order.cost, order.filled) if order.filled else None,
        order.fees,
        order.liquidity,
        order.status,
        order.submitted_at_ns,
        order.expires_at_ns,
    )
