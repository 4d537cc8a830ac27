"""Everything the state machine accepts: one closed union, and the form in which the journal keeps it.

A command is an array on disk: fields are only ever added at the end, with a default, and no tag is used again.
Side, order type and time in force are plain integers here, because a command is kept before it is judged: an unknown
one is refused by the engine, in its place among the reasons. Amounts are in units of 1e-9.
"""

from __future__ import annotations

from msgspec import Struct

from engine.instrument import FeeSchedule, Instrument, RiskProfile, Role


class NewOrder(Struct, frozen=True, gc=False, array_like=True, tag=1):
    """Enter an order. `attempt` and `channel` are for the record and are no part of its content."""

    account: int
    client_order_id: str  # "": none
    instrument_id: str
    side: int
    order_type: int
    time_in_force: int
    quantity: int
    price: int | None = None
    expires_at_ns: int | None = None
    attempt: int = 0
    channel: int = 0


class CancelOrder(Struct, frozen=True, gc=False, array_like=True, tag=2):
    """Cancel what is left of an order, named by `order_id`, or by `client_order_id` where that is 0."""

    account: int
    order_id: int
    client_order_id: str = ""


class ReplaceOrder(Struct, frozen=True, gc=False, array_like=True, tag=3):
    """Give an order, named as in CancelOrder, a new total quantity, a new price, or both."""

    account: int
    order_id: int
    client_order_id: str = ""
    quantity: int | None = None
    price: int | None = None


class CancelAll(Struct, frozen=True, gc=False, array_like=True, tag=4):
    """Cancel the account's open orders: in one instrument or all (""), on one side or both (0)."""

    account: int
    instrument_id: str = ""
    side: int = 0


class AdvanceTime(Struct, frozen=True, gc=False, array_like=True, tag=5):
    """Let time pass: orders whose expiry is at or before the command's own time expire."""


class PutInstrument(Struct, frozen=True, array_like=True, tag=10):
    instrument: Instrument


class PutFeeSchedule(Struct, frozen=True, array_like=True, tag=11):
    schedule: FeeSchedule


class PutRiskProfile(Struct, frozen=True, array_like=True, tag=12):
    profile: RiskProfile


class PutRole(Struct, frozen=True, array_like=True, tag=13):
    role: Role


class PutVenue(Struct, frozen=True, array_like=True, tag=14):
    """The venue's own settings. `registration` is `open`, `closed` or `invite`; `kept_closed_orders` is how many
    closed orders an account keeps, with their client order ids."""

    registration: str = "open"
    kept_closed_orders: int = 100_000


class PutAccount(Struct, frozen=True, array_like=True, tag=15):
    """Make an account, or change the one an operator made under this name: an operator's command.

    `risk_profile` "" is the role's. `key_hash` is the SHA-256 of the API key, b"" to keep the one there is.
    `opening_balances`, where given, stand in for the role's when the account is made.
    """

    name: str
    role: str
    risk_profile: str = ""
    key_hash: bytes = b""
    opening_balances: dict[str, int] | None = None


class Register(Struct, frozen=True, array_like=True, tag=16):
    """Make an account as its owner. Names need not be unique. `invite_hash` is the SHA-256 of the invite, or b""."""

    name: str
    role: str
    key_hash: bytes
    invite_hash: bytes = b""


class CreateInvite(Struct, frozen=True, array_like=True, tag=17):
    """Allow one registration to whoever shows the invite with this SHA-256; to `role` alone, where it is named."""

    invite_hash: bytes
    role: str = ""


class RotateKey(Struct, frozen=True, array_like=True, tag=18):
    """Give an account the key with this SHA-256 in place of the one it has, which ends."""

    account: int
    key_hash: bytes


class RevokeKey(Struct, frozen=True, array_like=True, tag=19):
    """Take an account's key away. It has none until it is given another."""

    account: int


OrderCommand = NewOrder | CancelOrder | ReplaceOrder | CancelAll
Command = (
    OrderCommand
    | AdvanceTime
    | PutInstrument
    | PutFeeSchedule
    | PutRiskProfile
    | PutRole
    | PutVenue
    | PutAccount
    | Register
    | CreateInvite
    | RotateKey
    | RevokeKey
)
