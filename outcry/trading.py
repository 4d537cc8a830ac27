"""Trading from the command line: each command is one call of the client, shown as a table or, with `--json`, as JSON.

What the exchange refuses is one line on stderr, `CODE: message`, and status 1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from outcry.errors import ExchangeError

if TYPE_CHECKING:
    from outcry.async_client import AsyncClient
    from outcry.models import Balances, OrderResult, Positions

Answer = TypeVar("Answer")
DEMO_KEY = Path("keys") / "demo.key"
ORDER_PREFIX = "ORD_"
GRPC = "127.0.0.1:50051"
DATA = Path("data")

Grpc = Annotated[str, typer.Option("--grpc", envvar="OUTCRY_GRPC", help="HOST:PORT or unix:PATH of the engine.")]
Key = Annotated[
    str,
    typer.Option("--api-key", envvar="OUTCRY_API_KEY", help="The account's key.", show_default="DATA/keys/demo.key"),
]
Data = Annotated[Path, typer.Option("--data", envvar="OUTCRY_DATA", help="Folder of a local exchange, with its keys.")]
Roots = Annotated[
    Path | None, typer.Option("--tls-ca", envvar="OUTCRY_TLS_CA", help="PEM roots to trust; turns TLS on.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
InstrumentId = Annotated[str, typer.Argument(help="Such as AAPL.")]
Quantity = Annotated[str, typer.Argument(help="Such as 10, or 0.5.")]
Price = Annotated[str | None, typer.Option(help="The limit.")]
OrderType = Annotated[str | None, typer.Option("--type", help="limit or market.", show_default="by --price")]
TimeInForce = Annotated[str | None, typer.Option("--tif", help="GTC, DAY, IOC or FOK.")]
ClientOrderId = Annotated[str | None, typer.Option(help="Your own name for the order.")]


def ask(
    question: Callable[[AsyncClient], Awaitable[Answer]],
    grpc: str,
    api_key: str,
    data: Path,
    roots: Path | None,
    needs_key: bool = True,
) -> Answer:
    """The exchange's answer to one question. What goes wrong ends the command with one line."""
    try:
        key = api_key or (demo_key(data) if needs_key else None)
        return asyncio.run(asked(question, grpc, key, roots.read_bytes() if roots else None))
    except ExchangeError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


async def asked(
    question: Callable[[AsyncClient], Awaitable[Answer]], grpc: str, key: str | None, roots: bytes | None
) -> Answer:
    from outcry.async_client import AsyncClient

    async with AsyncClient(grpc, key, root_certificates=roots) as client:
        return await question(client)


def demo_key(data: Path) -> str:
    """The demo account's key of a local exchange; where there is none to read, the command ends."""
    path = data / DEMO_KEY
    try:
        key = path.read_text().strip()
    except OSError as error:
        fail(f"no API key: {path}: {error.strerror}. Give --api-key KEY (or OUTCRY_API_KEY), or --data of an exchange")
    typer.echo(f"outcry: no --api-key given; using {path}", err=True)
    return key


def fail(words: str) -> NoReturn:
    typer.echo(f"outcry: {words}", err=True)
    raise typer.Exit(1)


def order_number(order_id: str) -> int:
    digits = order_id.upper().removeprefix(ORDER_PREFIX)
    if not (digits.isascii() and digits.isdigit()):
        raise typer.BadParameter(f"{order_id} is no order id, such as ORD_12 or 12")
    return int(digits)


def entry(side: str) -> Callable[..., None]:
    """The command that enters orders on one side."""

    def enter(
        instrument: InstrumentId,
        quantity: Quantity,
        price: Price = None,
        order_type: OrderType = None,
        tif: TimeInForce = None,
        client_order_id: ClientOrderId = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge the order, and change nothing.")] = False,
        grpc: Grpc = GRPC,
        api_key: Key = "",
        data: Data = DATA,
        tls_ca: Roots = None,
        as_json: Json = False,
    ) -> None:
        from outcry.encoding import OrderOptions
        from outcry.tables import show

        options = OrderOptions(order_type=order_type, time_in_force=tif, client_order_id=client_order_id)

        def submit(client: AsyncClient) -> Awaitable[OrderResult]:
            enter = client.validate_order if dry_run else client.submit_order
            return enter(instrument, side, quantity, price, **options)

        show(ask(submit, grpc, api_key, data, tls_ca), as_json)

    enter.__doc__ = f"{side.capitalize()}: a limit order with --price, a market order without."
    return enter


def cancel(
    order_id: Annotated[str | None, typer.Argument(help="Such as ORD_12, or 12.")] = None,
    client_order_id: ClientOrderId = None,
    cancel_all: Annotated[bool, typer.Option("--all", help="All open orders.")] = False,
    grpc: Grpc = GRPC,
    api_key: Key = "",
    data: Data = DATA,
    tls_ca: Roots = None,
    as_json: Json = False,
) -> None:
    """Cancel an order, or all."""
    from outcry.tables import show

    if (order_id is not None) + (client_order_id is not None) + cancel_all != 1:
        raise typer.BadParameter("name one order by its id or --client-order-id, or say --all")
    number = None if order_id is None else order_number(order_id)
    if cancel_all:
        show(ask(lambda client: client.cancel_all(), grpc, api_key, data, tls_ca), as_json)
    else:
        name = client_order_id
        show(
            ask(lambda client: client.cancel_order(number, client_order_id=name), grpc, api_key, data, tls_ca), as_json
        )


def orders(
    every: Annotated[bool, typer.Option("--all", help="Closed ones, too.")] = False,
    instrument: Annotated[str, typer.Option(help="Of one instrument.")] = "",
    grpc: Grpc = GRPC,
    api_key: Key = "",
    data: Data = DATA,
    tls_ca: Roots = None,
    as_json: Json = False,
) -> None:
    """List the account's open orders, oldest first."""
    from outcry.tables import show

    listing = ask(
        lambda client: client.orders(include_closed=every, instrument_id=instrument), grpc, api_key, data, tls_ca
    )
    show(listing, as_json)


def positions(
    grpc: Grpc = GRPC,
    api_key: Key = "",
    data: Data = DATA,
    tls_ca: Roots = None,
    as_json: Json = False,
) -> None:
    """Show the account's positions and balances."""
    from outcry.tables import show

    async def held(client: AsyncClient) -> tuple[Positions, Balances]:
        return await client.positions(), await client.balances()

    show(ask(held, grpc, api_key, data, tls_ca), as_json)


def book(
    instrument: InstrumentId,
    depth: Annotated[int, typer.Option(min=0, help="Levels a side; 0: all there are.")] = 10,
    grpc: Grpc = GRPC,
    tls_ca: Roots = None,
    as_json: Json = False,
) -> None:
    """Show the book of an instrument. Needs no key."""
    from outcry.tables import show

    show(ask(lambda client: client.order_book(instrument, depth), grpc, "", DATA, tls_ca, needs_key=False), as_json)
