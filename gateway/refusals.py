"""Refusals that are the service's own, and the one way in which any refusal becomes a gRPC status.

A business refusal is part of an outcome and never comes here. What does come: authentication, requests that do not
parse, overload, deadlines, and queries of what is not there. The status of each code is read from the contract's
table; the details travel twice, as google.rpc.ErrorInfo for everybody and as outcry.v1.Reject with typed numbers.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, cast

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from outcry import v1
from outcry.v1.statuses import GRPC_CODE

DOMAIN = "outcry"
RETRY_AFTER_S = 1  # where nothing better is known
LISTED_IN_STATUS = 25  # of a list: a status travels in metadata, of which clients take 8 KiB

DetailValue = int | str | list[str]
Fields = tuple[tuple[str, str], ...]  # of metadata


class Refused(Exception):
    """A code of the contract, words for a person, and details: integers are plain counts, strings are words.

    `fields` are what a gRPC status says besides, in its metadata.
    """

    def __init__(
        self,
        reason: v1.RejectReason,
        message: str,
        details: Mapping[str, DetailValue] | None = None,
        fields: Fields = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.fields = fields

    def reject(self) -> v1.Reject:
        details = {name: detail(value) for name, value in self.details.items()}
        return v1.Reject(reason=self.reason, message=self.message, details=details)


def detail(value: DetailValue) -> v1.Detail:
    if isinstance(value, int):
        return v1.Detail(count=value)
    if isinstance(value, str):
        return v1.Detail(text=value)
    return v1.Detail(texts=v1.Detail.Texts(values=value))


def shortened(refused: Refused) -> Refused:
    """The refusal with its lists cut to what metadata can carry."""
    details = {
        name: value[:LISTED_IN_STATUS] if isinstance(value, list) else value for name, value in refused.details.items()
    }
    return Refused(refused.reason, refused.message, details)


def invalid_request(message: str, field: str) -> Refused:
    return Refused(v1.INVALID_REQUEST, message, {"field": field})


def timed_out(stage: str, outcome: str, within_ns: int) -> Refused:
    """The deadline has passed: `outcome` is `not_executed`, or `unknown` where the commit is not finished.

    `within_ns` is the time that there was, or that there would have been where it ended before the command came.
    """
    details: dict[str, DetailValue] = {"timeout_ms": within_ns // 1_000_000, "stage": stage, "outcome": outcome}
    return Refused(v1.PROCESSING_TIMEOUT, "Order processing exceeded time limit", details)


def failed(stage: str, outcome: str, reference: str) -> Refused:
    details: dict[str, DetailValue] = {"support_reference": reference, "stage": stage, "outcome": outcome}
    return Refused(v1.INTERNAL_ERROR, "Internal system error during order processing", details)


def overloaded(message: str, **details: DetailValue) -> Refused:
    """Not now: it may be tried again after a while."""
    return Refused(v1.CIRCUIT_BREAKER_OPEN, message, {**details, "retry_after": RETRY_AFTER_S})


def unavailable(message: str) -> Refused:
    return Refused(v1.SERVICE_UNAVAILABLE, message)


def support_reference() -> str:
    """A name for one failure, for the client to quote and the operator to find in the log."""
    return f"ERR_{datetime.now(UTC):%Y%m%d_%H%M%S}_{secrets.token_hex(4)}"


def status(refused: Refused) -> status_pb2.Status:
    """The google.rpc.Status of a refusal: code, message, ErrorInfo, the typed Reject, and RetryInfo where it says when
    to come back."""
    words = {name: str(value) for name, value in refused.details.items() if not isinstance(value, list)}
    info = error_details_pb2.ErrorInfo(reason=v1.RejectReason.Name(refused.reason), domain=DOMAIN, metadata=words)
    messages: list[Message] = [info, shortened(refused).reject()]
    if isinstance(seconds := refused.details.get("retry_after"), int):
        messages.append(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds)))
    details = []
    for message in messages:
        packed = any_pb2.Any()
        packed.Pack(message)
        details.append(packed)
    return status_pb2.Status(code=GRPC_CODE[refused.reason], message=refused.message, details=details)


def to_status(refused: Refused) -> grpc.Status:
    answer: Any = rpc_status.to_status(status(refused))
    if refused.fields:
        answer = answer._replace(trailing_metadata=(*answer.trailing_metadata, *refused.fields))
    return cast("grpc.Status", answer)


async def abort(context: grpc.aio.ServicerContext[Any, Any], refused: Refused) -> NoReturn:
    answer = to_status(refused)
    await context.abort(answer.code, answer.details, answer.trailing_metadata)
