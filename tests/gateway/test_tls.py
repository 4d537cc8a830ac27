"""TLS and mutual TLS by flag, with certificates made for the test."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc
import pytest
import trustme

from outcry import AsyncClient, v1
from tests.gateway.test_process import refuses, run
from tests.venues import EngineProcess, engine_process


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def flags(authority: trustme.CA, folder: Path) -> list[str]:
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    return ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]


async def listed(engine: EngineProcess, credentials: grpc.ChannelCredentials | None) -> int:
    if credentials is None:
        channel = grpc.aio.insecure_channel(engine.address)
    else:
        channel = grpc.aio.secure_channel(engine.address, credentials)
    async with channel:
        answer = await v1.MarketDataStub(channel).ListInstruments(v1.ListInstrumentsRequest(), timeout=20)
        return len(answer.instruments)


async def test_with_a_certificate_the_engine_speaks_tls_and_nothing_else(tmp_path: Path, authority: trustme.CA) -> None:
    roots = authority.cert_pem.bytes()
    with engine_process(tmp_path / "data", *flags(authority, tmp_path)) as engine:
        assert await listed(engine, grpc.ssl_channel_credentials(roots)) == 6
        with pytest.raises(grpc.aio.AioRpcError):
            await listed(engine, None)


async def test_with_clients_roots_a_client_must_show_a_certificate(tmp_path: Path, authority: trustme.CA) -> None:
    roots = authority.cert_pem.bytes()
    authority.cert_pem.write_to_path(tmp_path / "clients.pem")
    mutual = [*flags(authority, tmp_path), "--tls-client-ca", str(tmp_path / "clients.pem")]
    client = authority.issue_cert("bot.example")
    with engine_process(tmp_path / "data", *mutual) as engine:
        shown = grpc.ssl_channel_credentials(roots, client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes())
        assert await listed(engine, shown) == 6
        with pytest.raises(grpc.aio.AioRpcError):
            await listed(engine, grpc.ssl_channel_credentials(roots))


@pytest.mark.parametrize(
    ("unusable", "flag"), [("cert.pem", "--tls-cert"), ("key.pem", "--tls-key"), ("clients.pem", "--tls-client-ca")]
)
@pytest.mark.parametrize("kind", ["empty", "DER", "missing"])
def test_what_tls_cannot_use_is_refused_by_its_flag(
    tmp_path: Path, authority: trustme.CA, unusable: str, flag: str, kind: str
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "clients.pem")
    mutual = [*flags(authority, tmp_path), "--tls-client-ca", str(tmp_path / "clients.pem")]
    path, der = tmp_path / unusable, ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode())
    path.write_bytes(der if kind == "DER" else b"")
    if kind == "missing":
        path.unlink()
    assert refuses(run("--grpc", "127.0.0.1:0", "--data", str(tmp_path / "data"), *mutual), flag)


def test_another_certificate_s_key_is_refused(tmp_path: Path, authority: trustme.CA) -> None:
    mixed = flags(authority, tmp_path)
    authority.issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "key.pem")
    assert refuses(run("--grpc", "127.0.0.1:0", "--data", str(tmp_path / "data"), *mixed), "--tls-key", "mismatch")


async def test_the_client_library_speaks_tls_to_an_engine_whose_roots_it_is_given(
    tmp_path: Path, authority: trustme.CA
) -> None:
    with engine_process(tmp_path / "data", *flags(authority, tmp_path)) as engine:
        async with AsyncClient(engine.address, root_certificates=authority.cert_pem.bytes()) as client:
            assert len(await client.instruments()) == 6
