"""Questions that more than one servicer asks of the sequencer."""

from __future__ import annotations

from collections.abc import Callable

from engine.views import BookView
from gateway.codec import word
from gateway.refusals import Refused, invalid_request
from gateway.sequencer import Sequencer
from outcry import v1

DEPTH_LIMIT = 1_000  # levels a side in one book


def unknown_instrument(sequencer: Sequencer, instrument_id: str) -> Refused:
    details: dict[str, int | str | list[str]] = {
        "requested_instrument": instrument_id,
        "available_instruments": sorted(sequencer.exchange.instruments),
    }
    return Refused(v1.INVALID_INSTRUMENT, f"Unknown instrument: {instrument_id}", details)


def depth(request: v1.GetOrderBookRequest) -> int:
    """The levels a side that a book may have. Refused where they are negative."""
    if request.depth < 0:
        raise invalid_request("depth is negative", "depth")
    return min(request.depth or DEPTH_LIMIT, DEPTH_LIMIT)


def book(sequencer: Sequencer, request: v1.GetOrderBookRequest) -> Callable[[], tuple[BookView, int]]:
    """The book, and the time it is true at. Refused where there is none."""
    levels = depth(request)
    instrument_id = word(request.instrument_id, "instrument_id")

    def question() -> tuple[BookView, int]:
        view = sequencer.exchange.book(instrument_id, levels)
        if view is None:
            raise unknown_instrument(sequencer, instrument_id)
        return view, sequencer.now_ns()

    return question
