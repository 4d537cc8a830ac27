"""What the venue is made of: instruments, fee schedules, risk profiles, roles, accounts, invites.

Each configuring command is checked against all that is there, and then put in place of what had its name; the same
command again changes nothing. What follows from configuration (an account's fees, its list of checks) is worked out
here, when the configuration changes, so that the way of an order only reads it.
"""

from __future__ import annotations

from engine.accounts import Account, Balance, Position, rates_of, transfer
from engine.commands import (
    CreateInvite,
    PutAccount,
    PutFeeSchedule,
    PutInstrument,
    PutRiskProfile,
    PutRole,
    PutVenue,
    Register,
    RevokeKey,
    RotateKey,
)
from engine.fixed import INT64_MAX, SCALE, text
from engine.instrument import FeeSchedule, Instrument, RiskProfile, Role
from engine.market import Market
from engine.reject import Refusal, RejectReason
from engine.risk import checks

HOUSE = 0  # the venue's own account
HASH_LENGTH = 32  # of a SHA-256
REGISTRATIONS = ("open", "closed", "invite")
NO_FEES = FeeSchedule("", 0, 0)
LIMIT_MAX = 1_000_000  # of a rate
WINDOW_MAX_S = 86_400


class Refused(Exception):
    """A configuring command that is not carried out, and why. The exchange makes an outcome of it."""

    def __init__(self, message: str, reason: RejectReason = RejectReason.INVALID_REQUEST) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason, message)


def require(condition: bool, message: str) -> None:
    if not condition:
        raise Refused(message)


class Registry:
    """The venue's configuration and its accounts, by name and number.

    The commands' methods return the account that was made or changed, else 0, and raise Refused before anything
    changes.
    """

    def __init__(self) -> None:
        self.venue = PutVenue()
        self.instruments: dict[str, Instrument] = {}
        self.fee_schedules: dict[str, FeeSchedule] = {}
        self.risk_profiles: dict[str, RiskProfile] = {}
        self.roles: dict[str, Role] = {}
        self.markets: dict[str, Market] = {}
        self.house = Account(HOUSE, "venue", "", rates_of(NO_FEES))
        self.accounts: dict[int, Account] = {HOUSE: self.house}
        self.account_by_key: dict[bytes, int] = {}
        self.named_accounts: dict[str, int] = {}
        self.invites: dict[bytes, str] = {}

    # Instruments

    def put_instrument(self, command: PutInstrument) -> int:
        instrument = command.instrument
        name = instrument.instrument_id
        require_sound(instrument)
        for schedule in self.fee_schedules.values():
            require_exact_fees(schedule, instrument)
        market = self.markets.get(name)
        if market is None:
            self.markets[name] = Market(instrument, self.house_balance(instrument.quote_asset))
        elif instrument != market.instrument:
            if essentials(instrument) != essentials(market.instrument):
                words = f"{name} has traded or has open orders: its tick, lot, assets and settlement stay"
                require(market.last_price is None and market.book.is_empty(), words)
            market.instrument = instrument
            market.house = self.house_balance(instrument.quote_asset)
            for account in self.accounts.values():
                self.refresh_position(account, instrument)
        self.instruments[name] = instrument
        return HOUSE

    def house_balance(self, asset: str) -> Balance:
        return self.house.balances.setdefault(asset, Balance(asset))

    def position(self, account: Account, instrument: Instrument) -> Position:
        """A flat position of `account`, which is not yet its own."""
        base = account.balance(instrument.base_asset) if instrument.base_asset else None
        enabled = checks(instrument, self.profile_of(account))
        return Position(instrument, account.balance(instrument.quote_asset), base, enabled)

    def refresh_position(self, account: Account, instrument: Instrument) -> None:
        position = account.positions.get(instrument.instrument_id)
        if position is not None:
            fresh = self.position(account, instrument)
            position.quote, position.base = fresh.quote, fresh.base
            position.settles_in_cash, position.checks = fresh.settles_in_cash, fresh.checks
            account.adopt(position)

    # Fees, limits, roles

    def put_fee_schedule(self, command: PutFeeSchedule) -> int:
        schedule = command.schedule
        require(bool(schedule.name), "A fee schedule needs a name")
        require(max(abs(schedule.maker), abs(schedule.taker)) <= INT64_MAX, "Fees are out of range")
        for instrument in self.instruments.values():
            require_exact_fees(schedule, instrument)
        if self.fee_schedules.get(schedule.name) != schedule:
            self.fee_schedules[schedule.name] = schedule
            self.refresh_accounts()
        return HOUSE

    def put_risk_profile(self, command: PutRiskProfile) -> int:
        profile = command.profile
        require(bool(profile.name), "A risk profile needs a name")
        for rate in (profile.order_rate, profile.cancel_rate, profile.query_rate):
            if rate is not None:
                require(1 <= rate.limit <= LIMIT_MAX, f"A rate's limit is 1 to {LIMIT_MAX}")
                require(1 <= rate.window_s <= WINDOW_MAX_S, f"A rate's window is 1 to {WINDOW_MAX_S} seconds")
        if self.risk_profiles.get(profile.name) != profile:
            self.risk_profiles[profile.name] = profile
            self.refresh_accounts()
        return HOUSE

    def put_role(self, command: PutRole) -> int:
        role = command.role
        require(bool(role.name), "A role needs a name")
        require(role.fee_schedule in self.fee_schedules, f"Unknown fee schedule: {role.fee_schedule}")
        require(role.risk_profile in self.risk_profiles, f"Unknown risk profile: {role.risk_profile}")
        require_opening(role.opening_balances)
        if self.roles.get(role.name) != role:
            self.roles[role.name] = role
            self.refresh_accounts()
        return HOUSE

    def profile_of(self, account: Account) -> RiskProfile:
        return self.risk_profiles[account.risk_profile or self.roles[account.role].risk_profile]

    def refresh_accounts(self) -> None:
        for account in self.accounts.values():
            if account is not self.house:
                self.refresh(account)

    def refresh(self, account: Account) -> None:
        """Work out anew what an account's fees and checks are; open orders keep the fees they were entered under."""
        account.rates = rates_of(self.fee_schedules[self.roles[account.role].fee_schedule])
        profile = self.profile_of(account)
        for name, position in account.positions.items():
            position.checks = checks(self.instruments[name], profile)

    # The venue and its accounts

    def put_venue(self, command: PutVenue) -> int:
        require(command.registration in REGISTRATIONS, f"registration is one of {', '.join(REGISTRATIONS)}")
        require(command.kept_closed_orders >= 0, "kept_closed_orders is not below zero")
        self.venue = command
        for account in self.accounts.values():
            account.forget(command.kept_closed_orders)
        return HOUSE

    def put_account(self, command: PutAccount) -> int:
        role, key_hash = self.known_role(command.role), command.key_hash
        require(bool(command.name), "An account needs a name")
        profile = command.risk_profile
        require(not profile or profile in self.risk_profiles, f"Unknown risk profile: {profile}")
        number = self.named_accounts.get(command.name)
        if key_hash:
            self.require_free_key(key_hash, number)
        if number is None:
            opening = role.opening_balances if command.opening_balances is None else command.opening_balances
            require_opening(opening)
            account = self.make_account(command.name, role, opening)
            self.named_accounts[command.name] = account.account_id
        else:
            account = self.accounts[number]
        account.role, account.risk_profile = command.role, profile
        if key_hash and key_hash != account.key_hash:
            self.give_key(account, key_hash)
        self.refresh(account)
        return account.account_id

    def register(self, command: Register) -> int:
        registration = self.venue.registration
        if registration == "closed":
            raise Refused("Registration is closed", RejectReason.PERMISSION_DENIED)
        if registration == "invite" and self.invites.get(command.invite_hash) not in ("", command.role):
            raise Refused("Registration needs an invite that is good for this role", RejectReason.PERMISSION_DENIED)
        role = self.known_role(command.role)
        if not role.open_to_registration:
            raise Refused(f"Role {role.name} is not open to registration", RejectReason.PERMISSION_DENIED)
        self.require_free_key(command.key_hash, None)
        if registration == "invite":
            del self.invites[command.invite_hash]
        account = self.make_account(command.name, role, role.opening_balances)
        self.give_key(account, command.key_hash)
        return account.account_id

    def create_invite(self, command: CreateInvite) -> int:
        require(len(command.invite_hash) == HASH_LENGTH, "The invite's hash is not a SHA-256")
        if command.role:
            self.known_role(command.role)
        self.invites[command.invite_hash] = command.role
        return HOUSE

    def rotate_key(self, command: RotateKey) -> int:
        account = self.known_account(command.account)
        self.require_free_key(command.key_hash, account.account_id)
        self.give_key(account, command.key_hash)
        return account.account_id

    def revoke_key(self, command: RevokeKey) -> int:
        account = self.known_account(command.account)
        self.account_by_key.pop(account.key_hash, None)
        account.key_hash = b""
        return account.account_id

    def known_account(self, number: int) -> Account:
        """An account that may have a key; the venue's own has none."""
        if number == HOUSE or number not in self.accounts:
            raise Refused(f"There is no account {number}", RejectReason.NOT_FOUND)
        return self.accounts[number]

    def known_role(self, name: str) -> Role:
        require(name in self.roles, f"Unknown role: {name}")
        return self.roles[name]

    def require_free_key(self, key_hash: bytes, owner: int | None) -> None:
        """Refused where this is no SHA-256, or the key of an account that is not `owner`."""
        require(len(key_hash) == HASH_LENGTH, "The key's hash is not a SHA-256")
        require(self.account_by_key.get(key_hash, owner) == owner, "The key is in use")

    def make_account(self, name: str, role: Role, opening: dict[str, int]) -> Account:
        account = Account(len(self.accounts), name, role.name, rates_of(self.fee_schedules[role.fee_schedule]))
        self.accounts[account.account_id] = account
        for asset, amount in sorted(opening.items()):
            transfer(self.house, account, asset, amount)
        return account

    def give_key(self, account: Account, key_hash: bytes) -> None:
        self.account_by_key.pop(account.key_hash, None)
        self.account_by_key[key_hash] = account.account_id
        account.key_hash = key_hash


def essentials(instrument: Instrument) -> tuple[int, int, str, str, bool]:
    """What an instrument keeps once it has traded or has open orders."""
    assets = instrument.quote_asset, instrument.base_asset
    return instrument.tick_size, instrument.lot_size, *assets, instrument.settles_in_cash


def require_sound(instrument: Instrument) -> None:
    tick, lot = instrument.tick_size, instrument.lot_size
    require(bool(instrument.instrument_id), "An instrument needs an id")
    require(0 < tick <= INT64_MAX and 0 < lot <= INT64_MAX, "Tick and lot must be above zero, and within int64")
    require(tick * lot % SCALE == 0, f"Tick x lot must be a multiple of 1e-9: {text(tick)} x {text(lot)}")
    require(bool(instrument.quote_asset), "An instrument needs a quote asset")
    require(instrument.base_asset != instrument.quote_asset, "Base and quote asset are the same")
    require(bool(instrument.base_asset) or not instrument.settles_in_cash, "What settles in cash needs a base asset")
    for name in ("position_limit", "least_notional"):
        limit = getattr(instrument, name)
        require(limit is None or 0 <= limit <= INT64_MAX, f"{name} must not be below zero, and within int64")


def require_exact_fees(schedule: FeeSchedule, instrument: Instrument) -> None:
    lot, name = instrument.lot_size, instrument.instrument_id
    exact = schedule.maker * lot % SCALE == 0 and schedule.taker * lot % SCALE == 0
    require(exact, f"Fees of {schedule.name} x the lot of {name} must be multiples of 1e-9")


def require_opening(balances: dict[str, int]) -> None:
    for asset, amount in balances.items():
        require(bool(asset) and 0 <= amount <= INT64_MAX, f"Opening balance of {asset} must not be below zero")
