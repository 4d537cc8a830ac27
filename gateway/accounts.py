"""Accounts servicer: registration, and what an account has."""

from __future__ import annotations

from engine.commands import Register, RotateKey
from gateway import codec
from gateway.access import Access
from gateway.auth import key_hash, new_key
from gateway.edge import Context, unary
from gateway.keys import Keys
from gateway.limits import QUERIES
from gateway.refusals import Refused, invalid_request
from gateway.sequencer import Sequencer
from outcry import v1

NAME_LENGTH = 64
DEFAULT_ROLE = "trader"
PAGE_LIMIT = 1_000


class Accounts(v1.AccountsServicer):
    def __init__(self, access: Access, sequencer: Sequencer, keys: Keys) -> None:
        self.access = access
        self.sequencer = sequencer
        self.keys = keys
        self.exchange = sequencer.exchange

    @unary
    async def Register(self, request: v1.RegisterRequest, context: Context) -> v1.RegisterResponse:
        self.access.admit_registration(context)
        name, key = display_name(request.team_name, "team_name"), new_key()
        role = codec.word(request.role, "role") or DEFAULT_ROLE
        invite_hash = key_hash(codec.word(request.invite, "invite")) if request.invite else b""
        outcome = await self.sequencer.execute(Register(name, role, key_hash(key), invite_hash))
        codec.require_done(outcome)
        return v1.RegisterResponse(account_id=outcome.account, team_name=name, role=role, api_key=key)

    @unary
    async def RotateKey(self, request: v1.RotateKeyRequest, context: Context) -> v1.RotateKeyResponse:
        account, key = self.access.account(context), new_key()
        outcome = await self.keys.change(RotateKey(account, key_hash(key)), key)
        return v1.RotateKeyResponse(account_id=account, api_key=key, journal_seq=outcome.journal_seq)

    @unary
    async def GetOrder(self, request: v1.GetOrderRequest, context: Context) -> v1.Order:
        account = self.access.account(context, QUERIES)
        order_id, client_order_id = codec.named(request)
        view, number = await self.sequencer.ask(
            lambda: (self.exchange.order(account, order_id, client_order_id), self.exchange.last_number(account))
        )
        if view is None:
            raise Refused(v1.ORDER_NOT_FOUND, "Order not found")
        return codec.order(view, number)

    @unary
    async def ListOrders(self, request: v1.ListOrdersRequest, context: Context) -> v1.ListOrdersResponse:
        account = self.access.account(context, QUERIES)
        if request.limit < 0:
            raise invalid_request("limit is negative", "limit")
        limit = min(request.limit or PAGE_LIMIT, PAGE_LIMIT)
        page = (
            account,
            request.include_closed,
            codec.word(request.instrument_id, "instrument_id"),
            request.after_order_id,
            limit,
        )
        (views, more), number = await self.sequencer.ask(
            lambda: (self.exchange.orders(*page), self.exchange.last_number(account))
        )
        return v1.ListOrdersResponse(orders=[codec.order(view, number) for view in views], seq=number, more=more)

    @unary
    async def GetPositions(self, request: v1.GetPositionsRequest, context: Context) -> v1.Positions:
        account = self.access.account(context, QUERIES)
        views, number = await self.sequencer.ask(
            lambda: (self.exchange.positions(account), self.exchange.last_number(account))
        )
        return v1.Positions(positions=[codec.position(view) for view in views], seq=number)

    @unary
    async def GetBalances(self, request: v1.GetBalancesRequest, context: Context) -> v1.Balances:
        account = self.access.account(context, QUERIES)
        views, number = await self.sequencer.ask(
            lambda: (self.exchange.balances(account), self.exchange.last_number(account))
        )
        return v1.Balances(balances=[codec.balance(view) for view in views], seq=number)


def display_name(text: str, field: str) -> str:
    """What people may be called."""
    name = text.strip()
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        raise invalid_request(f"{field} must be 1 to {NAME_LENGTH} printable characters", field)
    return name
