"""From a failed call to an exception: the exchange's own words first, then the bare status.

The exchange sends google.rpc.Status with an `outcry.v1.Reject`, whose numbers are typed, and a google.rpc.ErrorInfo. A
status without them comes from below it: the link, a proxy, the library. Then what counts is whether the command may
have been executed: only where the call certainly never left is it safe to say no.
"""

from __future__ import annotations

from typing import Protocol, cast

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from outcry import v1
from outcry.decoding import rejection
from outcry.errors import Details, ExchangeError, InvalidRequest, OutcomeUnknown, Unavailable, exchange_error

CODES = {
    grpc.StatusCode.UNAUTHENTICATED: "UNAUTHENTICATED",
    grpc.StatusCode.PERMISSION_DENIED: "PERMISSION_DENIED",
    grpc.StatusCode.INVALID_ARGUMENT: "INVALID_REQUEST",
    grpc.StatusCode.NOT_FOUND: "NOT_FOUND",
    grpc.StatusCode.UNIMPLEMENTED: "METHOD_NOT_ALLOWED",
    grpc.StatusCode.OUT_OF_RANGE: "SEQUENCE_OUT_OF_RANGE",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "CIRCUIT_BREAKER_OPEN",
    grpc.StatusCode.UNAVAILABLE: "SERVICE_UNAVAILABLE",
    grpc.StatusCode.DEADLINE_EXCEEDED: "PROCESSING_TIMEOUT",
}
# After these a command may have been executed.
INCONCLUSIVE = {"SERVICE_UNAVAILABLE", "PROCESSING_TIMEOUT", "INTERNAL_ERROR", "CIRCUIT_BREAKER_OPEN"}
# What grpc says when there was no connection to send anything on.
NEVER_SENT = ("failed to connect to all addresses", "DNS resolution failed", "Domain name not found")
# What servers say to a call before it begins. Where they say that they are full in other words, it may have been under
# way: an executed order's answer, too, may find no room.
TURNED_AWAY = (
    "Concurrent RPC limit exceeded",
    "Too much waits to be read or finished",
    "received metadata size exceeds",
)
# What it says when the answer does not fit the link: the command has been executed.
ANSWER_TOO_LARGE = ("SERVER: Sent message larger than max", "CLIENT: Received message larger than max")


class FailedCall(Protocol):
    """What grpc.RpcError and grpc.aio.AioRpcError have in common."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...


def exception(call: FailedCall, *, changes: bool, timeout_s: float | None, client_order_id: str = "") -> ExchangeError:
    """The exception for a failed call. `changes`: whether it was a command, which may have been executed; then
    `client_order_id` is the order's to ask for."""
    error = told(call) or untold(call, changes=changes, timeout_s=timeout_s)
    if isinstance(error, OutcomeUnknown) and client_order_id:
        error.details["client_order_id"] = client_order_id
    return error


def told(call: FailedCall) -> ExchangeError | None:
    """The exchange's own refusal, where the status carries one."""
    status = rich_status(call)
    if status is None:
        return None
    for kind in (v1.Reject, ErrorInfo):
        message = kind()
        for detail in status.details:
            if detail.Unpack(message):
                return (
                    rejection(message, InvalidRequest) if isinstance(message, v1.Reject) else described(message, status)
                )
    return None


def rich_status(call: FailedCall) -> Status | None:
    try:
        return rpc_status.from_call(cast("grpc.Call", call))
    except ValueError:  # it contradicts the call's own status, so it is not the exchange's
        return None


def described(info: ErrorInfo, status: Status) -> ExchangeError:
    return exchange_error(info.reason, status.message, dict(info.metadata), InvalidRequest)


def untold(call: FailedCall, *, changes: bool, timeout_s: float | None) -> ExchangeError:
    """What a bare status means: its code, and for a command whether it may have been executed."""
    message = call.details() or call.code().name
    code = "PAYLOAD_TOO_LARGE" if "larger than max" in message else CODES.get(call.code(), "INTERNAL_ERROR")
    details: Details = {}
    if changes and message.startswith(ANSWER_TOO_LARGE):
        code = "INTERNAL_ERROR"
    if code == "PROCESSING_TIMEOUT":
        message = "No answer within the time limit"
        details["timeout_ms"] = round((timeout_s or 0) * 1000)
    if code not in INCONCLUSIVE:
        return exchange_error(code, message, details)
    details["stage"] = "gateway"
    if changes and not message.startswith(NEVER_SENT + TURNED_AWAY):
        return OutcomeUnknown(code, message, {**details, "outcome": "unknown"})
    return exchange_error(code, message, {**details, "outcome": "not_executed"})


def session_stalled(timeout_s: float) -> OutcomeUnknown:
    """What was sent on a session has not been answered in time."""
    details: Details = {"timeout_ms": round(timeout_s * 1000), "stage": "gateway", "outcome": "unknown"}
    return OutcomeUnknown("PROCESSING_TIMEOUT", "The session's last instructions were not answered in time", details)


def session_ended() -> Unavailable:
    return Unavailable("SERVICE_UNAVAILABLE", "The session has ended")
