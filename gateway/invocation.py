"""How the commands beside the engine are started: settings from flags and `OUTCRY_...` variables, refused in one line;
and how they write a time."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

import structlog
from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

S = TypeVar("S", bound=BaseSettings)
UNUSABLE = 2  # the exit status where what was asked for cannot be done at all
SECOND_NS = 10**9


def configuration(name: str) -> SettingsConfigDict:
    return SettingsConfigDict(
        env_prefix="OUTCRY_",
        frozen=True,
        extra="ignore",
        cli_prog_name=f"outcry {name}",
        cli_kebab_case=True,
        cli_implicit_flags=True,
    )


def settings_of(kind: type[S]) -> S:
    """The settings of this process. They are refused in one line that names the flag; logs are left out."""
    structlog.configure(processors=[drop])
    try:
        return CliApp.run(kind)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        name = str(first["loc"][0]).replace("_", "-")
        refuse(kind, f"--{name}: {first['msg'].removeprefix('Value error, ')}")


def drop(*_: Any) -> NoReturn:
    raise structlog.DropEvent


def refuse(kind: type[BaseSettings], words: str) -> NoReturn:
    print(f"{kind.model_config.get('cli_prog_name')}: {words}", file=sys.stderr, flush=True)
    sys.exit(UNUSABLE)


def moment(time_ns: int) -> str:
    """A time, to the nanosecond, as ISO 8601 has it."""
    seconds, nanoseconds = divmod(time_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
