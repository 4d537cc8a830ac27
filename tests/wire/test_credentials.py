"""Keys and certificates that cannot be used are refused as one kind of error, before anybody connects."""

from __future__ import annotations

import ssl

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

import wire
from wire.credentials import PemInvalid

Pair = tuple[bytes, bytes]


@pytest.fixture(scope="module")
def pair() -> Pair:
    issued = trustme.CA().issue_cert("localhost")
    return issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()


def der(certificate: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.decode())


def test_roots_that_are_not_pem_are_refused_by_either_end(pair: Pair) -> None:
    key, certificate = pair
    for unusable in (b"", b"nonsense", key, certificate[:200], der(certificate)):
        with pytest.raises(PemInvalid):
            wire.ssl_server_credentials([pair], unusable, True)
        with pytest.raises(PemInvalid):
            wire.ssl_channel_credentials(unusable)


def test_a_pair_that_is_not_pem_is_refused_by_either_end(pair: Pair) -> None:
    key, certificate = pair
    for unusable in ((key, b""), (b"", certificate), (key, der(certificate)), (b"nonsense", certificate)):
        with pytest.raises(PemInvalid, match="as PEM"):
            wire.ssl_server_credentials([unusable])
        with pytest.raises(PemInvalid, match="as PEM"):
            wire.ssl_channel_credentials(certificate, *unusable)


def test_another_certificate_s_key_is_refused(pair: Pair) -> None:
    other = trustme.CA().issue_cert("localhost").private_key_pem.bytes()
    with pytest.raises(PemInvalid, match="key values mismatch"):
        wire.ssl_server_credentials([(other, pair[1])])


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(pair: Pair) -> None:
    how = serialization.BestAvailableEncryption(b"secret")
    key = serialization.load_pem_private_key(pair[0], None)
    encrypted = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    with pytest.raises(PemInvalid, match="encrypted"):
        wire.ssl_server_credentials([(encrypted, pair[1])])


def test_roots_may_have_words_in_any_language_between_them(pair: Pair) -> None:
    commented = "# Főtanúsítvány\n".encode() + pair[1]
    for credentials in (wire.ssl_channel_credentials(commented), wire.ssl_server_credentials([pair], commented, True)):
        assert credentials.context.cert_store_stats()["x509"] == 1
