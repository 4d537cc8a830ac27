"""Keys and certificates, as PEM, made ready for TLS that speaks HTTP/2 and nothing else."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from tempfile import NamedTemporaryFile

__all__ = [
    "ALPN",
    "ChannelCredentials",
    "PemInvalid",
    "ServerCredentials",
    "ssl_channel_credentials",
    "ssl_server_credentials",
]

ALPN = "h2"


class PemInvalid(ValueError):
    """A key or certificates that cannot be used; the message says why."""


class ChannelCredentials:
    """What a channel proves itself with, and whom it believes."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context


class ServerCredentials:
    """What a server proves itself with, and whose callers it takes."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context


def ssl_channel_credentials(
    root_certificates: bytes | None = None,
    private_key: bytes | None = None,
    certificate_chain: bytes | None = None,
) -> ChannelCredentials:
    """Believe `root_certificates`, or the system's where that is None. The key and its chain are for mutual TLS.

    PemInvalid where one of them cannot be used.
    """
    if (private_key is None) != (certificate_chain is None):
        raise ValueError("A private key and its certificate chain come together")
    context = ssl.create_default_context(cadata=None if root_certificates is None else roots(root_certificates))
    context.set_alpn_protocols([ALPN])
    if private_key is not None and certificate_chain is not None:
        load_pair(context, private_key, certificate_chain)
    return ChannelCredentials(context)


def ssl_server_credentials(
    private_key_certificate_chain_pairs: Sequence[tuple[bytes, bytes]],
    root_certificates: bytes | None = None,
    require_client_auth: bool = False,
) -> ServerCredentials:
    """Serve with these pairs, one for each kind of key; `require_client_auth` takes only callers the roots know.

    PemInvalid where one of them cannot be used.
    """
    if not private_key_certificate_chain_pairs:
        raise ValueError("At least one private key with its certificate chain is required")
    if require_client_auth and root_certificates is None:
        raise ValueError("Root certificates are required where clients must show one")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    for private_key, certificate_chain in private_key_certificate_chain_pairs:
        load_pair(context, private_key, certificate_chain)
    if root_certificates is not None:
        context.load_verify_locations(cadata=roots(root_certificates))
    if require_client_auth:
        context.verify_mode = ssl.CERT_REQUIRED
    return ServerCredentials(context)


def load_pair(context: ssl.SSLContext, private_key: bytes, certificate_chain: bytes) -> None:
    """Let the context have a key and its chain: it takes them from a file only, which no one else can read."""
    with NamedTemporaryFile(prefix="key-") as file:
        file.write(private_key.rstrip() + b"\n" + certificate_chain)
        file.flush()
        try:
            context.load_cert_chain(file.name, password=no_password)
        except ssl.SSLError as problem:
            reason = "a certificate chain and its private key are wanted, as PEM"
            raise PemInvalid(problem.reason.lower().replace("_", " ") if problem.reason else reason) from None


def no_password() -> str:
    """OpenSSL would ask at the terminal, where mostly nobody is."""
    raise PemInvalid("the private key is encrypted")


def roots(certificates: bytes) -> str:
    """Certificates that a context can believe. What is written between them may be in any language."""
    text = certificates.decode("ascii", "ignore")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise PemInvalid("certificates are wanted, as PEM") from None
    return text
