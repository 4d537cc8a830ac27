"""What concerns a connection as a whole: settings, windows, pings, farewells, and what a peer may cost us."""

from __future__ import annotations

from wire.events import (
    ConnectionFailed,
    Event,
    GoingAway,
    PingAnswered,
    SettingsReceived,
    StreamDrained,
    StreamReset,
)
from wire.faults import Fault, StreamFault
from wire.frames import (
    ACK,
    DEFAULT_TABLE,
    DEFAULT_WINDOW,
    LARGEST_MAX_FRAME,
    LARGEST_STREAM_ID,
    LARGEST_WINDOW,
    PING,
    SETTING,
    SETTINGS,
    SMALLEST_MAX_FRAME,
    WORD,
    ErrorCode,
    Setting,
    frame,
)
from wire.limits import UNLIMITED, Budget, Limits
from wire.outbound import WORTH_A_FRAME, Outbound
from wire.streams import Stream

STREAMS_PER_NUISANCE = 100  # that one change of the initial window may touch
UNASKED_COST = 0.25  # in nuisances: a window that grows though nothing was sent, as it may now and then


class Control(Outbound):
    def __init__(self, *, is_client: bool, limits: Limits | None = None) -> None:
        super().__init__()
        self.is_client = is_client
        self.limits = limits = limits or Limits()
        self.failed = False
        self.expects_settings = True
        self.receive_window = max(limits.connection_window, DEFAULT_WINDOW)
        # Until the peer has our settings it may count on the default.
        self.stream_window = max(limits.stream_window, DEFAULT_WINDOW)
        self.receive_credit = 0  # consumed, and not yet given back
        self.last_opened = -1 if is_client else 0  # by us
        self.last_accepted = 0  # of those that the peer has opened
        self.last_taken = LARGEST_STREAM_ID  # as our GOAWAY says
        self.peer_max_streams = UNLIMITED
        self.peer_going = False
        self.nuisances = Budget(limits.nuisances, limits.nuisance_rate)
        self.strikes = 0  # pings that came too early
        self.pinged_at = 0.0
        self.now = 0.0
        self.events: list[Event] = []

    def fail(self, code: ErrorCode, words: str) -> None:
        self.failed = True
        self.pending = b""
        self.go_away(min(self.last_accepted, self.last_taken), code, words.encode())
        self.events.append(ConnectionFailed(code, words))

    def suffer(self, what: str, cost: float = 1) -> None:
        """Something that costs us work and brings nothing. Now and then is nothing; too often ends the connection."""
        if not self.nuisances.take(self.now, cost):
            raise Fault(ErrorCode.ENHANCE_YOUR_CALM, f"too many {what}")

    def read_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise Fault(ErrorCode.PROTOCOL_ERROR, "PRIORITY of no stream")
        self.suffer("priorities")
        if len(payload) != 5:
            raise Fault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size")

    def read_push(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise Fault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which nobody allowed")

    def read_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Fault(ErrorCode.PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != 8:
            raise Fault(ErrorCode.FRAME_SIZE_ERROR, "PING of a wrong size")
        self.suffer("pings")
        if flags & ACK:
            self.events.append(PingAnswered(payload))
        else:
            if self.limits.ping_strikes:
                self.judge_ping()
            self.out.append(frame(PING, ACK, 0, payload))

    def judge_ping(self) -> None:
        """gRPC's rule: nobody needs a sign of life more often than so, unless something else is said between."""
        limits = self.limits
        interval_s = limits.ping_interval_s if self.streams else limits.idle_ping_interval_s
        if self.acks is None:
            self.acks = self.strikes = 0
        elif self.now < self.pinged_at + interval_s:
            self.strikes += 1
            if self.strikes > limits.ping_strikes:
                raise Fault(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")
        self.acks += 1
        self.pinged_at = self.now

    def read_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Fault(ErrorCode.PROTOCOL_ERROR, "SETTINGS of a stream")
        self.suffer("settings")
        if flags & ACK:
            if payload:
                raise Fault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with settings")
            self.stream_window = self.limits.stream_window
            return
        if len(payload) % SETTING.size:
            raise Fault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        if len(payload) > self.limits.settings * SETTING.size:
            raise Fault(ErrorCode.ENHANCE_YOUR_CALM, "too many settings")
        # Acknowledged first: until then the peer holds us to the windows of before, and these may let data out.
        self.out.append(frame(SETTINGS, ACK, 0))
        for name, value in SETTING.iter_unpack(payload):
            self.set(name, value)
        self.expects_settings = False
        self.events.append(SettingsReceived())

    def set(self, name: int, value: int) -> None:
        if name == Setting.INITIAL_WINDOW_SIZE:
            self.set_initial_window(value)
        elif name == Setting.MAX_FRAME_SIZE:
            if not SMALLEST_MAX_FRAME <= value <= LARGEST_MAX_FRAME:
                raise Fault(ErrorCode.PROTOCOL_ERROR, f"a largest frame of {value} bytes")
            self.max_frame = min(value, self.limits.stream_window)
        elif name == Setting.HEADER_TABLE_SIZE:
            self.table_shrunk = self.table_shrunk or value < DEFAULT_TABLE
        elif name == Setting.MAX_CONCURRENT_STREAMS:
            self.peer_max_streams = value
        elif name == Setting.ENABLE_PUSH and (value > 1 or (value and self.is_client)):
            raise Fault(ErrorCode.PROTOCOL_ERROR, f"a setting for pushes of {value}")

    def set_initial_window(self, value: int) -> None:
        if value > LARGEST_WINDOW:
            raise Fault(ErrorCode.FLOW_CONTROL_ERROR, f"a window of {value} bytes")
        change = value - self.initial_window
        self.initial_window = value
        if change:
            self.suffer("changes of the windows", len(self.streams) / STREAMS_PER_NUISANCE)
            for stream in list(self.streams.values()):
                if stream.send_window + change > LARGEST_WINDOW:
                    raise Fault(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond the largest")
                self.drained(self.widen(stream, change))

    def read_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong size")
        increment = WORD.unpack(payload)[0] & LARGEST_WINDOW
        stream = self.streams.get(stream_id)
        if self.updates_due:
            self.updates_due -= 1
        else:
            is_of_use = increment >= WORTH_A_FRAME and (stream is not None or not stream_id)
            self.suffer("window updates", UNASKED_COST if is_of_use else 1)
        if not stream_id:
            if not increment or self.window + increment > LARGEST_WINDOW:
                code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
                raise Fault(code, "a window of the connection beyond the largest, or no change of it")
            self.window += increment
            self.drained(self.pump())
            return
        if stream is None:
            self.require_not_idle(stream_id)
        elif not increment:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR)
        elif stream.send_window + increment > LARGEST_WINDOW:
            raise StreamFault(stream, ErrorCode.FLOW_CONTROL_ERROR)
        else:
            self.drained(self.widen(stream, increment))

    def drained(self, streams: list[Stream]) -> None:
        self.events += [StreamDrained(stream) for stream in streams]

    def read_go_away(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Fault(ErrorCode.PROTOCOL_ERROR, "GOAWAY of a stream")
        if len(payload) < 8:
            raise Fault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of a wrong size")
        self.suffer("farewells")
        self.peer_going = True
        last = WORD.unpack_from(payload, 0)[0] & LARGEST_STREAM_ID
        self.events.append(GoingAway(last, WORD.unpack_from(payload, 4)[0], payload[8:]))
        if self.is_client:
            for stream in [stream for stream in self.streams.values() if stream.id > last]:
                self.forget(stream)
                self.events.append(StreamReset(stream, ErrorCode.REFUSED_STREAM, True))

    def require_not_idle(self, stream_id: int) -> None:
        is_ours = bool(stream_id & 1) == self.is_client
        if not stream_id or stream_id > (self.last_opened if is_ours else self.last_accepted):
            raise Fault(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} has not been opened")
