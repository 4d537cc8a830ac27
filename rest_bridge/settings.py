"""The bridge's settings: one frozen object, read once from flags and `OUTCRY_...` variables."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Run the bridge: REST and WebSocket in front of the engine's gRPC service."""

    model_config = SettingsConfigDict(
        env_prefix="OUTCRY_",
        frozen=True,
        extra="ignore",
        cli_prog_name="python -m rest_bridge",
        cli_kebab_case=True,
        cli_implicit_flags=True,
    )

    http: str = Field("127.0.0.1:8000", description="HOST:PORT to listen on; port 0 takes a free one")
    grpc: str = Field("127.0.0.1:50051", description="HOST:PORT or unix:PATH of the engine")
    service_key: Path = Field(Path("data/keys/bridge.key"), description="file of the key by which the engine knows it")
    tls_ca: Path | None = Field(
        None, description="PEM roots that the engine's certificate must come from; turns TLS on"
    )
    allow_plaintext: bool = Field(False, description="serve plain HTTP on an address that is not loopback")
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="web origins beside its own that may use it, separated by commas"
    )
    workers: int = Field(1, ge=1, le=1, description="processes; one for now")
    lifeline_fd: int | None = Field(None, description="stop when this file descriptor reaches its end")

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("http")
    @classmethod
    def has_port(cls, value: str) -> str:
        host_and_port(value)
        return value


def host_and_port(address: str) -> tuple[str, int]:
    """`HOST:PORT` or `[HOST]:PORT`, taken apart. ValueError for anything else."""
    host, colon, port = address.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def is_loopback(address: str) -> bool:
    host, _ = host_and_port(address)
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
