from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from engine.commands import Command, NewOrder, PutAccount, PutFeeSchedule, PutInstrument, PutRole, PutVenue, Register
from engine.events import AdminOutcome
from engine.exchange import Exchange
from engine.instrument import FeeSchedule, Instrument
from engine.reject import RejectReason
from gateway.auth import Keyring, key_hash
from gateway.venue import VenueInvalid, commands, load
from outcry.v1.fixed import INT64_MAX, to_fixed

ROLES = {"market_maker", "hedge_fund", "arbitrage", "retail", "trader"}
OPTIONS = {"SPX_4500_CALL", "SPX_4500_PUT", "SPX_CALL_4500_20240315", "SPX_PUT_4500_20240315"}


def units(number: str) -> int:
    return to_fixed(Decimal(number))


def apply(exchange: Exchange, wanted: list[Command], seq: int = 0) -> None:
    for number, command in enumerate(wanted, seq + 1):
        outcome = exchange.apply(number, number, command)[-1]
        assert isinstance(outcome, AdminOutcome)
        assert outcome.refusal is None, outcome


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keys")


@pytest.fixture
def exchange(keyring: Keyring) -> Exchange:
    """An exchange with the built-in venue."""
    exchange = Exchange()
    apply(exchange, commands(load(None), exchange, keyring))
    return exchange


def test_the_built_in_venue_is_the_one_that_the_contract_describes(exchange: Exchange) -> None:
    for option in OPTIONS:
        assert exchange.instruments[option] == Instrument(
            option, units("0.01"), units("1"), "USD", "", False, units("50"), None
        )
    assert exchange.instruments["AAPL"] == Instrument("AAPL", units("0.01"), units("1"), "USD", "AAPL", True)
    assert exchange.instruments["BTC/USDT"] == Instrument(
        "BTC/USDT", units("0.01"), units("0.00001"), "USDT", "BTC", True, None, units("10")
    )
    assert set(exchange.instruments) == OPTIONS | {"AAPL", "BTC/USDT"}
    assert exchange.fee_schedules == {"standard": FeeSchedule("standard", units("-0.02"), units("0.03"))}
    opening = {"USD": units("1000000"), "USDT": units("1000000"), "AAPL": units("1000"), "BTC": units("10")}
    open_roles = {name: role.opening_balances for name, role in exchange.roles.items() if role.open_to_registration}
    assert open_roles == dict.fromkeys(ROLES, opening)
    assert exchange.venue == PutVenue("open", 100_000)


def test_the_venue_s_own_accounts_have_the_keys_in_the_files(exchange: Exchange, keyring: Keyring) -> None:
    roles = {
        "operator": "operator",
        "demo": "trader",
        "demo-maker": "market_maker",
        "demo-momentum": "trader",
        "demo-noise": "trader",
    }
    assert {name: exchange.accounts[number].role for name, number in exchange.named_accounts.items()} == roles
    for name in roles:
        key = (keyring.directory / f"{name}.key").read_text().strip()
        assert exchange.account_by_key[key_hash(key)] == exchange.named_accounts[name]


def test_only_the_demo_s_bots_have_no_position_limit(exchange: Exchange) -> None:
    def refusal(name: str) -> RejectReason | None:
        order = NewOrder(exchange.named_accounts[name], "", "SPX_4500_CALL", 1, 1, 1, units("51"), units("1"))
        refused = exchange.validate(1, order).refusal
        return refused.reason if refused else None

    assert refusal("demo") is RejectReason.POSITION_LIMIT_EXCEEDED
    assert {refusal(f"demo-{bot}") for bot in ("maker", "momentum", "noise")} == {None}


def test_nobody_can_register_as_operator(exchange: Exchange) -> None:
    outcome = exchange.apply(100, 100, Register("me", "operator", b"k" * 32))[-1]
    assert isinstance(outcome, AdminOutcome)
    assert outcome.refusal is not None
    assert outcome.refusal.reason is RejectReason.PERMISSION_DENIED


def test_all_that_the_bots_have_fits_into_one_account(exchange: Exchange) -> None:
    totals: dict[str, int] = defaultdict(int)
    for bot in ("demo-maker", "demo-momentum", "demo-noise"):
        for balance in exchange.balances(exchange.named_accounts[bot]):
            totals[balance.asset] += balance.total
    assert set(totals) == {"USD", "USDT", "AAPL", "BTC"}
    assert max(totals.values()) <= INT64_MAX


def test_a_second_start_has_nothing_to_say(exchange: Exchange, keyring: Keyring) -> None:
    assert commands(load(None), exchange, keyring) == []


def test_what_differs_from_the_file_is_put_back_and_what_it_does_not_name_stays(
    exchange: Exchange, keyring: Keyring
) -> None:
    changed = Instrument("SPX_4500_CALL", units("0.01"), units("1"), "USD", "", False, units("60"))
    other = Instrument("GOOG", units("0.01"), units("1"), "USD")
    apply(exchange, [PutInstrument(changed), PutInstrument(other), PutVenue("closed")], 100)
    wanted = commands(load(None), exchange, keyring)
    assert [type(command) for command in wanted] == [PutVenue, PutInstrument]
    apply(exchange, wanted, 200)
    assert exchange.instruments["SPX_4500_CALL"].position_limit == units("50")
    assert exchange.instruments["GOOG"] == other


def test_a_key_file_that_is_replaced_replaces_the_account_s_key(exchange: Exchange, keyring: Keyring) -> None:
    before = keyring.key_hash("demo")
    (keyring.directory / "demo.key").unlink()
    wanted = commands(load(None), exchange, keyring)
    assert [command.name for command in wanted if isinstance(command, PutAccount)] == ["demo"]
    apply(exchange, wanted, 100)
    assert before not in exchange.account_by_key
    assert exchange.account_by_key[keyring.key_hash("demo")] == exchange.named_accounts["demo"]
    assert commands(load(None), exchange, keyring) == []


def test_a_file_of_one_s_own_makes_a_venue(tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "venue.toml"
    path.write_text("""
        kept_closed_orders = 5
        registration.mode = "invite"
        fee_schedules.free = { maker = 0, taker = 0.000000001 }
        risk_profiles.none = {}
        roles.dealer = { fee_schedule = "free", risk_profile = "none" }
        instruments.GOOG = { tick_size = 0.01, lot_size = 1, quote_asset = "USD" }
        accounts.me = { role = "dealer", key = "me", opening_balances = { USD = 12.5 } }
    """)
    exchange = Exchange()
    wanted = commands(load(path), exchange, keyring)
    assert [command for command in wanted if isinstance(command, PutVenue | PutFeeSchedule)] == [
        PutVenue("invite", 5),
        PutFeeSchedule(FeeSchedule("free", 0, 1)),
    ]
    assert wanted[-1] == PutAccount("me", "dealer", "", keyring.key_hash("me"), {"USD": units("12.5")})
    assert sum(isinstance(command, PutRole) for command in wanted) == 1
    apply(exchange, wanted)
    assert commands(load(path), exchange, keyring) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kept_orders = 5", "unknown field `kept_orders`"),
        ("[instruments.A]\ntik_size = 1", "unknown field `tik_size`"),
        ("[instruments.A]\ntick_size = 0.01", "missing required field `lot_size`"),
        ("[instruments.A]\ntick_size = 0.0000000001", "finer than 0.000000001 - at `$.instruments[...].tick_size`"),
        ("[instruments.A]\ntick_size = nan", "NaN is out of range"),
        ("[instruments.A]\ntick_size = 1e10", "out of range"),
        ("[instruments.A]\ntick_size = '0.01'", "a number is expected, not '0.01'"),
        ("[instruments.A]\ntick_size = true", "a number is expected, not True"),
        ("[registration]\nmode = 'ajar'", "Invalid enum value 'ajar'"),
        ("kept_closed_orders = -1", "Expected `int` >= 0"),
        ("kept_closed_orders = 1.5", "Expected `int`, got `decimal`"),
        ("[accounts.me]\nrole = 'trader'\nkey = '../me'", "matching regex"),
        ("[roles", "Expected ']'"),
        ("[roles.a]\n[roles.a]", "Cannot declare"),
    ],
)
def test_what_is_no_venue_is_refused_naming_the_file_and_the_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "venue.toml"
    path.write_text(text)
    with pytest.raises(VenueInvalid) as refusal:
        load(path)
    assert str(refusal.value).startswith(f"--venue {path}: ")
    assert words in str(refusal.value)


def test_a_file_that_cannot_be_read_is_refused_naming_it(tmp_path: Path) -> None:
    with pytest.raises(VenueInvalid, match=f"--venue {tmp_path}/none.toml: No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    with pytest.raises(VenueInvalid, match=r"latin\.toml"):
        load(tmp_path / "latin.toml")
