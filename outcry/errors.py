"""What can go wrong, as exceptions a bot can tell apart.

Every one carries a code of the contract, words for a person and details. What matters to a bot is which of three things
happened: the order was refused (`OrderRejected`), it was not executed and may be sent again (`RateLimited`,
`Unavailable`), or nobody can say (`OutcomeUnknown`): then ask for the order by its client order id, or send it again
under the same one, which cannot execute it twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

DetailValue = Decimal | int | str | list[str]
Details = dict[str, DetailValue]


class ExchangeError(Exception):
    """A refusal or failure. In `details` amounts are Decimal, counts int, words str, lists list[str]."""

    def __init__(self, code: str, message: str, details: Mapping[str, DetailValue] | None = None) -> None:
        super().__init__(code, message, details)
        self.code = code
        self.message = message
        self.details: Details = dict(details or {})

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class OrderRejected(ExchangeError):
    """The exchange judged the order, cancel or replace, and refused it. Nothing was executed."""


class OutcomeUnknown(ExchangeError):
    """The command was sent, and whether it was executed cannot be known from here.

    Send it again under the same client order id: that gives the first result, or executes it now, and never twice.

        try:
            order = client.buy("AAPL", 1, "150")
        except OutcomeUnknown as unknown:
            order = client.buy("AAPL", 1, "150", client_order_id=unknown.client_order_id)

    Or ask: `client.order(client_order_id=unknown.client_order_id)`. NotFound is final once the order's
    `valid_until_ns` has passed; without one it may still be on its way.
    """

    @property
    def client_order_id(self) -> str | None:
        """The order's, also where the client made it up; None where the command was not about one under such a name."""
        name = self.details.get("client_order_id")
        return name if isinstance(name, str) else None


class RateLimited(ExchangeError):
    """Too many requests; `details["retry_after"]` says when to come back. Nothing was executed."""


class Unauthenticated(ExchangeError):
    """The API key is missing or wrong."""


class PermissionDenied(ExchangeError):
    """The account may not do this."""


class NotFound(ExchangeError):
    """There is no such thing, or it is another account's."""


class InvalidRequest(ExchangeError):
    """The request does not parse, or asks for something that is not there to ask for."""


class SequenceOutOfRange(ExchangeError):
    """A feed cannot resume there: `details` name the `first` and `last` number there are."""


class Unavailable(ExchangeError):
    """The service cannot be reached, is overloaded or was too late. Nothing was executed: retrying is safe."""


BY_CODE: dict[str, type[ExchangeError]] = {
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "INVALID_REQUEST": InvalidRequest,
    "METHOD_NOT_ALLOWED": InvalidRequest,
    "PAYLOAD_TOO_LARGE": InvalidRequest,
    "NOT_FOUND": NotFound,
    "ORDER_NOT_FOUND": NotFound,
    "SEQUENCE_OUT_OF_RANGE": SequenceOutOfRange,
    "RATE_LIMIT_EXCEEDED": RateLimited,
    "PROCESSING_TIMEOUT": Unavailable,
    "SERVICE_UNAVAILABLE": Unavailable,
    "CIRCUIT_BREAKER_OPEN": Unavailable,
    "INTERNAL_ERROR": ExchangeError,
}


def exchange_error(
    code: str, message: str, details: Mapping[str, DetailValue], otherwise: type[ExchangeError] = OrderRejected
) -> ExchangeError:
    """The exception for a code: by the table for the service's own, and `otherwise` for the business's reasons."""
    kind = OutcomeUnknown if details.get("outcome") == "unknown" else BY_CODE.get(code, otherwise)
    return kind(code, message, details)
