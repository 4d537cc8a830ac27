"""Addresses as gRPC writes them, and the sockets that listen there."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from pathlib import Path

BACKLOG = 1_024
ANY = ("", "::")  # hosts


def listening_sockets(address: str, share_port: bool = False) -> list[socket.socket]:
    """Sockets bound to `host:port`, `[::1]:port` or `unix:path`; port 0 is any, and `[::]` any address, of IPv4, too.

    With `share_port` other processes may listen there, too (SO_REUSEPORT). OSError where there is no socket, or where a
    port that was asked for is taken in one of the families.
    """
    path = socket_path(address)
    if path is not None:
        return [unix_socket(path)]
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    host_or_any = None if host in ANY else host
    found = socket.getaddrinfo(host_or_any, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    for family, name in dict.fromkeys((family, name) for family, _, _, _, name in found):
        if sockets and not int(port):
            name = (name[0], port_of(sockets[0]), *name[2:])
        try:
            sockets.append(bound(socket.socket(family, socket.SOCK_STREAM), name, share_port))
        except OSError as error:
            problem = error
    is_taken = problem is not None and problem.errno == errno.EADDRINUSE and int(port)
    if not sockets or is_taken:
        for listener in sockets:
            listener.close()
        raise problem or OSError(f"{address} names no address")
    return sockets


def socket_path(address: str) -> str | None:
    """That of `unix:path` or `unix:///path`; None for another kind of address."""
    return address.removeprefix("unix:").removeprefix("//") if address.startswith("unix:") else None


def bound(listener: socket.socket, name: object, share_port: bool = False) -> socket.socket:
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(name)  # type: ignore[arg-type]  # a tuple or a path, as the family wants it
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def unix_socket(path: str) -> socket.socket:
    with suppress(FileNotFoundError):
        if Path(path).is_socket() and not is_served(path):
            Path(path).unlink()  # left behind by a process that is gone
    return bound(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path)


def is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == 0


def port_of(listener: socket.socket) -> int:
    """The port; 1 for a Unix socket, as grpcio has it."""
    return int(listener.getsockname()[1]) if listener.family != socket.AF_UNIX else 1


def peer_name(name: object) -> str:
    """The other end's name in gRPC's form."""
    if not isinstance(name, tuple):
        return f"unix:{name if isinstance(name, str) else ''}"
    host, port = name[:2]
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"
