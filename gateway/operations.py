"""Operations servicer: the venue's own commands, for operators alone."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from engine.commands import CreateInvite, PutAccount, PutInstrument, PutRiskProfile, RevokeKey, RotateKey
from engine.instrument import RateLimit, RiskProfile
from gateway import codec
from gateway.access import Access
from gateway.accounts import DEFAULT_ROLE, display_name
from gateway.auth import key_hash, new_key
from gateway.edge import Context, unary
from gateway.keys import Keys
from gateway.refusals import Refused, invalid_request
from gateway.sequencer import Sequencer, settle
from outcry import v1


class Operations(v1.OperationsServicer):
    def __init__(self, access: Access, sequencer: Sequencer, keys: Keys) -> None:
        self.access = access
        self.sequencer = sequencer
        self.keys = keys

    @unary
    async def PutInstrument(self, request: v1.PutInstrumentRequest, context: Context) -> v1.PutInstrumentResponse:
        self.access.operator(context)
        outcome = await self.sequencer.execute(PutInstrument(codec.listing(request.instrument)))
        codec.require_done(outcome)
        return v1.PutInstrumentResponse(journal_seq=outcome.journal_seq)

    @unary
    async def PutAccount(self, request: v1.PutAccountRequest, context: Context) -> v1.PutAccountResponse:
        self.access.operator(context)
        name = display_name(request.name, "name")
        opening = {codec.word(balance.asset, "asset"): balance.amount for balance in request.opening_balances} or None
        exchange = self.sequencer.exchange
        known = exchange.accounts[exchange.named_accounts[name]] if name in exchange.named_accounts else None
        key = new_key() if request.new_key or known is None else ""
        command = PutAccount(
            name,
            codec.word(request.role, "role") or (known.role if known else DEFAULT_ROLE),
            codec.word(request.risk_profile, "risk_profile") or (known.risk_profile if known else ""),
            key_hash(key) if key else b"",
            opening,
        )
        outcome = await self.keys.change(command, key)
        return v1.PutAccountResponse(account_id=outcome.account, api_key=key, journal_seq=outcome.journal_seq)

    @unary
    async def RevokeKey(self, request: v1.RevokeKeyRequest, context: Context) -> v1.RevokeKeyResponse:
        operator, account = self.access.operator(context), self.named_account(request)
        if account == operator:
            raise invalid_request("an operator's own key is rotated, not revoked: nobody might be left", "account")
        key = new_key() if request.new_key else ""
        command = RotateKey(account, key_hash(key)) if key else RevokeKey(account)
        outcome = await self.keys.change(command, key)
        return v1.RevokeKeyResponse(account_id=account, api_key=key, journal_seq=outcome.journal_seq)

    def named_account(self, request: v1.RevokeKeyRequest) -> int:
        """The number of the account that is meant; the engine knows whether there is one."""
        if request.WhichOneof("account") != "name":
            return request.account_id
        number = self.sequencer.exchange.named_accounts.get(codec.word(request.name, "name"))
        if number is None:
            raise Refused(v1.NOT_FOUND, f"There is no account {request.name}")
        return number

    @unary
    async def PutRiskProfile(self, request: v1.PutRiskProfileRequest, context: Context) -> v1.PutRiskProfileResponse:
        self.access.operator(context)
        if not codec.word(request.name, "name"):
            raise invalid_request("name is needed", "name")
        rates = [rate_limit(request, field) for field in ("order_rate", "cancel_rate", "query_rate")]
        command = PutRiskProfile(RiskProfile(request.name, request.no_position_limit, *rates))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.sequencer.submit(command, partial(self.reprofiled, future))
        outcome = await future
        codec.require_done(outcome)
        return v1.PutRiskProfileResponse(journal_seq=outcome.journal_seq)

    def reprofiled(self, future: asyncio.Future[Any], answer: object) -> None:
        """The reply to a risk profile, whose rates hold from now on whether or not anybody waits to hear it."""
        self.access.limits.refresh()
        settle(future, answer)

    @unary
    async def CreateInvite(self, request: v1.CreateInviteRequest, context: Context) -> v1.CreateInviteResponse:
        self.access.operator(context)
        invite = new_key()
        outcome = await self.sequencer.execute(CreateInvite(key_hash(invite), codec.word(request.role, "role")))
        codec.require_done(outcome)
        return v1.CreateInviteResponse(invite=invite, journal_seq=outcome.journal_seq)

    @unary
    async def GetStateDigest(self, request: v1.GetStateDigestRequest, context: Context) -> v1.StateDigest:
        self.access.operator(context)
        sequencer = self.sequencer
        digest, seq = await sequencer.ask(lambda: (sequencer.exchange.digest(), sequencer.seq))
        return v1.StateDigest(digest=digest, journal_seq=seq)


def rate_limit(request: v1.PutRiskProfileRequest, field: str) -> RateLimit | None:
    if not request.HasField(field):
        return None
    rate: v1.RateLimit = getattr(request, field)
    return RateLimit(rate.limit, rate.window_s)
