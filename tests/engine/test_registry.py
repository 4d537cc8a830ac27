"""Configuration and accounts: what is put in place, what is refused, and that repeating a command changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from engine.commands import (
    Command,
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
from engine.fixed import INT64_MAX
from engine.instrument import FeeSchedule, RiskProfile, Role
from tests.engine.desk import AAPL, ANN, BOB, CENT, FEES, ONE, OPENING, SPX, Desk, key, reason


@pytest.fixture
def desk() -> Desk:
    return Desk()


ROLE = Role("trader", "standard", "limited", OPENING)


@pytest.mark.parametrize(
    "command",
    [
        PutInstrument(SPX),
        PutInstrument(replace(SPX, instrument_id="NEW")),
        PutFeeSchedule(FEES),
        PutRiskProfile(RiskProfile("new")),
        PutRole(ROLE),
        PutVenue("invite", 7),
        PutAccount("maker", "trader", "unlimited", key(9), {"USD": 5}),
        CreateInvite(key(7), "trader"),
        RotateKey(ANN, key(9)),
        RevokeKey(ANN),
    ],
    ids=lambda command: type(command).__name__,
)
def test_every_put_is_idempotent(desk: Desk, command: Command) -> None:
    first = desk.admin(command)
    assert first.refusal is None
    before = desk.exchange.digest()
    again = desk.admin(command)
    assert (again.refusal, again.account) == (None, first.account)
    assert desk.exchange.digest() == before


@pytest.mark.parametrize(
    "change",
    [
        {"instrument_id": ""},
        {"tick_size": 0},
        {"lot_size": -1},
        {"tick_size": 1, "lot_size": ONE // 2},
        {"tick_size": INT64_MAX + 1},
        {"quote_asset": ""},
        {"base_asset": "USD"},
        {"settles_in_cash": True},
        {"position_limit": -1},
        {"least_notional": -1},
        {"lot_size": 1, "tick_size": ONE},  # the standard fees x 1e-9 are finer than 1e-9
    ],
    ids=str,
)
def test_an_unsound_instrument_is_refused(desk: Desk, change: dict[str, Any]) -> None:
    assert desk.refused(PutInstrument(replace(SPX, **change))) == "INVALID_REQUEST"


CHANGES: list[dict[str, Any]] = [
    {"tick_size": 2 * CENT},
    {"lot_size": 2 * ONE},
    {"quote_asset": "EUR"},
    {"base_asset": "SPX"},
    {"settles_in_cash": True, "base_asset": "SPX"},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_an_instrument_with_open_orders_keeps_tick_lot_assets_and_settlement(
    desk: Desk, change: dict[str, Any]
) -> None:
    desk.buy(ANN, 1, 100)
    assert desk.refused(PutInstrument(replace(SPX, **change))) == "INVALID_REQUEST"
    desk.cancel(ANN, 1)
    assert desk.admin(PutInstrument(replace(SPX, **change))).refusal is None


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_an_instrument_that_has_traded_keeps_them_too(desk: Desk, change: dict[str, Any]) -> None:
    desk.buy(ANN, 1, 100)
    desk.sell(BOB, 1, 100)
    assert desk.refused(PutInstrument(replace(SPX, **change))) == "INVALID_REQUEST"


def test_an_instrument_s_limits_may_change_at_any_time_and_hold_from_then_on(desk: Desk) -> None:
    desk.buy(ANN, 20, 100)
    desk.do(PutInstrument(replace(SPX, position_limit=25 * ONE)))
    assert desk.exchange.instruments["SPX"].position_limit == 25 * ONE
    assert reason(desk.buy(ANN, 6, 100)) == "POSITION_LIMIT_EXCEEDED"
    desk.do(PutInstrument(replace(SPX, position_limit=None)))
    assert desk.buy(ANN, 600, 10).refusal is None
    desk.cancel_all(ANN)
    assert desk.bids() == []


def test_a_change_of_assets_moves_the_accounts_that_were_there_before(desk: Desk) -> None:
    desk.buy(ANN, 1, 100)
    desk.cancel(ANN, 1)
    desk.do(PutInstrument(replace(SPX, quote_asset="EUR")))
    desk.sell(BOB, 1, 100)
    desk.buy(ANN, 1, 100)
    assert desk.cash(ANN, "EUR")[0] == -100 * ONE - 3 * CENT
    assert desk.cash(0, "EUR")[0] == CENT


@pytest.mark.parametrize(
    "command",
    [
        PutFeeSchedule(FeeSchedule("", 0, 0)),
        PutFeeSchedule(FeeSchedule("huge", 0, INT64_MAX + 1)),
        PutRiskProfile(RiskProfile("")),
        PutRole(replace(ROLE, name="")),
        PutRole(replace(ROLE, fee_schedule="none")),
        PutRole(replace(ROLE, risk_profile="none")),
        PutRole(replace(ROLE, opening_balances={"USD": -1})),
        PutRole(replace(ROLE, opening_balances={"USD": INT64_MAX + 1})),
        PutVenue("ajar"),
        PutVenue("open", -1),
        PutAccount("", "trader"),
        PutAccount("maker", "none"),
        PutAccount("maker", "trader", "none"),
        PutAccount("maker", "trader", "", b"short"),
        PutAccount("maker", "trader", "", key(ANN)),
        PutAccount("maker", "trader", "", key(9), {"USD": -1}),
        Register("team", "none", key(9)),
        Register("team", "trader", key(ANN)),
        Register("team", "trader", b""),
        CreateInvite(b"short"),
        CreateInvite(key(7), "none"),
        RotateKey(ANN, b"short"),
        RotateKey(ANN, b""),
        RotateKey(ANN, key(BOB)),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_and_changes_nothing(desk: Desk, command: Command) -> None:
    assert desk.refused(command) == "INVALID_REQUEST"


def test_fees_finer_than_a_lot_can_pay_exactly_are_refused(desk: Desk) -> None:
    desk.do(PutInstrument(replace(AAPL, instrument_id="BTC", lot_size=ONE // 10, tick_size=CENT)))
    assert desk.refused(PutFeeSchedule(FeeSchedule("fine", 0, 1))) == "INVALID_REQUEST"
    assert desk.admin(PutFeeSchedule(FeeSchedule("coarse", 0, 10))).refusal is None


def test_accounts_are_numbered_from_1_and_open_with_what_is_debited_to_the_venue(desk: Desk) -> None:
    assert desk.admin(Register("another", "trader", key(9))).account == 4
    assert desk.cash(4) == (10_000 * ONE, 0)
    assert desk.cash(0) == (-40_000 * ONE, 0)
    assert desk.exchange.account_by_key[key(9)] == 4
    assert (desk.exchange.accounts[4].id, desk.exchange.accounts[4].name) == (4, "another")


def test_names_need_not_be_unique_but_an_operator_s_name_is_one_account(desk: Desk) -> None:
    assert desk.admin(Register("maker", "trader", key(7))).account == 4
    assert desk.admin(Register("maker", "trader", key(8))).account == 5
    assert desk.admin(PutAccount("maker", "trader", "", key(9))).account == 6
    assert desk.admin(PutAccount("maker", "trader", "unlimited")).account == 6
    assert desk.exchange.named_accounts == {"maker": 6}
    account = desk.exchange.accounts[6]
    assert (account.role, account.risk_profile, account.key_hash) == ("trader", "unlimited", key(9))


def test_a_new_key_ends_the_old_one(desk: Desk) -> None:
    desk.do(PutAccount("maker", "trader", "", key(8)))
    desk.do(PutAccount("maker", "trader", "", key(9)))
    assert key(8) not in desk.exchange.account_by_key
    assert desk.exchange.account_by_key[key(9)] == 4


def test_a_rotated_key_ends_and_another_account_may_not_have_the_new_one(desk: Desk) -> None:
    assert desk.admin(RotateKey(ANN, key(9))).account == ANN
    assert key(ANN) not in desk.exchange.account_by_key
    assert desk.exchange.account_by_key[key(9)] == ANN
    assert desk.refused(Register("team", "trader", key(9))) == "INVALID_REQUEST"


def test_a_revoked_key_is_nobody_s_and_its_account_has_none_until_it_is_given_another(desk: Desk) -> None:
    desk.do(RevokeKey(ANN))
    assert ANN not in desk.exchange.account_by_key.values()
    assert desk.admin(RotateKey(ANN, key(9))).account == ANN
    assert desk.exchange.account_by_key[key(9)] == ANN


@pytest.mark.parametrize("command", [RotateKey(0, key(9)), RotateKey(9, key(9)), RevokeKey(0), RevokeKey(9)], ids=str)
def test_the_venue_s_own_account_and_those_that_never_were_have_no_keys(desk: Desk, command: Command) -> None:
    assert desk.refused(command) == "NOT_FOUND"


def test_opening_balances_given_stand_in_for_the_role_s_when_the_account_is_made(desk: Desk) -> None:
    desk.do(PutAccount("rich", "trader", "", key(9), {"EUR": 5 * ONE}))
    desk.do(PutAccount("rich", "trader", "", key(9), {"EUR": 7 * ONE}))
    assert desk.cash(4, "EUR") == (5 * ONE, 0)
    assert desk.cash(4, "USD") == (0, 0)


def test_an_account_follows_its_role_s_fees_and_limits(desk: Desk) -> None:
    desk.do(PutFeeSchedule(FeeSchedule("dear", ONE, ONE)))
    desk.do(PutRole(replace(ROLE, fee_schedule="dear", risk_profile="unlimited")))
    desk.sell(BOB, 60, 100)
    assert desk.buy(ANN, 60, 100).fees == 60 * ONE


def test_a_profile_s_change_holds_for_the_accounts_that_have_it(desk: Desk) -> None:
    desk.buy(ANN, 50, 100)
    desk.do(PutRiskProfile(RiskProfile("limited", no_position_limit=True)))
    assert desk.buy(ANN, 50, 100).refusal is None


# Registration


def register(desk: Desk, invite: bytes = b"", role: str = "trader") -> str | None:
    refusal = desk.admin(Register("team", role, key(100 + desk.seq), invite)).refusal
    return None if refusal is None else refusal.reason.name


def test_registration_may_be_closed(desk: Desk) -> None:
    assert register(desk) is None
    desk.do(PutVenue("closed"))
    assert register(desk) == "PERMISSION_DENIED"


def test_a_role_that_is_not_open_is_an_operator_s_to_give(desk: Desk) -> None:
    desk.do(PutRole(replace(ROLE, name="operator", open_to_registration=False)))
    assert register(desk, role="operator") == "PERMISSION_DENIED"
    assert desk.admin(PutAccount("root", "operator", "", key(9))).refusal is None


def test_an_invite_is_good_for_one_registration_with_its_role(desk: Desk) -> None:
    desk.do(PutRole(replace(ROLE, name="maker")))
    desk.do(PutVenue("invite"))
    desk.do(CreateInvite(key(50)))
    desk.do(CreateInvite(key(51), "maker"))
    assert register(desk) == "PERMISSION_DENIED"
    assert register(desk, key(52)) == "PERMISSION_DENIED"
    assert register(desk, key(51)) == "PERMISSION_DENIED"
    assert register(desk, key(51), "maker") is None
    assert register(desk, key(51), "maker") == "PERMISSION_DENIED"
    assert register(desk, key(50), "none") == "INVALID_REQUEST"
    assert register(desk, key(50)) is None
    assert register(desk, key(50)) == "PERMISSION_DENIED"
