"""Who is calling: API keys, the files some of them lie in, and the addresses that calls come from.

A key is 256 random bits. Only its SHA-256 is kept, in the journal and in the state, so whoever reads the disk cannot
trade; nothing slower is needed, because random bits cannot be guessed. Keys are never logged, and every refusal says
the same. The keys that the venue itself hands out (the operator's, the bridge's, the demo's) lie in files that only
their owner can read.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from urllib.parse import unquote

from engine.exchange import Exchange
from gateway.refusals import Refused
from outcry import v1

Metadata = Iterable[tuple[str, str | bytes]]

OPERATOR_ROLE = "operator"
KEY_PREFIX = "outcry_"
KEY_LENGTHS = range(32, 257)  # of what is taken for a key at all
KNOWN_KEYS = 10_000  # remembered with their hashes


def new_key() -> str:
    """A fresh key, or invite: 256 random bits, with a prefix by which leaked ones can be found."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def key_hash(key: str) -> bytes:
    """The SHA-256 of a key: all that is kept of it."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class KeyFileInvalid(Exception):
    """A key file holds no key."""


class Keyring:
    """The key files of one data folder, `DATA/keys/NAME.key`: made when missing, readable by their owner alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        sync_folder(directory.parent)

    def key(self, name: str) -> str:
        """The key in the file of that name. KeyFileInvalid, OSError."""
        path = self.directory / f"{name}.key"
        if not path.exists():
            write_private(path, new_key() + "\n")
        path.chmod(0o600)
        key = path.read_bytes().strip()
        if len(key) not in KEY_LENGTHS or not key.isascii() or not key.decode("ascii").isprintable():
            bounds = f"{KEY_LENGTHS.start} to {KEY_LENGTHS.stop - 1}"
            raise KeyFileInvalid(f"{path} must hold a key of {bounds} printable ASCII characters")
        return key.decode("ascii")

    def replace(self, name: str, key: str) -> None:
        """Put another key into the file of that name. OSError."""
        write_private(self.directory / f"{name}.key", key + "\n")

    def key_hash(self, name: str) -> bytes:
        return key_hash(self.key(name))


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else can ever have read, and that is there whole or not at all."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder survive a loss of power. OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Authenticator:
    """API key to account, by what the exchange knows now."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        # From a key's text to its hash, never to the account: a key that is replaced stops working at once.
        self.known: dict[str, bytes] = {}

    def hash_of(self, metadata: Metadata) -> bytes:
        """The hash of the key in `x-api-key`, or in `authorization: Bearer KEY`. Refused: UNAUTHENTICATED."""
        key = presented_key(metadata)
        return self.known.get(key) or self.remember(key)

    def account(self, hashed: bytes) -> int:
        """The account whose key has this hash. Refused: UNAUTHENTICATED."""
        account = self.exchange.account_by_key.get(hashed)
        if account is None:
            raise unauthenticated()
        return account

    def remember(self, key: str) -> bytes:
        hashed = key_hash(key)
        if hashed in self.exchange.account_by_key:
            if len(self.known) >= KNOWN_KEYS:
                self.known.clear()
            self.known[key] = hashed
        return hashed

    def is_operator(self, account: int) -> bool:
        return self.exchange.accounts[account].role == OPERATOR_ROLE


def presented_key(metadata: Metadata) -> str:
    """The key that a caller shows; x-api-key goes before authorization. Refused where there is none."""
    bearer = ""
    for name, value in metadata:
        if name == "x-api-key" and isinstance(value, str) and len(value) in KEY_LENGTHS:
            return value
        if name == "authorization" and isinstance(value, str) and value[:7].lower() == "bearer ":
            bearer = value[7:].strip()
    if len(bearer) in KEY_LENGTHS:
        return bearer
    raise unauthenticated()


def unauthenticated() -> Refused:
    return Refused(v1.UNAUTHENTICATED, "A valid API key is needed")


class ClientAddress:
    """From where a call comes: the peer's address, or the one that a bridge forwards, if it shows the service key."""

    def __init__(self, service_key_hash: bytes) -> None:
        self.service_key_hash = service_key_hash

    def of(self, peer: str, metadata: Metadata) -> str:
        """The address behind a call, as `block` writes it. `peer` is what gRPC says of the connection."""
        if self.is_bridge(metadata):
            # The last address is the one that the bridge itself saw; the ones before are its client's claims.
            forwarded = block(shown(metadata, "x-forwarded-for").rpartition(",")[2].strip())
            if forwarded:
                return forwarded
        host = peer.partition(":")[2] if peer.startswith(("ipv4:", "ipv6:")) else ""
        return block(unquote(host).rpartition(":")[0].strip("[]")) or "local"

    def is_bridge(self, metadata: Metadata) -> bool:
        """Whether a caller shows the service key."""
        return hmac.compare_digest(key_hash(shown(metadata, "x-service-key")), self.service_key_hash)


def shown(metadata: Metadata, wanted: str) -> str:
    """What the metadata says last under a name, or ""."""
    said = [value for name, value in metadata if name == wanted and isinstance(value, str)]
    return said[-1] if said else ""


def block(host: str) -> str:
    """The addresses that one client has: an IPv4 address, or the /64 of an IPv6 address. "" where it is neither."""
    try:
        address: IPv4Address | IPv6Address = ip_address(host)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((int(address), 64), strict=False))
