"""What is traded here and by whom, as a file: venue.toml becomes journalled commands where it differs from the state.

So the state never depends on a file that may have changed since: replay reads the journal alone, and a second start
with the same file has nothing to say. What an operator put in besides stays; what the file names is as the file has it.
One thing a start does not undo: an account whose key was revoked has none until an operator gives it another, whatever
lies in its key file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from engine.commands import Command, PutAccount, PutFeeSchedule, PutInstrument, PutRiskProfile, PutRole, PutVenue
from engine.exchange import Exchange
from engine.instrument import FeeSchedule, Instrument, RateLimit, RiskProfile, Role
from gateway.auth import Keyring
from outcry.v1.fixed import to_fixed

BUILT_IN = Path(__file__).with_name("venue.toml")

KeyName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]*$")]  # it becomes a file's name


class VenueInvalid(Exception):
    """The file does not describe a venue; the message names it."""


class Amount:
    """A number of the file, as units of 1e-9."""

    def __init__(self, number: Decimal | int) -> None:
        self.units = to_fixed(number)


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file. What it does not know is refused, so that a slip of the pen does not go unnoticed."""


class RegistrationSection(Section, frozen=True):
    mode: Literal["open", "closed", "invite"] = "open"


class FeeScheduleSection(Section, frozen=True):
    maker: Amount
    taker: Amount


class RateSection(Section, frozen=True):
    """At most `limit` in any `window_s` seconds."""

    limit: int
    window_s: int


class RiskProfileSection(Section, frozen=True):
    no_position_limit: bool = False
    order_rate: RateSection | None = None
    cancel_rate: RateSection | None = None
    query_rate: RateSection | None = None


class InstrumentSection(Section, frozen=True):
    tick_size: Amount
    lot_size: Amount
    quote_asset: str
    base_asset: str = ""
    settles_in_cash: bool = False
    position_limit: Amount | None = None
    least_notional: Amount | None = None


class RoleSection(Section, frozen=True):
    fee_schedule: str
    risk_profile: str
    opening_balances: dict[str, Amount] = {}
    open_to_registration: bool = True


class AccountSection(Section, frozen=True):
    """`risk_profile` "" is the role's. Without `opening_balances` the account opens with the role's."""

    role: str
    key: KeyName
    risk_profile: str = ""
    opening_balances: dict[str, Amount] | None = None


class Venue(Section, frozen=True):
    """The whole file. Each table is named by what it describes: `[instruments.AAPL]`."""

    registration: RegistrationSection = RegistrationSection()
    kept_closed_orders: Annotated[int, Meta(ge=0)] = 100_000
    fee_schedules: dict[str, FeeScheduleSection] = {}
    risk_profiles: dict[str, RiskProfileSection] = {}
    instruments: dict[str, InstrumentSection] = {}
    roles: dict[str, RoleSection] = {}
    accounts: dict[str, AccountSection] = {}


def load(path: Path | None) -> Venue:
    """Read a venue's file; None is the built-in one. VenueInvalid where it cannot be read or is not a venue."""
    path = path or BUILT_IN
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        return msgspec.convert(document, Venue, dec_hook=to_amount)
    except OSError as problem:
        raise VenueInvalid(f"--venue {path}: {problem.strerror}") from None
    except (ValueError, msgspec.ValidationError) as problem:
        raise VenueInvalid(f"--venue {path}: {problem}") from None


def to_amount(kind: type, value: object) -> Amount:
    if kind is not Amount or isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise ValueError(f"a number is expected, not {value!r}")
    return Amount(value)


def commands(venue: Venue, exchange: Exchange, keyring: Keyring) -> list[Command]:
    """What must be sequenced, in order, for the state to be as the file says: nothing, if it is. Key files that are
    missing are made. OSError, KeyFileInvalid."""
    return [
        *settings(venue, exchange),
        *fee_schedules(venue, exchange),
        *risk_profiles(venue, exchange),
        *roles(venue, exchange),
        *instruments(venue, exchange),
        *accounts(venue, exchange, keyring),
    ]


def settings(venue: Venue, exchange: Exchange) -> Iterator[PutVenue]:
    wanted = PutVenue(venue.registration.mode, venue.kept_closed_orders)
    if wanted != exchange.venue:
        yield wanted


def fee_schedules(venue: Venue, exchange: Exchange) -> Iterator[PutFeeSchedule]:
    for name, section in venue.fee_schedules.items():
        wanted = FeeSchedule(name, section.maker.units, section.taker.units)
        if wanted != exchange.fee_schedules.get(name):
            yield PutFeeSchedule(wanted)


def risk_profiles(venue: Venue, exchange: Exchange) -> Iterator[PutRiskProfile]:
    for name, section in venue.risk_profiles.items():
        rates = map(rate_limit, (section.order_rate, section.cancel_rate, section.query_rate))
        wanted = RiskProfile(name, section.no_position_limit, *rates)
        if wanted != exchange.risk_profiles.get(name):
            yield PutRiskProfile(wanted)


def roles(venue: Venue, exchange: Exchange) -> Iterator[PutRole]:
    for name, section in venue.roles.items():
        opening = balances(section.opening_balances)
        wanted = Role(name, section.fee_schedule, section.risk_profile, opening, section.open_to_registration)
        if wanted != exchange.roles.get(name):
            yield PutRole(wanted)


def instruments(venue: Venue, exchange: Exchange) -> Iterator[PutInstrument]:
    for name, section in venue.instruments.items():
        wanted = Instrument(
            instrument_id=name,
            tick_size=section.tick_size.units,
            lot_size=section.lot_size.units,
            quote_asset=section.quote_asset,
            base_asset=section.base_asset,
            settles_in_cash=section.settles_in_cash,
            position_limit=units(section.position_limit),
            least_notional=units(section.least_notional),
        )
        if wanted != exchange.instruments.get(name):
            yield PutInstrument(wanted)


def accounts(venue: Venue, exchange: Exchange, keyring: Keyring) -> Iterator[PutAccount]:
    for name, section in venue.accounts.items():
        opening = None if section.opening_balances is None else balances(section.opening_balances)
        key_hash = b"" if is_revoked(name, exchange) else keyring.key_hash(section.key)
        wanted = PutAccount(name, section.role, section.risk_profile, key_hash, opening)
        if not is_held(wanted, exchange):
            yield wanted


def is_revoked(name: str, exchange: Exchange) -> bool:
    """Whether there is an account of this name, and it has no key."""
    number = exchange.named_accounts.get(name)
    return number is not None and not exchange.accounts[number].key_hash


def is_held(wanted: PutAccount, exchange: Exchange) -> bool:
    """Whether the account is as wanted already. What it opened with is history, and no part of that."""
    number = exchange.named_accounts.get(wanted.name)
    if number is None:
        return False
    account = exchange.accounts[number]
    held = (account.role, account.risk_profile, account.key_hash)
    return held == (wanted.role, wanted.risk_profile, wanted.key_hash)


def rate_limit(section: RateSection | None) -> RateLimit | None:
    return None if section is None else RateLimit(section.limit, section.window_s)


def units(amount: Amount | None) -> int | None:
    return None if amount is None else amount.units


def balances(opening: dict[str, Amount]) -> dict[str, int]:
    return {asset: amount.units for asset, amount in opening.items()}
