"""Failed calls become exceptions: the exchange's own words first, and where there are none, what may have happened."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import cast

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from gateway.refusals import Refused, status
from outcry import errors, v1
from outcry.decoding import order_result, rejection
from outcry.failures import exception


class Call:
    """A failed call, as grpc and grpc.aio tell of it."""

    def __init__(self, code: grpc.StatusCode, details: str, rich: status_pb2.Status | None = None) -> None:
        self._code = code
        self._details = details
        self._trailing = rpc_status.to_status(rich).trailing_metadata if rich else ()

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> object:
        return self._trailing


def told(refused: Refused) -> errors.ExchangeError:
    rich = status(refused)
    call = Call(rpc_status.to_status(rich).code, rich.message, rich)
    return exception(call, changes=True, timeout_s=5)


def reason(code: str) -> v1.RejectReason:
    return cast("v1.RejectReason", v1.RejectReason.Value(code))


def bare(code: grpc.StatusCode, details: str = "words", *, changes: bool = True) -> errors.ExchangeError:
    return exception(Call(code, details), changes=changes, timeout_s=5)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("UNAUTHENTICATED", errors.Unauthenticated),
        ("PERMISSION_DENIED", errors.PermissionDenied),
        ("INVALID_REQUEST", errors.InvalidRequest),
        ("INVALID_INSTRUMENT", errors.InvalidRequest),
        ("NOT_FOUND", errors.NotFound),
        ("ORDER_NOT_FOUND", errors.NotFound),
        ("RATE_LIMIT_EXCEEDED", errors.RateLimited),
        ("SERVICE_UNAVAILABLE", errors.Unavailable),
        ("CIRCUIT_BREAKER_OPEN", errors.Unavailable),
        ("SEQUENCE_OUT_OF_RANGE", errors.SequenceOutOfRange),
    ],
)
def test_each_code_of_the_service_has_its_exception(code: str, kind: type[errors.ExchangeError]) -> None:
    error = told(Refused(reason(code), "words", {}))
    assert type(error) is kind
    assert (error.code, error.message, error.details) == (code, "words", {})
    assert str(error) == f"{code}: words"


def test_details_keep_their_types() -> None:
    error = told(Refused(v1.INVALID_INSTRUMENT, "words", {"count": 3, "word": "w", "list": ["a", "b"]}))
    assert error.details == {"count": 3, "word": "w", "list": ["a", "b"]}
    amount = v1.Reject(reason=v1.INSUFFICIENT_FUNDS, details={"required_balance": v1.Detail(amount=1_500_000_000)})
    assert rejection(amount).details == {"required_balance": Decimal("1.5")}


def test_error_info_alone_is_understood() -> None:
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.ErrorInfo(reason="RATE_LIMIT_EXCEEDED", metadata={"retry_after": "3"}))
    rich = status_pb2.Status(code=8, message="slow down", details=[packed])
    error = exception(Call(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", rich), changes=True, timeout_s=5)
    assert type(error) is errors.RateLimited
    assert error.details == {"retry_after": "3"}


def test_a_deadline_that_was_refused_before_execution_may_be_tried_again() -> None:
    error = told(Refused(v1.PROCESSING_TIMEOUT, "late", {"outcome": "not_executed"}))
    assert type(error) is errors.Unavailable


@pytest.mark.parametrize("code", ["PROCESSING_TIMEOUT", "INTERNAL_ERROR"])
def test_what_the_exchange_itself_cannot_say_is_unknown(code: str) -> None:
    error = told(Refused(reason(code), "words", {"outcome": "unknown", "stage": "settlement"}))
    assert type(error) is errors.OutcomeUnknown
    assert error.code == code


def test_a_deadline_that_passes_leaves_a_command_unknown() -> None:
    error = bare(grpc.StatusCode.DEADLINE_EXCEEDED)
    assert type(error) is errors.OutcomeUnknown
    assert error.code == "PROCESSING_TIMEOUT"
    assert error.details == {"timeout_ms": 5000, "stage": "gateway", "outcome": "unknown"}


@pytest.mark.parametrize("words", ["Socket closed", "recvmsg:Connection reset by peer", "GOAWAY received"])
def test_a_link_lost_under_a_command_leaves_it_unknown(words: str) -> None:
    error = bare(grpc.StatusCode.UNAVAILABLE, words)
    assert type(error) is errors.OutcomeUnknown
    assert error.details["outcome"] == "unknown"


def test_a_command_that_never_left_was_not_executed() -> None:
    error = bare(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: refused")
    assert type(error) is errors.Unavailable
    assert error.details["outcome"] == "not_executed"


@pytest.mark.parametrize("words", ["Concurrent RPC limit exceeded!", "Too much waits to be read or finished"])
def test_a_command_that_was_turned_away_was_not_executed(words: str) -> None:
    error = bare(grpc.StatusCode.RESOURCE_EXHAUSTED, words)
    assert (type(error), error.details["outcome"]) == (errors.Unavailable, "not_executed")


@pytest.mark.parametrize("words", ["Too many answers wait to be read", "RST_STREAM with error code 11"])
def test_a_command_whose_answer_found_no_room_may_have_been_executed(words: str) -> None:
    error = bare(grpc.StatusCode.RESOURCE_EXHAUSTED, words)
    assert (type(error), error.details["outcome"]) == (errors.OutcomeUnknown, "unknown")


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_a_query_that_got_no_answer_has_executed_nothing(code: grpc.StatusCode) -> None:
    assert type(bare(code, changes=False)) is errors.Unavailable


def test_bare_statuses_have_the_contract_s_codes() -> None:
    assert type(bare(grpc.StatusCode.UNAUTHENTICATED)) is errors.Unauthenticated
    assert type(bare(grpc.StatusCode.UNIMPLEMENTED)) is errors.InvalidRequest
    assert bare(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!").code == "CIRCUIT_BREAKER_OPEN"
    too_large = bare(grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (9 vs. 4)")
    assert too_large.code == "PAYLOAD_TOO_LARGE"
    assert type(bare(grpc.StatusCode.INTERNAL)) is errors.OutcomeUnknown
    assert type(bare(grpc.StatusCode.INTERNAL, changes=False)) is errors.ExchangeError


@pytest.mark.parametrize("words", ["SERVER: Sent", "CLIENT: Received"])
def test_a_command_whose_answer_is_too_large_may_have_been_executed(words: str) -> None:
    error = bare(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{words} message larger than max (9 vs. 4)")
    assert type(error) is errors.OutcomeUnknown
    assert (error.code, error.details["outcome"]) == ("INTERNAL_ERROR", "unknown")
    query = bare(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{words} message larger than max (9 vs. 4)", changes=False)
    assert (type(query), query.code) == (errors.InvalidRequest, "PAYLOAD_TOO_LARGE")


def test_a_rich_status_that_contradicts_the_call_is_not_believed() -> None:
    rich = status(Refused(v1.NOT_FOUND, "words", {}))
    error = exception(Call(grpc.StatusCode.UNAVAILABLE, "proxied", rich), changes=False, timeout_s=5)
    assert type(error) is errors.Unavailable


def test_the_business_s_refusal_in_a_result_raises_order_rejected() -> None:
    result = v1.OrderResult(reject=v1.Reject(reason=v1.POSITION_LIMIT_EXCEEDED, message="too much"))
    with pytest.raises(errors.OrderRejected) as refusal:
        order_result(result)
    assert refusal.value.code == "POSITION_LIMIT_EXCEEDED"


def test_every_code_of_the_contract_has_an_exception_of_its_own_or_is_the_business_s() -> None:
    assert set(errors.BY_CODE) <= set(v1.RejectReason.keys())
    service = {name for name, number in v1.RejectReason.items() if 0 < number < 8 or number >= 90}
    assert service <= set(errors.BY_CODE)


def test_errors_survive_pickling() -> None:
    error = errors.OrderRejected("INVALID_PRICE", "words", {"limit": Decimal("1.5")})
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.message, again.details) == (
        errors.OrderRejected,
        "INVALID_PRICE",
        "words",
        {"limit": Decimal("1.5")},
    )
