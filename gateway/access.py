"""Who is calling, and what they may: a call's context in, an account out, for every servicer alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc

from engine.exchange import Exchange
from engine.instrument import RateLimit
from gateway.auth import Authenticator, ClientAddress
from gateway.limits import AccountLimits, TokenBuckets
from gateway.refusals import Refused
from outcry import v1

Context = grpc.aio.ServicerContext[Any, Any]
ADDRESSES = 10_000  # whose registrations are remembered


class Access:
    """Everything raises Refused. `service_key_hash` is that of the bridge's key."""

    def __init__(
        self,
        exchange: Exchange,
        *,
        service_key_hash: bytes,
        registrations_per_minute: int,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.authenticator = Authenticator(exchange)
        self.address = ClientAddress(service_key_hash)
        self.limits = AccountLimits(exchange, monotonic)
        self.registration = RateLimit(registrations_per_minute, 60)
        self.registrations = TokenBuckets(ADDRESSES)
        self.monotonic = monotonic

    def account(self, context: Context, kind: str | None = None) -> int:
        """Who calls, and whether as often as may be, where it is told as what `kind` of call this counts.

        On our own wire the key's hash is kept with the block of header fields that it came in.
        """
        memo: dict[str, bytes] | None = getattr(context, "memo", None)
        hashed = None if memo is None else memo.get("key_hash")
        if hashed is None:
            hashed = self.authenticator.hash_of(context.invocation_metadata() or ())
            if memo is not None:
                memo["key_hash"] = hashed
        account = self.authenticator.account(hashed)
        if self.limits.on and kind is not None and (left := self.limits.take(account, kind)):
            context.set_trailing_metadata(left)
        return account

    def operator(self, context: Context) -> int:
        account = self.account(context)
        if not self.authenticator.is_operator(account):
            raise Refused(v1.PERMISSION_DENIED, "This needs an operator's key")
        return account

    def valid_key(self, context: Context) -> bytes | None:
        """The hash of the key that a caller shows; None for one who shows none that an account has."""
        try:
            key_hash = self.authenticator.hash_of(context.invocation_metadata() or ())
        except Refused:
            return None
        return key_hash if self.is_key(key_hash) else None

    def is_key(self, key_hash: bytes) -> bool:
        """Whether it is an account's key now."""
        return key_hash in self.authenticator.exchange.account_by_key

    def is_bridge(self, context: Context) -> bool:
        return self.address.is_bridge(context.invocation_metadata() or ())

    def origin(self, context: Context) -> str:
        """The address that a call comes from."""
        return self.address.of(context.peer(), context.invocation_metadata() or ())

    def admit_registration(self, context: Context) -> None:
        """Count one registration against the address it comes from."""
        origin, words = self.origin(context), "Too many registrations from this address"
        left = self.registrations.take(origin, "registrations", self.registration, self.monotonic(), words)
        context.set_trailing_metadata(left)
