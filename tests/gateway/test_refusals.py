"""Refusals as gRPC statuses: one table, two kinds of details."""

from __future__ import annotations

import pytest
from google.rpc import error_details_pb2

from gateway.refusals import Refused, status, timed_out
from outcry import v1
from outcry.v1.statuses import GRPC_CODE


@pytest.mark.parametrize("reason", [n for n in v1.RejectReason.values() if n])
def test_a_refusal_s_status_is_the_one_in_the_table(reason: int) -> None:
    answer = status(Refused(reason, "words"))
    info = error_details_pb2.ErrorInfo()
    assert answer.details[0].Unpack(info)
    assert (answer.code, info.reason, answer.message) == (GRPC_CODE[reason], v1.RejectReason.Name(reason), "words")


def test_details_travel_as_words_and_typed() -> None:
    answer = status(timed_out("settlement", "unknown", 5_000_000_000))
    info, reject = error_details_pb2.ErrorInfo(), v1.Reject()
    assert answer.details[0].Unpack(info)
    assert answer.details[1].Unpack(reject)
    assert dict(info.metadata) == {"timeout_ms": "5000", "stage": "settlement", "outcome": "unknown"}
    assert reject.details["timeout_ms"].count == 5000
    assert reject.details["stage"].text == "settlement"
