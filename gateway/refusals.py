"""Refusals that are the service's own, and the one way in which any refusal becomes a gRPC status.

A business refusal is part of an outcome and never comes here. What does come: authentication, requests that do not
parse, overload, deadlines, and queries of what is not there. The status of each code is read from the contract's
table; the details travel twice, as google.rpc.ErrorInfo for everybody and as outcry.v1.Reject with typed numbers.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import Any, NoReturn, TypeVar

import grpc
import structlog
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from outcry import v1
from outcry.v1.statuses import GRPC_CODE

TIMEOUT_MS = 5000
DOMAIN = "outcry"

log = structlog.get_logger()

DetailValue = int | str | list[str]
Answer = TypeVar("Answer")


class Refused(Exception):
    """A code of the contract, words for a person, and details: integers are plain counts, strings are words."""

    def __init__(self, reason: v1.RejectReason, message: str, details: Mapping[str, DetailValue] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.details = details or {}

    def reject(self) -> v1.Reject:
        details = {name: detail(value) for name, value in self.details.items()}
        return v1.Reject(reason=self.reason, message=self.message, details=details)


def detail(value: DetailValue) -> v1.Detail:
    if isinstance(value, int):
        return v1.Detail(count=value)
    if isinstance(value, str):
        return v1.Detail(text=value)
    return v1.Detail(texts=v1.Detail.Texts(values=value))


def invalid_request(message: str, field: str) -> Refused:
    return Refused(v1.INVALID_REQUEST, message, {"field": field})


def timed_out(stage: str, outcome: str) -> Refused:
    """The deadline has passed: `outcome` is `not_executed`, or `unknown` where the commit is not finished."""
    details: dict[str, DetailValue] = {"timeout_ms": TIMEOUT_MS, "stage": stage, "outcome": outcome}
    return Refused(v1.PROCESSING_TIMEOUT, "Order processing exceeded time limit", details)


def failed(stage: str, outcome: str, reference: str) -> Refused:
    details: dict[str, DetailValue] = {"support_reference": reference, "stage": stage, "outcome": outcome}
    return Refused(v1.INTERNAL_ERROR, "Internal system error during order processing", details)


def overloaded(message: str, **details: DetailValue) -> Refused:
    return Refused(v1.CIRCUIT_BREAKER_OPEN, message, details)


def unavailable(message: str) -> Refused:
    return Refused(v1.SERVICE_UNAVAILABLE, message)


def support_reference() -> str:
    """A name for one failure, for the client to quote and the operator to find in the log."""
    return f"ERR_{datetime.now(UTC):%Y%m%d_%H%M%S}_{secrets.token_hex(4)}"


def status(refused: Refused) -> status_pb2.Status:
    """The google.rpc.Status of a refusal: code, message, ErrorInfo and the typed Reject."""
    words = {
        name: ",".join(value) if isinstance(value, list) else str(value) for name, value in refused.details.items()
    }
    info = error_details_pb2.ErrorInfo(reason=v1.RejectReason.Name(refused.reason), domain=DOMAIN, metadata=words)
    details = []
    for message in (info, refused.reject()):
        packed = any_pb2.Any()
        packed.Pack(message)
        details.append(packed)
    return status_pb2.Status(code=GRPC_CODE[refused.reason], message=refused.message, details=details)


async def abort(context: grpc.aio.ServicerContext[Any, Any], refused: Refused) -> NoReturn:
    answer = rpc_status.to_status(status(refused))
    await context.abort(answer.code, answer.details, answer.trailing_metadata)


def unary(
    method: Callable[[Any, Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Answer]],
) -> Callable[[Any, Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Answer]]:
    """A unary RPC whose refusals become statuses, and whose failures tell nothing of the inside."""

    @wraps(method)
    async def answer(servicer: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Answer:
        try:
            return await method(servicer, request, context)
        except Refused as refused:
            await abort(context, refused)
        except Exception:  # the edge: whatever it was, the client gets a reference and the log gets the rest
            reference = support_reference()
            log.exception("rpc_failed", method=method.__qualname__, reference=reference)
            await abort(context, failed("gateway", "unknown", reference))

    return answer


class Streams:
    """The streams that are open, so that a stopping server can end them instead of waiting for their readers."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self.closed = False

    def close(self) -> None:
        self.closed = True
        for task in self.tasks:
            task.cancel()


def streaming(
    method: Callable[[Any, Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[None]],
) -> Callable[[Any, Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[None]]:
    """A streaming RPC of a servicer that has `streams`: as `unary`, and ended when the server stops."""

    @wraps(method)
    async def serve(servicer: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        streams: Streams = servicer.streams
        task = asyncio.current_task()
        assert task is not None
        streams.tasks.add(task)
        try:
            await method(servicer, request, context)
        except Refused as refused:
            await abort(context, refused)
        except asyncio.CancelledError:
            if not streams.closed:
                raise
            await abort(context, unavailable("The engine is stopping"))
        except Exception:  # the edge, as in `unary`
            reference = support_reference()
            log.exception("rpc_failed", method=method.__qualname__, reference=reference)
            await abort(context, failed("gateway", "unknown", reference))
        finally:
            streams.tasks.discard(task)

    return serve
