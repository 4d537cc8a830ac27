"""The gateway's settings: one frozen object, read once from flags and `OUTCRY_...` variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.journal import Durability
from wire.addresses import socket_path

LAST_PORT = 65_535


def listenable(address: str) -> str:
    """`address`, if it is HOST:PORT with a port that there is, or unix:PATH."""
    if socket_path(address):
        return address
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > LAST_PORT:
        raise ValueError(f"{address!r} is neither HOST:PORT nor unix:PATH")
    return address


Address = Annotated[str, AfterValidator(listenable)]


class Settings(BaseSettings):
    """Run the engine: the gRPC service over one journal."""

    model_config = SettingsConfigDict(
        env_prefix="OUTCRY_",
        frozen=True,
        extra="ignore",
        cli_prog_name="python -m gateway",
        cli_kebab_case=True,
        cli_implicit_flags=True,
    )

    grpc: Address = Field("127.0.0.1:50051", description="HOST:PORT or unix:PATH to listen on; port 0 takes a free one")
    data: Path = Field(Path("data"), description="folder of the journal, the event log and the keys")
    venue: Path | None = Field(None, description="venue.toml to apply at start; the built-in one when absent")
    durability: Durability = Field(Durability.FSYNC, description="when a command counts as durable")
    snapshot_every: int = Field(
        500_000, ge=0, description="commands between two snapshots, which bound the time of a start; 0 makes none"
    )
    keep_journal_mib: int | None = Field(
        None, ge=0, description="delete the oldest of a larger journal, as far as two snapshots cover it; all is kept"
    )
    keep_journal_hours: float | None = Field(
        None, ge=0, description="delete what is older of the journal, as far as two snapshots cover it; all is kept"
    )
    registration: Literal["venue", "open", "closed", "invite"] = Field(
        "venue", description="who may register; `venue` is as venue.toml says"
    )
    transport: Literal["grpcio", "native"] = Field(
        "native", description="the gRPC server: our own, which is the fast one, or grpcio's, which is the reference"
    )
    tls_cert: Path | None = Field(None, description="PEM certificate chain; turns TLS on")
    tls_key: Path | None = Field(None, description="PEM private key of the certificate")
    tls_client_ca: Path | None = Field(None, description="PEM roots that clients' certificates must come from")
    allow_plaintext: bool = Field(False, description="serve without TLS on an address that is not loopback")
    registrations_per_minute: int = Field(600, gt=0, description="registrations a minute from one address")
    lifeline_fd: int | None = Field(None, description="stop when this file descriptor reaches its end")
