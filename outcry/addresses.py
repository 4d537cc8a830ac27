"""Addresses as they are listened on, and as they are dialled."""

from __future__ import annotations

LOOPBACKS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - these are for dialling


def dialled(address: str) -> str:
    """Where `HOST:PORT` is reached from this machine: one that means every interface is on the loopback, too, and it
    is the loopback that a certificate names."""
    host, colon, port = address.rpartition(":")
    return f"{LOOPBACKS.get(host, host)}{colon}{port}"
