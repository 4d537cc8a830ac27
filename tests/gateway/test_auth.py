from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.commands import PutAccount
from engine.exchange import Exchange
from gateway import auth
from gateway.auth import (
    Authenticator,
    ClientAddress,
    KeyFileInvalid,
    Keyring,
    block,
    key_hash,
    new_key,
)
from gateway.refusals import Refused
from gateway.venue import commands, load
from outcry import v1


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keys")


@pytest.fixture
def exchange(keyring: Keyring) -> Exchange:
    exchange = Exchange()
    for seq, command in enumerate(commands(load(None), exchange, keyring), 1):
        exchange.apply(seq, seq, command)
    return exchange


def refusal(call: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as refused:
        call()
    return refused.value


def test_keys_are_256_random_bits_and_only_their_hash_is_needed() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(key.removeprefix("outcry_")) for key in keys} == {43}
    assert key_hash("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_key_file_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "keys"
    key = Keyring(directory).key("operator")
    assert Keyring(directory).key("operator") == key
    assert Keyring(directory).key_hash("operator") == key_hash(key)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "operator.key").stat().st_mode) == 0o600
    assert [path.name for path in directory.iterdir()] == ["operator.key"]


def test_loose_permissions_are_tightened(keyring: Keyring) -> None:
    keyring.key("demo")
    (keyring.directory / "demo.key").chmod(0o644)
    keyring.directory.chmod(0o755)
    Keyring(keyring.directory).key("demo")
    assert stat.S_IMODE((keyring.directory / "demo.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(keyring.directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("text", ["", "\n", "short\n", "x" * 257])
def test_a_key_file_without_a_key_is_refused_and_what_is_in_it_not_told(keyring: Keyring, text: str) -> None:
    path = keyring.directory / "demo.key"
    path.write_text(text)
    with pytest.raises(KeyFileInvalid) as invalid:
        keyring.key("demo")
    assert str(path) in str(invalid.value)
    assert not text.strip() or text.strip() not in str(invalid.value)


def test_a_draft_that_a_kill_left_behind_is_no_obstacle(keyring: Keyring) -> None:
    (keyring.directory / "demo.new").write_text("half a k")
    assert keyring.key("demo").startswith("outcry_")


class Syncs:
    """Stands for os.fsync: notes which file or folder was synced, and what was in it then."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | list[str]]] = []

    def __call__(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").resolve()
        held = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else path.read_text()
        self.seen.append((path.name, held))


def test_a_key_is_on_the_disk_before_it_is_told_and_so_are_its_file_s_name_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth.os, "fsync", syncs := Syncs())
    key = Keyring(tmp_path / "data" / "keys").key("operator")
    assert syncs.seen == [("data", ["keys"]), ("operator.new", f"{key}\n"), ("keys", ["operator.key"])]


def test_a_replaced_key_is_on_the_disk_before_it_is_told(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring.key("operator")
    monkeypatch.setattr(auth.os, "fsync", syncs := Syncs())
    keyring.replace("operator", "k" * 43)
    assert syncs.seen == [("operator.new", "k" * 43 + "\n"), ("keys", ["operator.key"])]


def test_a_key_is_known_by_x_api_key_or_as_a_bearer(exchange: Exchange, keyring: Keyring) -> None:
    authenticator, key = Authenticator(exchange), keyring.key("demo")
    demo = exchange.named_accounts["demo"]
    for _ in range(2):
        assert authenticator.account(authenticator.hash_of([("user-agent", "x"), ("x-api-key", key)])) == demo
        assert authenticator.account(authenticator.hash_of([("authorization", f"Bearer {key}")])) == demo
        assert authenticator.account(authenticator.hash_of([("authorization", f"bearer {key}")])) == demo


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("x-api-key", "")],
        [("x-api-key", "short")],
        [("x-api-key", "outcry_" + "A" * 43)],
        [("x-api-key", "x" * 100_000)],
        [("x-api-key", "\udcff" * 50)],
        [("x-api-key", b"outcry_" + b"A" * 43)],
        [("authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.")],
        [("authorization", "Basic " + "A" * 50)],
        [("authorization", "Bearer ")],
    ],
)
def test_every_other_credential_is_refused_in_the_same_words(
    exchange: Exchange, metadata: list[tuple[str, str | bytes]]
) -> None:
    authenticator = Authenticator(exchange)
    refused = refusal(lambda: authenticator.account(authenticator.hash_of(metadata)))
    assert (refused.reason, refused.message, refused.details) == (v1.UNAUTHENTICATED, "A valid API key is needed", {})
    assert authenticator.known == {}


def test_a_key_that_is_replaced_stops_working_at_once(exchange: Exchange, keyring: Keyring) -> None:
    authenticator, old, new = Authenticator(exchange), keyring.key("demo"), new_key()
    account = authenticator.account(authenticator.hash_of([("x-api-key", old)]))
    exchange.apply(100, 100, PutAccount("demo", "trader", key_hash=key_hash(new)))
    assert (
        refusal(lambda: authenticator.account(authenticator.hash_of([("x-api-key", old)]))).reason == v1.UNAUTHENTICATED
    )
    assert authenticator.account(authenticator.hash_of([("x-api-key", new)])) == account


def test_the_keys_that_are_remembered_are_bounded(
    exchange: Exchange, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "KNOWN_KEYS", 2)
    authenticator = Authenticator(exchange)
    for name, number in exchange.named_accounts.items():
        assert authenticator.account(authenticator.hash_of([("x-api-key", keyring.key(name))])) == number
        assert len(authenticator.known) <= 2


def test_the_role_makes_the_operator(exchange: Exchange) -> None:
    authenticator = Authenticator(exchange)
    operators = {name for name, number in exchange.named_accounts.items() if authenticator.is_operator(number)}
    assert operators == {"operator"}


SERVICE_KEY = new_key()
ADDRESS = ClientAddress(key_hash(SERVICE_KEY))


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:51234", "192.0.2.7"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:443", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2::9%5D:443", "2001:db8:1:2::/64"),
        ("ipv6:[::ffff:192.0.2.7]:443", "192.0.2.7"),
        ("ipv6:%5Bfe80::1%25eth0%5D:443", "fe80::/64"),
        ("unix:/tmp/socket", "local"),
        ("", "local"),
    ],
)
def test_a_call_comes_from_its_peer_and_an_ipv6_client_has_a_whole_64(peer: str, address: str) -> None:
    assert ADDRESS.of(peer, []) == address


@pytest.mark.parametrize(
    ("metadata", "address"),
    [
        ([("x-service-key", SERVICE_KEY), ("x-forwarded-for", "198.51.100.1")], "198.51.100.1"),
        ([("x-service-key", SERVICE_KEY), ("x-forwarded-for", "10.0.0.1, 2001:db8::1")], "2001:db8::/64"),
        ([("x-service-key", SERVICE_KEY), ("x-forwarded-for", "nonsense")], "192.0.2.7"),
        ([("x-service-key", SERVICE_KEY)], "192.0.2.7"),
        ([("x-service-key", new_key()), ("x-forwarded-for", "198.51.100.1")], "192.0.2.7"),
        ([("x-forwarded-for", "198.51.100.1")], "192.0.2.7"),
    ],
)
def test_a_forwarded_address_counts_only_beside_the_service_key(metadata: list[tuple[str, str]], address: str) -> None:
    assert ADDRESS.of("ipv4:192.0.2.7:51234", metadata) == address


@pytest.mark.parametrize("host", ["", "localhost", "1.2.3", "1.2.3.4.5", "1.2.3.4:80", "[::1]", "a" * 1000])
def test_what_is_no_address_is_none(host: str) -> None:
    assert block(host) == ""
