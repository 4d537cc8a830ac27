"""What the peer sends on a connection: each kind of frame, and what it does to the streams."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from wire.control import Control
from wire.events import (
    DataReceived,
    HeadersReceived,
    StreamReset,
    TrailersReceived,
)
from wire.faults import Fault, StreamFault
from wire.fields import GOOD, Verdict, request_verdict, response_verdict, trailers_verdict
from wire.frames import (
    CONTINUATION,
    DATA,
    DEFAULT_TABLE,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITISED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WORD,
    ErrorCode,
)
from wire.hpack import Block, Decoder, HpackError
from wire.limits import Budget, Limits
from wire.outbound import UPDATES
from wire.streams import Stream
from wire.templates import Templates

RESETS_REMEMBERED = 10_000  # streams that we have reset, of which late frames may still come


class Unfinished(Struct):
    """A block of header fields whose end has not come."""

    stream_id: int
    end_stream: bool
    parts: list[bytes]
    size: int


class Inbound(Control):
    """What the peer sends on streams, beside what concerns the connection."""

    def __init__(self, *, is_client: bool, limits: Limits | None = None) -> None:
        super().__init__(is_client=is_client, limits=limits)
        limits = self.limits
        self.decoder = Decoder(DEFAULT_TABLE, limits.header_list)
        self.judge = response_verdict if is_client else request_verdict
        self.templates = Templates()  # a server's are shared by its connections
        self.refill_at = (limits.connection_window + 1) // 2  # bytes of credit
        self.awaits_preface = not is_client
        self.pending = b""  # the beginning of a frame
        self.block: Unfinished | None = None
        self.begun: dict[int, HeadersReceived] = {}  # requests of which the head is in what is being read
        self.resets = Budget(limits.resets, limits.reset_rate)
        self.reset_ids: dict[int, None] = {}
        self.readers: dict[int, Callable[[int, int, bytes], None]] = {
            DATA: self.read_data,
            HEADERS: self.read_headers,
            PRIORITY: self.read_priority,
            RST_STREAM: self.read_reset,
            SETTINGS: self.read_settings,
            PUSH_PROMISE: self.read_push,
            PING: self.read_ping,
            GOAWAY: self.read_go_away,
            WINDOW_UPDATE: self.read_window_update,
            CONTINUATION: self.read_continuation,
        }

    # Data

    def take_data(self, stream: Stream, data: bytes, size: int, ended: bool) -> None:
        """Data of an open stream; `size` is what it takes of the windows, padding included."""
        if stream.remote_closed:
            self.receive_window -= size
            self.credit(size)
            raise StreamFault(stream, ErrorCode.STREAM_CLOSED)
        self.receive_window -= size
        if self.receive_window < 0:
            raise Fault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window")
        stream.receive_window -= size
        if stream.receive_window < 0:
            self.credit(size)
            raise StreamFault(stream, ErrorCode.FLOW_CONTROL_ERROR)
        if not stream.has_headers:
            self.credit(size)
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR)
        if stream.content_left is not None:
            stream.content_left -= len(data)
            if stream.content_left < 0 or (ended and stream.content_left):
                self.credit(size)
                raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR)
        self.begun.pop(stream.id, None)
        if ended:  # at most one frame a stream is outside the windows so
            self.credit(size)
            self.events.append(DataReceived(stream, data, 0, True))
            stream.remote_closed = True
            if stream.local_closed:
                self.forget(stream)
        else:
            self.events.append(DataReceived(stream, data, size, False))

    def read_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        """What is not the usual: padded, empty, or for a stream that is not open."""
        data = unpadded(payload) if flags & PADDED else payload
        stream = self.streams.get(stream_id)
        if stream is None:
            self.receive_window -= len(payload)
            self.credit(len(payload))
            self.stray(stream_id, "data")
            return
        ended = bool(flags & END_STREAM)
        if not data and not ended:
            self.suffer("empty frames of data")
        self.take_data(stream, data, len(payload), ended)

    def consumed(self, stream: Stream, size: int) -> None:
        """Give `size` bytes of window back, now or with more to come."""
        self.credit(size)
        if stream.remote_closed:
            return
        stream.receive_credit += size
        if stream.receive_credit * 2 >= self.limits.stream_window:
            stream.receive_window += stream.receive_credit
            self.give_back(stream.id, stream.receive_credit)
            stream.receive_credit = 0

    def credit(self, size: int) -> None:
        self.receive_credit += size
        if self.receive_credit >= self.refill_at:
            self.refill()

    def refill(self) -> None:
        """Give the connection's window back, all that has been consumed."""
        if self.receive_credit:
            self.receive_window += self.receive_credit
            self.give_back(0, self.receive_credit)
            self.receive_credit = 0

    # Header fields

    def read_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & PADDED:
            payload = unpadded(payload)
        if flags & PRIORITISED:
            if len(payload) < 5:
                raise Fault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without the priority that it announces")
            payload = payload[5:]
        if not stream_id:
            raise Fault(ErrorCode.PROTOCOL_ERROR, "HEADERS of no stream")
        ended = bool(flags & END_STREAM)
        if flags & END_HEADERS:
            self.take_block(stream_id, self.decode(payload), ended)
        else:
            self.block = Unfinished(stream_id, ended, [payload], len(payload))

    def read_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        block, limits = self.block, self.limits
        if block is None or block.stream_id != stream_id:
            raise Fault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        block.parts.append(payload)
        block.size += len(payload)
        if block.size > limits.header_block or len(block.parts) > limits.continuations:
            raise Fault(ErrorCode.ENHANCE_YOUR_CALM, "a block of header fields without end")
        if flags & END_HEADERS:
            self.block = None
            self.take_block(stream_id, self.decode(b"".join(block.parts)), block.end_stream)

    def take_request(self, stream_id: int, block: Block) -> bool:
        """The head of a request, if it is as most are. Its data may come with what is being read."""
        streams = self.streams
        if block.as_head is not GOOD or self.is_client or len(streams) >= self.limits.streams:
            return False
        if not self.last_accepted < stream_id <= self.last_taken or not stream_id & 1:
            return False
        self.last_accepted = stream_id
        self.updates_due += UPDATES
        stream = streams[stream_id] = Stream(stream_id, self.initial_window, self.stream_window, has_headers=True)
        event = self.begun[stream_id] = HeadersReceived(stream, block, False)
        self.events.append(event)
        return True

    def take_whole(self, event: HeadersReceived, data: bytes, size: int) -> bool:
        """All data of a request, in one frame, if nothing speaks against it."""
        stream = event.stream
        if stream.remote_closed or size > self.receive_window or size > stream.receive_window:
            return False
        stream.remote_closed = True
        event.data = data
        self.receive_window -= size
        self.receive_credit += size
        if self.receive_credit >= self.refill_at:
            self.refill()
        return True

    def decode(self, data: bytes) -> Block:
        """What a block says. It is decoded even where nobody will read it, because it may change the table."""
        try:
            block = self.decoder.decode(data)
        except HpackError as error:
            raise Fault(ErrorCode.COMPRESSION_ERROR, str(error)) from None
        if block.template is None and not self.is_client and not block.too_large:
            self.templates.fit(block)
        return block

    def take_block(self, stream_id: int, block: Block, ended: bool) -> None:
        """A whole block."""
        stream = self.streams.get(stream_id)
        if stream is None:
            if self.is_client or stream_id <= self.last_accepted:
                self.stray(stream_id, "header fields")
                return
            stream = self.accept(stream_id)
            if stream is None:
                return
        elif stream.remote_closed:
            raise StreamFault(stream, ErrorCode.STREAM_CLOSED)
        if stream.has_headers:
            self.take_trailers(stream, block, ended)
            return
        if block.as_head is not GOOD:
            verdict = self.verdict(block)
            if verdict.fault or (verdict.informational and ended) or (ended and verdict.content_length):
                raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR)
            if verdict.informational:
                return
            stream.content_left = verdict.content_length
        stream.has_headers = True
        self.events.append(HeadersReceived(stream, block, ended))
        if ended:
            self.close_remote(stream)

    def verdict(self, block: Block) -> Verdict:
        """What a block is worth: looked at once, however often the decoder finds it in its cache."""
        verdict: Verdict | None = block.as_head
        if verdict is None:
            verdict = block.as_head = Verdict("") if block.too_large else self.judge(block.fields)
        return verdict

    def take_trailers(self, stream: Stream, block: Block, ended: bool) -> None:
        verdict: Verdict | None = block.as_trailers
        if verdict is None:
            verdict = block.as_trailers = Verdict("") if block.too_large else trailers_verdict(block.fields)
        if not ended or stream.content_left or verdict.fault:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR)
        self.events.append(TrailersReceived(stream, block))
        self.close_remote(stream)

    def accept(self, stream_id: int) -> Stream | None:
        """A stream that the peer opens; None where it is refused."""
        if not stream_id & 1:
            raise Fault(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} is not a client's to open")
        self.last_accepted = stream_id
        if stream_id > self.last_taken:
            return None  # it crossed our GOAWAY, which says so
        stream = Stream(stream_id, self.initial_window, self.stream_window)
        if len(self.streams) >= self.limits.streams:
            self.suffer("streams above the limit")
            self.send_reset(stream, ErrorCode.REFUSED_STREAM)
            self.remember_reset(stream_id)
            return None
        self.streams[stream_id] = stream
        self.updates_due += UPDATES  # some clients send them before there is anything to give back
        return stream

    # Ends

    def close_remote(self, stream: Stream) -> None:
        stream.remote_closed = True
        if stream.local_closed:
            self.forget(stream)

    def read_reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM of a wrong size")
        stream = self.streams.get(stream_id)
        if stream is None:
            self.require_not_idle(stream_id)
            self.suffer("resets of what is closed")
            return
        if not (self.is_client or stream.has_reply or self.resets.take(self.now)):
            raise Fault(ErrorCode.ENHANCE_YOUR_CALM, "too many streams taken back")
        self.forget(stream)
        self.events.append(StreamReset(stream, WORD.unpack(payload)[0], True))

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """End a stream at once, whatever it waits for."""
        if not stream.closed:
            self.remember_reset(stream.id)
            self.send_reset(stream, code)

    def reset_faulty(self, stream: Stream, code: ErrorCode) -> None:
        self.suffer("faulty streams")
        self.reset(stream, code)
        self.events.append(StreamReset(stream, code, False))

    def stray(self, stream_id: int, what: str) -> None:
        """A frame of a stream that is not open: late, where we have reset it; else a fault."""
        self.require_not_idle(stream_id)
        if stream_id not in self.reset_ids and stream_id <= self.last_taken:
            raise Fault(ErrorCode.STREAM_CLOSED, f"{what} of stream {stream_id}, which is closed")

    def remember_reset(self, stream_id: int) -> None:
        self.reset_ids[stream_id] = None
        if len(self.reset_ids) > RESETS_REMEMBERED:
            del self.reset_ids[next(iter(self.reset_ids))]


def unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise Fault(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]
