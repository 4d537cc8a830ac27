"""Who is at the other end of a connection, in grpcio's words."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

NAME_KINDS = {"DNS": "peer_dns", "URI": "peer_uri", "email": "peer_email", "IP Address": "peer_ip"}
SHORT_NAMES = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "street",
    "userId": "UID",
}
SPECIAL = b',+"\\<>;'


def identity(tls: ssl.SSLObject | None) -> Mapping[str, list[bytes]]:
    """What the connection and the client's certificate say; nothing is known of a caller without one."""
    if tls is None:
        return {"transport_security_type": [b"insecure"], "security_level": [b"TSI_SECURITY_NONE"]}
    known = {
        "transport_security_type": [b"ssl"],
        "security_level": [b"TSI_PRIVACY_AND_INTEGRITY"],
        "ssl_session_reused": [b"true" if tls.session_reused else b"false"],
        "ssl_tls_version": [(tls.version() or "").encode()],
    }
    certificate: Any = tls.getpeercert()
    if certificate:
        subject = certificate.get("subject", ())
        common = [value.encode() for part in subject for name, value in part if name == "commonName"]
        known["x509_subject"] = [subject_line(subject)]
        known["x509_common_name"] = common[:1] or [b""]
        known["x509_pem_cert"] = [ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True) or b"").encode()]
        for kind, name in certificate.get("subjectAltName", ()):
            if kind in NAME_KINDS:
                value = (str(ip_address(name.strip())) if kind == "IP Address" else name).encode()
                known.setdefault("x509_subject_alternative_name", []).append(value)
                known.setdefault(NAME_KINDS[kind], []).append(value)
    return known


def identity_key(known: Mapping[str, list[bytes]]) -> str | None:
    """Under which name of these the caller is known."""
    keys = ("x509_subject_alternative_name", "x509_common_name")
    return next((key for key in keys if key in known), None)


def subject_line(subject: Iterable[Iterable[tuple[str, str]]]) -> bytes:
    """A subject in one line, as RFC 2253 writes it: the last part first."""
    parts = [b"+".join(SHORT_NAMES.get(name, name).encode() + b"=" + escaped(value) for name, value in part)
             for part in subject]  # fmt: skip
    return b",".join(reversed(parts))


def escaped(value: str) -> bytes:
    raw = value.encode()
    line = b"".join(b"\\" + bytes([byte]) if byte in SPECIAL else shown(byte) for byte in raw)
    if line.startswith((b"#", b" ")):
        line = b"\\" + line
    return line[:-1] + b"\\ " if len(raw) > 1 and line.endswith(b" ") else line


def shown(byte: int) -> bytes:
    return bytes([byte]) if 0x20 <= byte < 0x7F else b"\\%02X" % byte
