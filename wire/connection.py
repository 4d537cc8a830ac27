"""An HTTP/2 connection without a socket (RFC 9113): bytes in, events and bytes out. Time is an argument.

    bytes ─▶ receive ─▶ inbound: frames ─▶ streams ─▶ events ─▶ the layer above
    bytes ◀─ take    ◀─ outbound: frames ◀─ windows ◀─ send_headers, send_data, respond, reset ...

A stream is idle until its HEADERS, open until each side has ended it, and forgotten when both have:

    idle ──HEADERS──▶ open ──END_STREAM of one side──▶ half-closed ──of the other──▶ closed
                       └────────────────RST_STREAM of either────────────────────────▶ closed

A fault of one stream resets it; a fault of the connection is answered by GOAWAY, and ends it. Priorities are read and
ignored. Blocks are sent without the dynamic table, so sending keeps no state that a lost stream could spoil.
"""

from __future__ import annotations

from wire.events import Event
from wire.faults import Fault, StreamFault
from wire.frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADER,
    HEADER_BYTES,
    HEADERS,
    LARGEST_STREAM_ID,
    PREFACE,
    SETTINGS,
    SMALLEST_MAX_FRAME,
    ErrorCode,
    Setting,
    settings_frame,
)
from wire.inbound import Inbound
from wire.streams import Stream


class NoStreams(Exception):
    """No stream can be opened: the peer allows no more at once, it is going away, or the numbers are used up."""


class Connection(Inbound):
    """One end of a connection. `streams` are those that are open, by number."""

    def start(self) -> None:
        """Queue what opens the connection."""
        limits = self.limits
        settings = {Setting.INITIAL_WINDOW_SIZE: limits.stream_window, Setting.MAX_HEADER_LIST_SIZE: limits.header_list}
        if self.is_client:
            self.out.append(PREFACE)
            settings[Setting.ENABLE_PUSH] = 0
        else:
            settings[Setting.MAX_CONCURRENT_STREAMS] = limits.streams
        self.out.append(settings_frame(settings))
        if limits.connection_window > DEFAULT_WINDOW:
            self.give_back(0, limits.connection_window - DEFAULT_WINDOW)

    def open_stream(self) -> Stream:
        """A stream of ours, to be begun with `send_headers`. NoStreams."""
        if self.failed or self.peer_going or self.last_opened + 2 > LARGEST_STREAM_ID:
            raise NoStreams("the connection takes no more streams")
        if len(self.streams) >= self.peer_max_streams:
            raise NoStreams("the peer allows no more streams at once")
        self.last_opened += 2
        stream = Stream(self.last_opened, self.initial_window, self.stream_window)
        self.streams[stream.id] = stream
        return stream

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What `data` says; `now` is in seconds. Never raises: after a fault of the connection the last event is it."""
        if self.failed:
            return []
        self.now = now
        events: list[Event] = []
        self.events = events
        buffer = self.pending + data if self.pending else data
        try:
            read = self.read_frames(buffer, self.read_preface(buffer) if self.awaits_preface else 0)
        except Fault as fault:
            self.fail(fault.code, fault.words)
            return events
        self.pending = buffer[read:]
        if self.begun:
            self.begun.clear()
        return events

    def read_preface(self, buffer: bytes) -> int:
        """How much of it there is, once it is whole."""
        if buffer[: len(PREFACE)] != PREFACE[: len(buffer)]:
            raise Fault(ErrorCode.PROTOCOL_ERROR, "this is no HTTP/2 client")
        if len(buffer) < len(PREFACE):
            return 0
        self.awaits_preface = False
        return len(PREFACE)

    def read_frames(self, buffer: bytes, at: int) -> int:
        """Read whole frames from `at` on; return where they end."""
        if self.awaits_preface:
            return 0
        end, readers, streams, unpack = len(buffer), self.readers, self.streams, HEADER.unpack_from
        cache, begun, last = self.decoder.cache, self.begun, end - HEADER_BYTES
        expects_any = self.expects_any
        while at <= last:
            lead, flags, stream_id = unpack(buffer, at)
            length, kind = lead >> 8, lead & 0xFF
            if length > SMALLEST_MAX_FRAME:
                raise Fault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            start = at + HEADER_BYTES
            stop = start + length
            if stop > end:
                break
            at = stop
            if not expects_any:
                self.require(kind, flags)
            try:
                # As most frames are: a whole block, all data of a request, data of an open stream; without padding.
                if kind == HEADERS and flags == END_HEADERS and 0 < stream_id <= LARGEST_STREAM_ID:
                    data = buffer[start:stop]
                    block = cache.get(data) or self.decode(data)
                    if not self.take_request(stream_id, block):
                        self.take_block(stream_id, block, False)
                elif kind == DATA and flags == END_STREAM and length and (event := begun.pop(stream_id, None)):
                    data = buffer[start:stop]
                    if not self.take_whole(event, data, length):
                        self.read_data(flags, stream_id, data)
                elif kind == DATA and flags <= END_STREAM and length and (stream := streams.get(stream_id)) is not None:
                    self.take_data(stream, buffer[start:stop], length, flags == END_STREAM)
                elif (reader := readers.get(kind)) is not None:
                    reader(flags, stream_id & LARGEST_STREAM_ID, buffer[start:stop])
                    expects_any = self.expects_any
                else:
                    self.suffer("unknown frames")
            except StreamFault as fault:
                self.reset_faulty(fault.stream, fault.code)
                expects_any = self.expects_any
        return at

    @property
    def expects_any(self) -> bool:
        """Whether any frame may come next."""
        return self.block is None and not self.expects_settings

    def require(self, kind: int, flags: int) -> None:
        """Between parts of a block nothing else may come; and the first frame of all is SETTINGS."""
        if self.block is not None and kind != CONTINUATION:
            raise Fault(ErrorCode.PROTOCOL_ERROR, "a block of header fields is interrupted")
        if self.expects_settings and (kind != SETTINGS or flags & ACK):
            raise Fault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
