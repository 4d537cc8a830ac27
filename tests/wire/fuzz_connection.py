"""A target for atheris, which is not among the dependencies: `python -m tests.wire.fuzz_connection [CORPUS] [FLAGS]`.

The first byte of an input says which end is fuzzed and how the rest is cut. The layer above is played: it answers
what it is asked, gives back half of the windows, and resets a stream now and then.
"""

from __future__ import annotations

import sys

from tests.wire.cores import ANSWER, REQUEST, in_parts
from wire.connection import Connection, NoStreams
from wire.events import ConnectionFailed, DataReceived, Event, HeadersReceived
from wire.frames import PREFACE, ErrorCode, settings_frame
from wire.limits import Limits

LIMITS = Limits(streams=8, stream_window=4_096, connection_window=65_536, nuisances=200, resets=50, header_list=2_048)


class Fuzzed:
    """A core and a simple layer above it. What must hold after every piece is asserted."""

    def __init__(self, *, is_client: bool) -> None:
        self.core = Connection(is_client=is_client, limits=LIMITS)
        self.said = b""
        self.heard = 0
        self.core.start()
        for _ in range(3 if is_client else 0):
            stream = self.core.open_stream()
            self.core.send_headers(stream, REQUEST)
            self.core.send_data(stream, b"question" * 100)

    def receive(self, piece: bytes) -> None:
        failed = self.core.failed
        events = self.core.receive(piece, 0.0)
        assert not (failed and events)
        assert self.core.failed == (failed or isinstance((events or [None])[-1], ConnectionFailed))
        for event in in_parts(events):
            self.hear(event)
        self.said += self.core.take()
        self.check()

    def hear(self, event: Event) -> None:
        self.heard += 1
        core = self.core
        if isinstance(event, DataReceived) and event.size and self.heard % 2:
            core.consumed(event.stream, event.size)
        elif isinstance(event, HeadersReceived) and not core.is_client:
            if self.heard % 7 == 0:
                core.reset(event.stream, ErrorCode.CANCEL)
            core.respond(event.stream, ANSWER, b"answer" * 50)
        elif isinstance(event, HeadersReceived) and self.heard % 3 == 0:
            try:
                core.send_headers(core.open_stream(), REQUEST, end_stream=True)
            except NoStreams:
                core.ping(b"anybody?")

    def check(self) -> None:
        core = self.core
        assert len(core.pending) < 16_384 + 9
        assert core.block is None or core.block.size <= LIMITS.header_block + 16_384
        assert core.is_client or len(core.streams) <= LIMITS.streams
        assert len(core.turns) <= len(core.streams)
        assert core.decoder.size <= 4_096
        assert core.failed or core.receive_window + core.receive_credit <= LIMITS.connection_window
        for stream in core.streams.values():
            assert not stream.closed
            assert not (stream.local_closed and stream.remote_closed)
            assert stream.queued == sum(map(len, stream.outbox or ()))
            assert not stream.queued or stream.send_window <= 0 or core.window <= 0


def fuzz(data: bytes) -> None:
    if not data:
        return
    fuzzed = Fuzzed(is_client=bool(data[0] & 1))
    speech = data[1:]
    if data[0] & 2:
        speech = (b"" if data[0] & 1 else PREFACE) + settings_frame({}) + speech
    piece = (data[0] >> 2) * 8 or len(speech) or 1
    for at in range(0, len(speech), piece):
        fuzzed.receive(speech[at : at + piece])


def main() -> None:
    import atheris

    with atheris.instrument_imports():
        import wire.connection  # noqa: F401
    atheris.instrument_all()
    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
