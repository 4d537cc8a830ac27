"""Why something is refused: one closed enum, in order of precedence, equal to the contract's by a test."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct


class RejectReason(IntEnum):
    """The reasons that the engine itself gives. The numbers are those of `outcry.v1.RejectReason`."""

    PERMISSION_DENIED = 2
    INVALID_REQUEST = 3
    NOT_FOUND = 4
    DUPLICATE_CLIENT_ORDER_ID = 8
    INVALID_INSTRUMENT = 10
    INVALID_SIDE = 20
    INVALID_ORDER_TYPE = 21
    INVALID_TIME_IN_FORCE = 22
    INVALID_QUANTITY = 23
    MISSING_PRICE = 24
    INVALID_PRICE = 25
    NOTIONAL_OUT_OF_RANGE = 28
    POSITION_LIMIT_EXCEEDED = 61
    INSUFFICIENT_FUNDS = 62
    FOK_NOT_FILLABLE = 71
    CANCEL_FAILED = 80
    REPLACE_FAILED = 81


class Refusal(Struct, frozen=True, gc=False, array_like=True):
    """A reason, what to tell a person, and the numbers a bot can act on.

    `amounts` are in units of 1e-9, `texts` are words; together they are the contract's `details`.
    """

    reason: RejectReason
    message: str
    amounts: dict[str, int] = {}
    texts: dict[str, str | list[str]] = {}
