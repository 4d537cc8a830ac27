"""`python -m outcry.demo`: the bots, until SIGTERM, Ctrl-C or the end of the lifeline. Their orders stay."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Annotated, NoReturn

import structlog
import typer
import uvloop

from outcry.async_client import AsyncClient
from outcry.demo.bot import LOST_WAIT_S, Bot
from outcry.demo.maker import MarketMaker
from outcry.demo.market import Listing, listing
from outcry.demo.momentum import MomentumTrader
from outcry.demo.noise import NoiseTrader
from outcry.errors import ExchangeError, Unavailable

BOTS: list[type[Bot]] = [MarketMaker, MomentumTrader, NoiseTrader]
SEED = 20120621
UNMENDABLE = 2

log = structlog.get_logger()


def command(
    grpc: Annotated[
        str, typer.Option(envvar="OUTCRY_GRPC", help="HOST:PORT or unix:PATH of the engine.")
    ] = "127.0.0.1:50051",
    data: Annotated[Path, typer.Option(envvar="OUTCRY_DATA", help="Folder with the bots' keys.")] = Path("data"),
    tls_ca: Annotated[
        Path | None,
        typer.Option(envvar="OUTCRY_TLS_CA", help="PEM roots to trust; turns TLS on.", exists=True, dir_okay=False),
    ] = None,
    seed: Annotated[int, typer.Option(envvar="OUTCRY_DEMO_SEED", help="Of all their chance.")] = SEED,
) -> None:
    """Trade on every instrument with three bots."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        keys = {bot.name: (data / "keys" / f"demo-{bot.name}.key").read_text().strip() for bot in BOTS}
        roots = tls_ca.read_bytes() if tls_ca else None
    except OSError as error:
        refuse(f"{error.filename}: {error.strerror}")
    try:
        uvloop.run(trade(AsyncClient(grpc, root_certificates=roots), keys, seed))
    except ExchangeError as error:
        refuse(str(error))


def refuse(words: str) -> NoReturn:
    print(f"outcry demo: {words}", file=sys.stderr, flush=True)
    raise typer.Exit(UNMENDABLE)


async def trade(exchange: AsyncClient, keys: dict[str, str], seed: int) -> None:
    """Trade until told to stop. Raises ExchangeError where a key is not known."""
    stop = stop_signal()
    async with exchange as client:
        bots = asyncio.create_task(play(client, keys, seed))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([bots, stopping], return_when=asyncio.FIRST_COMPLETED)
        bots.cancel()
        stopping.cancel()
        with suppress(asyncio.CancelledError):
            await bots


async def play(client: AsyncClient, keys: dict[str, str], seed: int) -> None:
    listings = await known(client)
    bots = []
    for kind in BOTS:
        chance = Random(f"{seed}-{kind.name}")  # noqa: S311  a demo wants chance that repeats
        bots.append(kind(client.with_key(keys[kind.name]), listings, chance))
    running = asyncio.gather(*(bot.run() for bot in bots))
    print(f"ready bots={len(bots)}", flush=True)
    await running


async def known(client: AsyncClient) -> list[Listing]:
    """What is listed, once the exchange answers."""
    while True:
        try:
            return [listing(instrument) for instrument in await client.instruments()]
        except Unavailable as error:
            log.warning("exchange_away", error=str(error))
            await asyncio.sleep(LOST_WAIT_S)


def stop_signal() -> asyncio.Event:
    """Set by SIGTERM, Ctrl-C or the end of the lifeline."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if lifeline := os.environ.get("OUTCRY_LIFELINE_FD"):
        loop.add_reader(int(lifeline), cut, int(lifeline), stop)
    return stop


def cut(lifeline: int, stop: asyncio.Event) -> None:
    asyncio.get_running_loop().remove_reader(lifeline)
    stop.set()


if __name__ == "__main__":
    typer.run(command)
