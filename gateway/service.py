"""The gateway, wired: one exchange, its journal, one gRPC server. `__main__` runs it as a process, tests in theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from msgspec import structs

import wire
from gateway import codec, venue
from gateway.access import Access
from gateway.accounts import Accounts
from gateway.auth import Keyring
from gateway.disk import LOCAL_DISK, Disk
from gateway.edge import Health, Reflection, Registrar, Streams
from gateway.executions import ExecutionFeed
from gateway.feeds import Feeds
from gateway.keys import Keys
from gateway.lock import DirectoryLock
from gateway.market_data import MarketData, MarketDataHub
from gateway.operations import Operations
from gateway.order_entry import OrderEntry
from gateway.recovery import recover
from gateway.refusals import Refused
from gateway.sequencer import Sequencer, Waiting, answer_all
from gateway.settings import Settings
from gateway.unix_sockets import SocketFile
from gateway.upkeep import Upkeep, Wanted
from outcry import v1
from wire.addresses import listening_sockets, socket_path
from wire.credentials import PemInvalid, ServerCredentials

MESSAGE_BYTES = 4 << 20
ANSWER_BYTES = 64 << 20  # above the largest there is: an order's fills, a page of orders, a message's books
METADATA_BYTES = 16 << 10
STREAMS_PER_CONNECTION = 128  # few, so that a crowd waits in its clients: to refuse a call costs a third of taking it
CONCURRENT_CALLS = 10_000
SPARE_CALLS = 32  # of each connection, beyond those
IDLE_MS = 300_000  # of a connection without any call or feed
KEYED_STREAMS = 4_000  # of callers with a key, whatever they stream; with the strangers', less than all calls
ACCOUNT_STREAMS = 500  # of one account
STRANGERS_STREAMS = 2_000  # of callers without: market data, watchers of health, reflection
ADDRESS_STREAMS = 500  # of callers without a key at one address, behind which there may be many; or on a Unix socket
GRACE_S = 5.0

SERVICES = ("OrderEntry", "ExecutionFeed", "MarketData", "Accounts", "Operations")
log = structlog.get_logger()


class Misconfigured(Exception):
    """Settings that cannot work; the message names the flag."""


def departure(server: wire.Server) -> Callable[[Iterable[Waiting]], None]:
    """Lets the answers of a batch leave together and at once: nothing more is to come in this turn."""

    def answer(batch: Iterable[Waiting]) -> None:
        server.flush_promised = True
        try:
            answer_all(batch)
        finally:
            server.flush_promised = False
            server.flush()

    return answer


class Gateway:
    """One engine over one data folder. `start` returns when it serves; `stop` finishes what was accepted.

    `on_failure` is called once when nobody can say any more what is durable; the process must end then.
    """

    def __init__(self, settings: Settings, *, on_failure: Callable[[], None], disk: Disk | None = None) -> None:
        self.settings = settings
        self.on_failure = on_failure
        self.disk = disk or LOCAL_DISK
        self.socket_file = SocketFile(settings.grpc)
        self.port = 0

    async def start(self) -> None:
        data = self.settings.data
        data.mkdir(parents=True, exist_ok=True)
        self.lock = DirectoryLock.acquire(data)
        recovered = recover(data, self.settings.durability, disk=self.disk)
        self.exchange, self.journal, self.event_log = recovered.exchange, recovered.journal, recovered.event_log
        self.feeds = Feeds(self.event_log, on_damage=self.event_log_failed)
        self.hub = MarketDataHub()
        self.sequencer = Sequencer(
            self.exchange,
            self.journal,
            self.event_log,
            publishers=(self.feeds, self.hub),
            on_failure=self.on_failure,
        )
        await self.apply_venue()
        self.server = self.build_server()
        if isinstance(self.server, wire.Server):
            self.sequencer.answer = departure(self.server)
        await self.server.start()
        self.upkeep = asyncio.create_task(self.build_upkeep().run())
        await self.health.set("", health_pb2.HealthCheckResponse.SERVING)
        log.info(
            "serving",
            port=self.port,
            journal_seq=self.sequencer.seq,
            snapshot_seq=recovered.snapshot_seq,
            durability=str(self.settings.durability),
        )

    def build_upkeep(self) -> Upkeep:
        settings = self.settings
        kept_bytes = None if settings.keep_journal_mib is None else settings.keep_journal_mib << 20
        wanted = Wanted(settings.snapshot_every, kept_bytes, settings.keep_journal_hours)
        return Upkeep(settings.data, wanted, self.journal, self.event_log, self.disk)

    def event_log_failed(self, problem: Exception) -> None:
        """It has changed under us: end, and let the next start rebuild it."""
        self.sequencer.event_log_failed(problem)

    async def apply_venue(self) -> None:
        """Sequence what venue.toml says and the state does not yet. The keys it names are made when missing."""
        described = self.described = venue.load(self.settings.venue)
        if self.settings.registration != "venue":
            mode = venue.RegistrationSection(self.settings.registration)
            described = self.described = structs.replace(described, registration=mode)
        self.keyring = Keyring(self.settings.data / "keys")
        for command in venue.commands(described, self.exchange, self.keyring):
            outcome = await self.sequencer.execute(command)
            try:
                codec.require_done(outcome)
            except Refused as refused:
                source = self.settings.venue or "the built-in venue"
                raise Misconfigured(f"--venue: {source}: {refused.message}") from None

    def rekey(self, account: int, key: str) -> None:
        """An account's new key goes into its file, if it has one, so that the next start does not undo it."""
        name = self.exchange.accounts[account].name
        described = self.described.accounts.get(name)
        if described is not None and self.exchange.named_accounts.get(name) == account:  # others may have the name, too
            self.keyring.replace(described.key, key)

    def build_server(self) -> grpc.aio.Server:
        make = wire.server if self.settings.transport == "native" else grpc.aio.server
        server: grpc.aio.Server = make(
            options=[
                ("wire.spare_calls", SPARE_CALLS),
                ("grpc.so_reuseport", 0),  # a second engine on this port is an error, not a coin toss
                ("grpc.max_receive_message_length", MESSAGE_BYTES),
                ("grpc.max_send_message_length", ANSWER_BYTES),
                ("grpc.max_metadata_size", METADATA_BYTES),
                ("grpc.absolute_max_metadata_size", METADATA_BYTES),
                ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
                ("grpc.keepalive_time_ms", 20_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.max_connection_idle_ms", IDLE_MS),
            ],
            maximum_concurrent_rpcs=CONCURRENT_CALLS,
        )
        access = Access(
            self.exchange,
            service_key_hash=self.keyring.key_hash("bridge"),
            registrations_per_minute=self.settings.registrations_per_minute,
        )
        streams = self.streams = Streams(
            access,
            keyed=KEYED_STREAMS,
            of_account=ACCOUNT_STREAMS,
            strangers=STRANGERS_STREAMS,
            at_address=ADDRESS_STREAMS,
        )
        self.health = Health(streams)
        sequencer = self.sequencer
        registrar, keys = Registrar(server), Keys(sequencer, streams, self.rekey)
        v1.add_OrderEntryServicer_to_server(OrderEntry(access, sequencer, streams), registrar)
        v1.add_ExecutionFeedServicer_to_server(ExecutionFeed(access, self.feeds, streams), registrar)
        v1.add_MarketDataServicer_to_server(MarketData(sequencer, self.hub, streams), registrar)
        v1.add_AccountsServicer_to_server(Accounts(access, sequencer, keys), registrar)
        v1.add_OperationsServicer_to_server(Operations(access, sequencer, keys), registrar)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        names = [*(f"outcry.v1.{service}" for service in SERVICES), health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflected = Reflection(names, streams)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, server)  # type: ignore[no-untyped-call]
        self.listen(server)
        return server

    def listen(self, server: grpc.aio.Server) -> None:
        address = self.settings.grpc
        credentials: Any = tls(self.settings)  # of the server's own kind
        if credentials is None and not self.settings.allow_plaintext and not is_loopback(address):
            raise Misconfigured(
                f"--grpc {address} is not loopback: give --tls-cert and --tls-key, or --allow-plaintext"
            )
        try:
            with self.socket_file.private():
                if credentials is None:
                    self.port = server.add_insecure_port(address)
                else:
                    self.port = server.add_secure_port(address, credentials)
        except (RuntimeError, OSError) as problem:
            raise Misconfigured(f"--grpc {address} cannot be listened on: {reason(problem, address)}") from None

    @property
    def address(self) -> str:
        """Where it is reached: as the settings say, with the port that was free where they leave it open."""
        address = self.settings.grpc
        return address if socket_path(address) else f"{address.rpartition(':')[0]}:{self.port}"

    async def stop(self) -> None:
        """Refuse what is new, end the streams, finish what was accepted, make it durable."""
        await self.health.enter_graceful_shutdown()
        self.upkeep.cancel()
        await asyncio.wait([self.upkeep])
        self.streams.close()
        await self.server.stop(GRACE_S)
        self.socket_file.remove()
        await self.sequencer.close()
        await asyncio.to_thread(self.journal.close)  # after a failure the disk may still keep the commit thread
        self.event_log.flush()
        self.event_log.close()
        self.lock.release()


def reason(problem: Exception, address: str) -> str:
    """Why it cannot be listened at, in the operating system's words; grpcio keeps them to itself."""
    if not isinstance(problem, OSError):
        try:
            for listener in listening_sockets(address):
                listener.close()
        except OSError as told:
            problem = told
    return getattr(problem, "strerror", None) or str(problem)


def is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost" or address.startswith("unix:"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def tls(settings: Settings) -> grpc.ServerCredentials | ServerCredentials | None:
    """Server credentials, mutual where clients' roots are given; None for plain text."""
    if settings.tls_cert is None and settings.tls_key is None:
        if settings.tls_client_ca is not None:
            raise Misconfigured("--tls-client-ca needs --tls-cert and --tls-key")
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        raise Misconfigured("--tls-cert and --tls-key go together")
    pair = (pem("--tls-key", settings.tls_key), pem("--tls-cert", settings.tls_cert))
    roots = None if settings.tls_client_ca is None else pem("--tls-client-ca", settings.tls_client_ca)
    try:
        wire.ssl_server_credentials([pair])
    except PemInvalid as problem:
        raise Misconfigured(f"--tls-cert and --tls-key cannot be used: {problem}") from None
    try:
        credentials = wire.ssl_server_credentials([pair], roots, roots is not None)
    except PemInvalid as problem:
        raise Misconfigured(f"--tls-client-ca cannot be used: {problem}") from None
    if settings.transport == "native":
        return credentials
    return grpc.ssl_server_credentials([pair], roots, roots is not None)  # which would find nothing wrong


def pem(flag: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise Misconfigured(f"{flag}: {path}: {problem.strerror}") from None
