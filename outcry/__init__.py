"""Outcry: an exchange you can run.

    import outcry

    with outcry.Client(api_key=KEY) as client:
        client.buy("AAPL", 10, "150.25")

`Client` and `AsyncClient` have the same methods. Everything here is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outcry import errors, models
    from outcry.async_client import AsyncClient
    from outcry.client import Client
    from outcry.errors import (
        ExchangeError,
        InvalidRequest,
        NotFound,
        OrderRejected,
        OutcomeUnknown,
        PermissionDenied,
        RateLimited,
        SequenceOutOfRange,
        Unauthenticated,
        Unavailable,
    )

    __version__: str

__all__ = [
    "AsyncClient",
    "Client",
    "ExchangeError",
    "InvalidRequest",
    "NotFound",
    "OrderRejected",
    "OutcomeUnknown",
    "PermissionDenied",
    "RateLimited",
    "SequenceOutOfRange",
    "Unauthenticated",
    "Unavailable",
    "__version__",
    "errors",
    "models",
]

HOMES = {"AsyncClient": "outcry.async_client", "Client": "outcry.client"}
MODULES = {"errors", "models"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        from importlib.metadata import version

        return version("outcry")
    if name in MODULES:
        return import_module(f"outcry.{name}")
    return getattr(import_module(HOMES.get(name, "outcry.errors")), name)


def __dir__() -> list[str]:
    return __all__
