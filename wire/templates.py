"""Requests without their timeouts: most requests of a client differ in nothing else.

A client that says how long it will wait sends a block of its own with each call. What that shares with those before it
is its template: whether its fields are in order, and what the layer above has made of them.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from wire.fields import PSEUDO_FIELDS, Fields, Verdict, request_verdict
from wire.hpack import Block
from wire.hpack.static import field_size
from wire.timeouts import decode_timeout

TIMEOUT = b"grpc-timeout"
TEMPLATES_KEPT = 1_024  # of a server
TEMPLATE_BYTES = 4_096  # as HPACK counts; more are not worth their memory


class Template(Struct):
    """`memo` belongs to the layer above."""

    fields: Fields
    verdict: Verdict
    memo: Any = None


class Templates:
    """Those of one server, for all of its connections."""

    def __init__(self) -> None:
        self.known: dict[Fields, Template] = {}
        self.place = 0  # where the timeout stood last

    def fit(self, block: Block) -> None:
        """Give a block its template and its timeout, and its verdict where these two are enough to know it.

        A timeout that is none leaves it without: such a request can only be refused.
        """
        fields, place = block.fields, self.place
        if place >= len(fields) or fields[place][0] != TIMEOUT:
            place = self.place = place_of_timeout(fields)
        if place == len(fields):
            template = self.of(fields)
        else:
            try:
                block.timeout_s = decode_timeout(fields[place][1])
            except ValueError:
                return
            template = self.of(fields[:place] + fields[place + 1 :])
        block.template = template
        if place >= PSEUDO_FIELDS:  # what is in order without it has no pseudo-header behind it
            block.as_head = template.verdict

    def of(self, fields: Fields) -> Template:
        template = self.known.get(fields)
        if template is None:
            template = Template(fields, request_verdict(fields))
            if sum(map(field_size, fields)) <= TEMPLATE_BYTES:
                if len(self.known) >= TEMPLATES_KEPT:
                    self.known.clear()
                self.known[fields] = template
        return template


def place_of_timeout(fields: Fields) -> int:
    """Behind the last field where there is none."""
    for place, (name, _) in enumerate(fields):
        if name == TIMEOUT:
            return place
    return len(fields)
