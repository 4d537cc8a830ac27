"""Checks of the machine: versions, ports, clock, and what the process may use."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import socket
import struct
import time
from collections.abc import Iterator
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.checkup import Finding, fail, mib, ok, warn
from wire.addresses import is_served, listening_sockets, socket_path

LIBRARIES = ("grpcio", "protobuf", "msgspec", "uvloop", "google-crc32c", "sortedcontainers")
ANSWER_S = 2.0
DESCRIPTORS = 4_096
LITTLE_MEMORY = 1 << 30
COARSE_NS = 1_000_000
LOOKS = 20_000  # at the clock
now_ns = time.time_ns
UNSYNCHRONISED = 0x40  # STA_UNSYNC of adjtimex(2)
TIMEX_BYTES, STATUS_OFFSET = 256, 40


def versions() -> Iterator[Finding]:
    found = [f"{name} {metadata.version(name)}" for name in LIBRARIES]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    yield ok("versions", f"Outcry {metadata.version('outcry')} on {python}, {platform.system()}; {', '.join(found)}")


def port(name: str, address: str) -> Iterator[Finding]:
    """Whether it can be listened on; if not, who answers there."""
    path = socket_path(address)
    if path and not is_served(path):
        yield ok(name, f"nothing answers at {address}")
        return
    try:
        for listener in listening_sockets(address) if not path else ():
            listener.close()
    except OSError as problem:
        who = answers(name, address)
        if who is None:
            yield fail(name, f"{address} cannot be listened on: {problem.strerror}", f"Give another --{name}.")
        else:
            yield warn(name, f"{address} is taken: {who}", f"Stop that before you start another, or give --{name}.")
        return
    if path:
        yield warn(name, f"{address} is taken: {answers(name, address)}", f"Stop that first, or give another --{name}.")
    else:
        yield ok(name, f"{address} is free")


def answers(name: str, address: str) -> str | None:
    """What answers at an address; None where nothing does."""
    if name == "grpc":
        try:
            with grpc.insecure_channel(address) as channel:
                health: Any = health_pb2_grpc.HealthStub(channel)
                status = health.Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_S).status
        except grpc.RpcError:
            return "something that does not speak gRPC without TLS" if connects(address) else None
        return f"a gRPC server, which says it is {health_pb2.HealthCheckResponse.ServingStatus.Name(status)}"
    return "something listens there" if connects(address) else None


def connects(address: str) -> bool:
    host, _, number = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(number)), ANSWER_S):
            return True
    except (OSError, ValueError):
        return False


def clock() -> Iterator[Finding]:
    readings = [now_ns() for _ in range(LOOKS)]
    steps = [later - earlier for earlier, later in pairwise(readings)]
    finest_ns = min((step for step in steps if step > 0), default=COARSE_NS)
    words = f"it tells {finest_ns:,} ns apart"
    state = synchronisation()
    if min(steps) < 0:
        yield warn("clock", f"it went back by {-min(steps):,} ns meanwhile", "See what sets it; it should be slewed.")
    elif state is False:
        advice = "Let NTP keep it (chrony, systemd-timesyncd): orders expire by it."
        yield warn("clock", f"{words}, and the kernel calls it unsynchronised", advice)
    elif finest_ns >= COARSE_NS:
        yield warn("clock", words, "Use a better clock source: events would share their times.")
    else:
        yield ok("clock", f"{words}, and {'is synchronised' if state else 'cannot be told to be synchronised or not'}")


def synchronisation() -> bool | None:
    """Whether the kernel's clock is kept by something; None where it does not say."""
    timex = ctypes.create_string_buffer(TIMEX_BYTES)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    (status,) = struct.unpack_from("i", timex.raw, STATUS_OFFSET)
    return not status & UNSYNCHRONISED


def descriptors() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    words = f"a process may have {soft:,} open, of which the engine keeps some for its files"
    if soft < DESCRIPTORS:
        yield warn("descriptors", words, f"Raise the limit (ulimit -n, LimitNOFILE=): up to {hard:,} are allowed.")
    else:
        yield ok("descriptors", words)


def cores() -> Iterator[Finding]:
    count = len(os.sched_getaffinity(0))
    words = f"{count} for this process"
    if count < 2:
        yield warn("cores", words, "Give it two: engine and bridge have one each, and snapshots want the second.")
    else:
        yield ok("cores", words)


def memory() -> Iterator[Finding]:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = available() or total
    words = f"{mib(free)} of {mib(total)} are available"
    if free < LITTLE_MEMORY:
        yield warn("memory", words, "Free some: the state is in memory, and a snapshot is made beside it.")
    else:
        yield ok("memory", words)


def available() -> int | None:
    """Bytes that can be used without swapping; None where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
