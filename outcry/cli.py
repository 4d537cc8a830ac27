"""The command line: run an exchange, and trade on one.

`engine` and `bridge` become other rooms' processes and pass their options through, as do `verify`, `restore` and
`doctor`, which look after a data folder; `up` supervises the two; `replay` plays a recorded day. The rest, in
`trading`, are calls of the client. What an exchange or an account is known by is also an environment variable, as
`OUTCRY_GRPC` or `OUTCRY_API_KEY`; what one order says is not.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

import outcry
from outcry import trading, up

PASS_THROUGH = {"ignore_unknown_options": True, "allow_extra_args": True}
NEGATIVE_NUMBERS = {"ignore_unknown_options": True}  # else -5 is an option, and not for the exchange to refuse

app = typer.Typer(
    help="An exchange you can run.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"outcry {outcry.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("up")(up.command)


@app.command(context_settings=PASS_THROUGH, add_help_option=False)
def engine(context: typer.Context) -> None:
    """Run the engine alone: the gRPC service. Its options follow; see `outcry engine --help`."""
    become("gateway", context.args)


@app.command(context_settings=PASS_THROUGH, add_help_option=False)
def bridge(context: typer.Context) -> None:
    """Run the bridge alone: REST and WebSocket. Its options follow; see `outcry bridge --help`."""
    become("rest_bridge", context.args)


@app.command(context_settings=PASS_THROUGH, add_help_option=False)
def verify(context: typer.Context) -> None:
    """Replay a data folder's journal and compare all that is kept. See `outcry verify --help`."""
    become("gateway.verify", context.args)


@app.command(context_settings=PASS_THROUGH, add_help_option=False)
def restore(context: typer.Context) -> None:
    """Make a data folder of a backup: `outcry restore BACKUP --data DIR`. See `outcry restore --help`."""
    become("gateway.restore", context.args)


@app.command(context_settings=PASS_THROUGH, add_help_option=False)
def doctor(context: typer.Context) -> None:
    """Look whether this machine and a data folder are fit to run an exchange. See `outcry doctor --help`."""
    become("gateway.doctor", context.args)


def become(module: str, arguments: list[str]) -> NoReturn:
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606  no shell is meant to be there


app.command("buy", context_settings=NEGATIVE_NUMBERS)(trading.entry("buy"))
app.command("sell", context_settings=NEGATIVE_NUMBERS)(trading.entry("sell"))
app.command("cancel")(trading.cancel)
app.command("orders")(trading.orders)
app.command("positions")(trading.positions)
app.command("book")(trading.book)


@app.command(context_settings=PASS_THROUGH, add_help_option=False)
def replay(context: typer.Context) -> None:
    """Play a recorded day through an engine and compare. Its options follow; see `outcry replay --help`."""
    from outcry.replay.command import command

    player = typer.Typer(
        context_settings={"auto_envvar_prefix": "OUTCRY_REPLAY"}, pretty_exceptions_enable=False, add_completion=False
    )
    player.command()(command)
    player(context.args, prog_name="outcry replay")
