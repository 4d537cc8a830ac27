"""Where a channel leads: gRPC's names for targets, as addresses to try in turn.

host:port   dns:///host:port   ipv4:a:p,b:p   ipv6:[a]:p,[b]:p   unix:path   unix:///path   unix-abstract:name
"""

from __future__ import annotations

import re

from msgspec import Struct

DEFAULT_PORT, LAST_PORT = 443, 65_535
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):(?!\d+$)")


class Address(Struct, frozen=True):
    """A host (a name or a number) with its port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return "unix:" + self.path.replace("\0", "@")
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Target(Struct, frozen=True):
    """`authority` is what the server is told that it was called by."""

    addresses: tuple[Address, ...]
    authority: str


def target_of(text: str) -> Target:
    """ValueError for a name that is none, or of a kind that is not known."""
    match = SCHEME.match(text)
    scheme = match[1] if match else ""
    rest = text[len(scheme) + 1 :] if scheme else text
    if scheme == "unix":
        return of_path(rest[2:] if rest.startswith("//") else rest)
    if scheme == "unix-abstract":
        return of_path("\0" + rest)
    if scheme in ("ipv4", "ipv6"):
        return of_hosts(rest.removeprefix("///").split(","))
    if scheme == "dns":
        return of_hosts([rest[2:].partition("/")[2] if rest.startswith("//") else rest.removeprefix("/")])
    if scheme and rest.startswith("//"):
        raise ValueError(f"A target of an unknown kind: {text!r}")
    return of_hosts([text])


def of_path(path: str) -> Target:
    if not path.strip("\0"):
        raise ValueError("A Unix socket needs a path")
    return Target((Address(path=path),), "localhost")


def of_hosts(texts: list[str]) -> Target:
    return Target(tuple(address_of(text) for text in texts), texts[0])


def address_of(text: str) -> Address:
    """`host:port`, where the port may be missing, and a host with colons stands in brackets.

    A port above the last is refused: gRPC takes what remains of it, a port that nobody has meant.
    """
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    port = port or str(DEFAULT_PORT)
    if not host or not (port.isascii() and port.isdigit() and int(port) <= LAST_PORT):
        raise ValueError(f"{text!r} is no address")
    return Address(host, int(port))
