"""How often one may ask: token buckets, of an address that registers and of an account's orders, cancels and queries.

A bucket is one integer, the moment when it will be full again: each token moves it on by the time that a token takes to
come back, and it is empty when that moment is a whole window away. Nobody fills it; time does. An account's limits are
its risk profile's, so they are journalled and an operator may change them at any time. How full the buckets are is not
journalled: a restart fills them.

Who is held to a limit is told where it stands, with every answer, in the header fields of the IETF's draft on them
(draft-ietf-httpapi-ratelimit-headers): on gRPC in the metadata at the end, by the bridge in HTTP's own headers.

    RateLimit-Policy: "orders";q=100;w=10      100 at once, and 100 every 10 seconds after that
    RateLimit: "orders";r=42;t=6               42 are left, and in 6 seconds all 100
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from engine.exchange import Exchange
from engine.instrument import RateLimit
from gateway.refusals import Fields, Refused
from outcry import v1

SECOND_NS = 1_000_000_000
ORDERS, CANCELS, QUERIES = "orders", "cancels", "queries"  # orders and replaces; cancels of one or all; the rest
ACCOUNT_BUCKETS = 100_000  # remembered: three an account that is held to limits


class TokenBuckets:
    """One for each owner and rate, so that another rate begins with a full one. At most `kept` are remembered, those
    that were used last."""

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self.full_at_ns: OrderedDict[tuple[Hashable, RateLimit], int] = OrderedDict()

    def take(self, owner: Hashable, name: str, rate: RateLimit, now_ns: int, words: str) -> Fields:
        """Take a token at `now_ns` (monotonic), and say what is left.

        Refused: RATE_LIMIT_EXCEEDED {limit, window, retry_after}, in seconds; that takes no token.
        """
        bucket = owner, rate
        token_ns = rate.window_s * SECOND_NS // rate.limit
        empty_ns = now_ns + rate.limit * token_ns
        full_at_ns = max(self.full_at_ns.get(bucket, 0), now_ns) + token_ns
        if full_at_ns > empty_ns:
            retry_after = -(-(full_at_ns - empty_ns) // SECOND_NS)
            details = {"limit": rate.limit, "window": rate.window_s, "retry_after": retry_after}
            raise Refused(v1.RATE_LIMIT_EXCEEDED, words, details, fields(name, rate, 0, retry_after))
        self.full_at_ns[bucket] = full_at_ns
        self.full_at_ns.move_to_end(bucket)
        if len(self.full_at_ns) > self.kept:
            self.full_at_ns.popitem(last=False)
        return fields(name, rate, (empty_ns - full_at_ns) // token_ns, -(-(full_at_ns - now_ns) // SECOND_NS))


def fields(name: str, rate: RateLimit, left: int, seconds: int) -> Fields:
    return (
        ("ratelimit-policy", f'"{name}";q={rate.limit};w={rate.window_s}'),
        ("ratelimit", f'"{name}";r={left};t={seconds}'),
    )


class AccountLimits:
    """Holds accounts to what their risk profiles allow. `on` is whether there is any such profile: where there is none,
    that is all that an order pays for."""

    def __init__(self, exchange: Exchange, monotonic: Callable[[], int] = time.monotonic_ns) -> None:
        self.exchange = exchange
        self.monotonic = monotonic
        self.buckets = TokenBuckets(ACCOUNT_BUCKETS)
        self.on = False
        self.refresh()

    def refresh(self) -> None:
        """A risk profile may have changed."""
        profiles = self.exchange.risk_profiles.values()
        self.on = any(profile.order_rate or profile.cancel_rate or profile.query_rate for profile in profiles)

    def take(self, account: int, kind: str) -> Fields:
        """Count one order, cancel or query of an account; say what is left where it is limited. Refused."""
        profile = self.exchange.risk_profile(account)
        if kind == ORDERS:
            rate = profile.order_rate
        elif kind == CANCELS:
            rate = profile.cancel_rate
        else:
            rate = profile.query_rate
        if rate is None:
            return ()
        return self.buckets.take((account, kind), kind, rate, self.monotonic(), f"Too many {kind} of this account")
