"""Requests that differ from those before them in their timeout alone."""

from __future__ import annotations

import pytest
from hpack import Encoder
from hypothesis import example, given
from hypothesis import strategies as st

from tests.wire.cores import REQUEST_FIELDS, data, headers, server
from wire.events import HeadersReceived
from wire.fields import GOOD, request_verdict
from wire.frames import ErrorCode
from wire.hpack import Block
from wire.hpack.static import Field
from wire.requests import TIMEOUT_INVALID, read_head
from wire.templates import TEMPLATE_BYTES, TEMPLATES_KEPT, TIMEOUT, Templates
from wire.timeouts import decode_timeout

LATE_PSEUDO = (*REQUEST_FIELDS[:3], (TIMEOUT, b"1S"), REQUEST_FIELDS[3])
FIELDS = st.sampled_from(
    [*REQUEST_FIELDS, (b"te", b"trailers"), (b"x-key", b"k"), (b"Bad", b""), (TIMEOUT, b"1S"), (TIMEOUT, b"soon")]
)


def fitted(templates: Templates, fields: tuple[Field, ...]) -> Block:
    block = Block(fields)
    templates.fit(block)
    return block


@example([LATE_PSEUDO])
@example([(*REQUEST_FIELDS[:3], REQUEST_FIELDS[3], (TIMEOUT, b"1S")), LATE_PSEUDO])
@given(st.lists(st.lists(FIELDS | st.just(REQUEST_FIELDS[0])).map(tuple) | st.permutations(LATE_PSEUDO).map(tuple)))
def test_a_verdict_that_is_known_from_the_template_is_that_of_the_fields(requests: list[tuple[Field, ...]]) -> None:
    templates = Templates()
    for fields in requests:
        block = fitted(templates, fields)
        assert block.as_head in (None, request_verdict(fields))
        timeouts = [value for name, value in fields if name == TIMEOUT]
        if block.template is None:
            assert b"soon" in timeouts
        elif not timeouts:
            assert (block.template.fields, block.timeout_s) == (fields, None)
        else:
            place = len(fields) - 1 - fields[::-1].index((TIMEOUT, b"1S"))
            assert block.timeout_s == 1
            assert sorted((*block.template.fields, fields[place])) == sorted(fields)


def test_each_has_its_own_timeout_and_they_share_a_template() -> None:
    templates = Templates()
    blocks = [fitted(templates, (*REQUEST_FIELDS, (TIMEOUT, b"%dm" % number))) for number in range(3)]
    without = fitted(templates, REQUEST_FIELDS)
    assert [block.timeout_s for block in (*blocks, without)] == [0.0, 0.001, 0.002, None]
    assert {id(block.template) for block in (*blocks, without)} == {id(without.template)}
    assert {id(block.as_head) for block in blocks} == {id(GOOD)}


def test_a_second_timeout_is_refused_wherever_the_last_request_had_its_own() -> None:
    for seen in ((*REQUEST_FIELDS, (TIMEOUT, b"2S")), (*REQUEST_FIELDS, (b"te", b"trailers"), (TIMEOUT, b"2S"))):
        templates = Templates()
        fitted(templates, seen)
        block = fitted(templates, (*REQUEST_FIELDS, (TIMEOUT, b"1S"), (TIMEOUT, b"3S")))
        assert read_head(block.template.fields) is TIMEOUT_INVALID


def test_only_so_many_are_kept_and_no_large_one() -> None:
    templates = Templates()
    for number in range(TEMPLATES_KEPT + 1):
        fitted(templates, (*REQUEST_FIELDS, (b"x-number", b"%d" % number)))
    assert len(templates.known) == 1
    fitted(templates, (*REQUEST_FIELDS, (b"x-word", bytes(TEMPLATE_BYTES))))
    assert len(templates.known) == 1


def test_a_request_whose_timeout_is_new_to_the_table_is_taken_in_one_step() -> None:
    core, encoder = server(), Encoder()
    for number in range(200):  # more than the table holds
        block = encoder.encode([*REQUEST_FIELDS, (TIMEOUT, b"%du" % (30_000_000 - number)), (b"te", b"trailers")])
        stream_id = 2 * number + 1
        (event,) = core.receive(headers(stream_id, block) + data(stream_id, end_stream=True), 0.0)
        assert isinstance(event, HeadersReceived)
        assert event.data == b"data"
        assert event.block.timeout_s == decode_timeout(b"%du" % (30_000_000 - number))


@pytest.mark.parametrize("late", [REQUEST_FIELDS[3], (b"te", b"gzip"), (b"connection", b"close")])
def test_one_that_is_not_in_order_is_reset_whatever_its_timeout(late: Field) -> None:
    core, encoder = server(), Encoder()
    fields = (*REQUEST_FIELDS[:3], (b"x-key", b"k"))
    for number in range(3):
        block = encoder.encode([*fields, (TIMEOUT, b"%dm" % number), late])
        (event,) = core.receive(headers(2 * number + 1, block), 0.0)
        assert event.code is ErrorCode.PROTOCOL_ERROR
