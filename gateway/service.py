"""The gateway, wired: one exchange, its journal, one gRPC server. `__main__` runs it as a process, tests in theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from ssl import SSLError
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from msgspec import structs

import wire
from engine.exchange import Exchange
from gateway import codec, venue
from gateway.access import Access
from gateway.accounts import Accounts
from gateway.auth import Keyring
from gateway.edge import Health, Registrar, Streams
from gateway.event_log import EventLog, Record, private
from gateway.executions import ExecutionFeed
from gateway.feeds import Feeds
from gateway.frames import Disk
from gateway.journal import Durability, Journal
from gateway.lock import DirectoryLock
from gateway.market_data import MarketData, MarketDataHub
from gateway.operations import Operations
from gateway.order_entry import OrderEntry
from gateway.refusals import Refused
from gateway.sequencer import Sequencer, Waiting, answer_all
from gateway.settings import Settings
from gateway.unix_sockets import private_socket
from outcry import v1
from wire.addresses import socket_path
from wire.credentials import ServerCredentials

MESSAGE_BYTES = 4 << 20
ANSWER_BYTES = 64 << 20  # above the largest there is: an order's fills, a page of orders, a message's books
METADATA_BYTES = 16 << 10
STREAMS_PER_CONNECTION = 1_000
CONCURRENT_CALLS = 10_000
IDLE_MS = 300_000  # of a connection without any call or feed
PRIVATE_STREAMS = 4_000  # Sessions and execution feeds; with the public ones, less than all calls
PUBLIC_STREAMS = 2_000  # market data and watchers of health, which need no key
REPLAY_BATCH = 1_000
GRACE_S = 5.0

SERVICES = ("OrderEntry", "ExecutionFeed", "MarketData", "Accounts", "Operations")
log = structlog.get_logger()


class Misconfigured(Exception):
    """Settings that cannot work; the message names the flag."""


def departure(server: wire.Server) -> Callable[[list[Waiting]], None]:
    """Lets the answers of a batch leave together and at once: nothing more is to come in this turn."""

    def answer(batch: list[Waiting]) -> None:
        server.held = True
        try:
            answer_all(batch)
        finally:
            server.held = False
            server.flush()

    return answer


class Gateway:
    """One engine over one data folder. `start` returns when it serves; `stop` finishes what was accepted.

    `on_failure` is called once when nobody can say any more what is durable; the process must end then.
    """

    def __init__(self, settings: Settings, *, on_failure: Callable[[], None], disk: Disk | None = None) -> None:
        self.settings = settings
        self.on_failure = on_failure
        self.disk = disk
        self.private_streams = Streams(PRIVATE_STREAMS)
        self.public_streams = Streams(PUBLIC_STREAMS)
        self.health = Health(self.public_streams)
        self.port = 0

    async def start(self) -> None:
        data = self.settings.data
        data.mkdir(parents=True, exist_ok=True)
        self.lock = DirectoryLock.acquire(data)
        self.journal = Journal.open(data / "journal", durability=self.settings.durability, disk=self.disk)
        self.event_log = EventLog.open(
            data / "events", self.journal.last_seq, strict=self.settings.durability is Durability.FSYNC
        )
        self.exchange = Exchange()
        self.replay()
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
        await self.health.set("", health_pb2.HealthCheckResponse.SERVING)
        log.info("serving", port=self.port, journal_seq=self.sequencer.seq, durability=str(self.settings.durability))

    def event_log_failed(self, problem: Exception) -> None:
        """It has changed under us: end, and let the next start rebuild it."""
        self.sequencer.event_log_failed(problem)

    def replay(self) -> None:
        """Fold the journal into the state, and into the event log what that does not hold yet."""
        records: list[Record] = []
        for entry in self.journal.replay():
            events = self.exchange.apply(entry.seq, entry.time_ns, entry.command)
            records.append(Record(entry.seq, entry.time_ns, private(events)))
            if len(records) == REPLAY_BATCH:
                self.event_log.append(records)
                records = []
        self.event_log.append(records)

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

    def rekey(self, name: str, key: str) -> None:
        """An account's new key goes into its file, if it has one, so that the next start does not undo it."""
        account = self.described.accounts.get(name)
        if account is not None:
            self.keyring.replace(account.key, key)

    def build_server(self) -> grpc.aio.Server:
        make = wire.server if self.settings.transport == "native" else grpc.aio.server
        server: grpc.aio.Server = make(
            options=[
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
        sequencer, streams = self.sequencer, self.private_streams
        registrar = Registrar(server)
        v1.add_OrderEntryServicer_to_server(OrderEntry(access, sequencer, streams), registrar)
        v1.add_ExecutionFeedServicer_to_server(ExecutionFeed(access, self.feeds, streams), registrar)
        v1.add_MarketDataServicer_to_server(MarketData(sequencer, self.hub, self.public_streams), registrar)
        v1.add_AccountsServicer_to_server(Accounts(access, sequencer), registrar)
        v1.add_OperationsServicer_to_server(Operations(access, sequencer, self.rekey), registrar)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        names = [f"outcry.v1.{service}" for service in SERVICES]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
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
            with private_socket(address):
                if credentials is None:
                    self.port = server.add_insecure_port(address)
                else:
                    self.port = server.add_secure_port(address, credentials)
        except (RuntimeError, OSError):
            raise Misconfigured(f"--grpc {address} cannot be listened on: is the port taken?") from None

    @property
    def address(self) -> str:
        """Where it is reached: as the settings say, with the port that was free where they leave it open."""
        address = self.settings.grpc
        return address if socket_path(address) else f"{address.rpartition(':')[0]}:{self.port}"

    async def stop(self) -> None:
        """Refuse what is new, end the streams, finish what was accepted, make it durable."""
        await self.health.enter_graceful_shutdown()
        self.private_streams.close()
        self.public_streams.close()
        await self.server.stop(GRACE_S)
        await self.sequencer.close()
        await asyncio.to_thread(self.journal.close)  # after a failure the disk may still keep the commit thread
        self.event_log.flush()
        self.event_log.close()
        self.lock.release()


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
    make = wire.ssl_server_credentials if settings.transport == "native" else grpc.ssl_server_credentials
    try:
        pair = (settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())
        roots = settings.tls_client_ca.read_bytes() if settings.tls_client_ca else None
        return make([pair], root_certificates=roots, require_client_auth=roots is not None)
    except SSLError as problem:
        raise Misconfigured(f"the certificates or the key cannot be used: {problem.reason or problem}") from None
    except OSError as problem:
        raise Misconfigured(f"{problem.filename}: {problem.strerror}") from None
