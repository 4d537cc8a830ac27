"""What we send on a connection, and what must wait for the peer's windows.

A stream with something in its outbox waits either for its own window, and then only its own update can help it, or for
the connection's, and then it takes turns with the others.
"""

from __future__ import annotations

from collections import deque
from struct import Struct

from wire.burden import Burden
from wire.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADER_BYTES,
    HEADERS,
    LARGEST_WINDOW,
    PING,
    SMALLEST_MAX_FRAME,
    frame,
    go_away_frame,
    header_frames,
    reset_frame,
    window_update,
)
from wire.hpack import SIZE_UPDATE_TO_ZERO
from wire.streams import Stream

END = END_HEADERS | END_STREAM
PING_BYTES = HEADER_BYTES + 8
OUTBOX_COST = 2 << 10  # bytes that it takes to hold a stream with something in its outbox, beside that
WORTH_A_FRAME = 64  # bytes, of data that a window lets out, or by which it grows
UPDATES = 2  # of windows, for a stream or a frame of data: the stream's and the connection's


class Envelope:
    """What stands around the body of an answer: its blocks, which are the same for many, as frames but for the stream.
    Each block is at most a frame.

    `front` is HEADERS and the head of DATA, whose length and stream are one number; `back` is HEADERS again.
    """

    __slots__ = ("back", "back_lead", "front", "front_lead", "head", "trailers")

    def __init__(self, head: bytes, trailers: bytes) -> None:
        self.head = head
        self.trailers = trailers
        self.front = Struct(f">5sI{len(head)}sxQ").pack
        self.back = Struct(f">5sI{len(trailers)}s").pack
        self.front_lead = len(head).to_bytes(3, "big") + bytes((HEADERS, END_HEADERS))
        self.back_lead = len(trailers).to_bytes(3, "big") + bytes((HEADERS, END))


class Outbound:
    """Our half of a connection."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.streams: dict[int, Stream] = {}
        self.window = DEFAULT_WINDOW
        self.initial_window = DEFAULT_WINDOW
        self.max_frame = SMALLEST_MAX_FRAME
        self.queued = 0  # bytes in the outboxes of all, and what it costs to hold these
        self.burden = Burden()  # a server's is shared by its connections
        self.turns: deque[Stream] = deque()  # those that wait for the connection's window
        self.updates_due = 0  # windows that the peer may give back in crumbs, for the data that it was sent
        self.acks: int | None = None  # answers to pings that wait to leave; None where no ping is remembered
        self.table_shrunk = False  # the peer has asked for a smaller table, and is to be told that ours is empty

    def take(self) -> bytes:
        """All output that is ready."""
        out, self.out = self.out, []
        data = b"".join(out)
        if self.acks is not None:  # pings beside anything else are no nuisance, as gRPC has it
            self.acks = 0 if len(data) == self.acks * PING_BYTES else None
        return data

    def send_headers(self, stream: Stream, block: bytes, end_stream: bool = False) -> None:
        """Send an encoded block. One that ends the stream waits behind the data that waits."""
        if stream.local_closed:
            return
        if stream.outbox:
            if end_stream:
                stream.ending = block
            return
        self.put_headers(stream, block, end_stream)

    def put_headers(self, stream: Stream, block: bytes, end_stream: bool) -> None:
        if self.table_shrunk:
            self.table_shrunk = False
            block = SIZE_UPDATE_TO_ZERO + block
        stream.has_reply = True
        self.out += header_frames(stream.id, block, end_stream, self.max_frame)
        if end_stream:
            self.close_local(stream)

    def send_data(self, stream: Stream, data: bytes, end_stream: bool = False) -> None:
        """Send what the windows let out, and queue the rest."""
        if stream.local_closed or stream.ending is not None:
            return
        size = len(data)
        if not stream.outbox and size <= self.max_frame and size <= stream.send_window and size <= self.window:
            stream.send_window -= size
            self.window -= size
            self.updates_due += UPDATES
            self.out.append(frame(DATA, END_STREAM if end_stream else 0, stream.id, data))
            if end_stream:
                self.close_local(stream)
            return
        if stream.outbox is None:
            stream.outbox = deque()
        is_first = not stream.outbox
        if data:
            stream.outbox.append(memoryview(data))
            self.hold(stream, size)
        if end_stream:
            stream.ending = b""
        if is_first:
            self.take_turns(stream)

    def request(self, stream: Stream, block: bytes, body: bytes) -> None:
        """Send a whole request: in one piece, where the windows have room for it."""
        size = len(body)
        fits = max(len(block), size) <= self.max_frame and size <= stream.send_window and size <= self.window
        if not fits or self.table_shrunk:
            self.send_headers(stream, block)
            self.send_data(stream, body, end_stream=True)
            return
        stream.send_window -= size
        self.window -= size
        head = frame(HEADERS, END_HEADERS, stream.id, block)
        self.out.append(head + frame(DATA, END_STREAM, stream.id, body))
        self.close_local(stream)

    def respond(self, stream: Stream, envelope: Envelope, body: bytes) -> None:
        """Send a whole answer: in one piece, where the windows have room for it."""
        size = len(body)
        fits = size <= SMALLEST_MAX_FRAME and size <= stream.send_window and size <= self.window
        if not fits or stream.outbox or stream.local_closed or self.table_shrunk:
            self.send_headers(stream, envelope.head)
            self.send_data(stream, body)
            self.send_headers(stream, envelope.trailers, end_stream=True)
            return
        self.window -= size
        self.updates_due += UPDATES
        stream_id = stream.id
        front = envelope.front(envelope.front_lead, stream_id, envelope.head, size << 48 | stream_id)
        self.out.append(front + body + envelope.back(envelope.back_lead, stream_id, envelope.trailers))
        stream.local_closed = True
        if stream.remote_closed:
            stream.closed = True
            del self.streams[stream_id]
        else:
            stream.send_window -= size

    def pump(self) -> list[Stream]:
        """Let out what the windows allow, a frame a turn. Returns the streams whose outbox is empty now."""
        drained: list[Stream] = []
        turns = self.turns
        while turns and (self.window > 0 or not turns[0].outbox):
            stream = turns.popleft()
            stream.in_turn = False
            if stream.closed or not self.send_turn(stream):
                continue
            if stream.outbox:
                stream.in_turn = True
                turns.append(stream)
            else:
                drained.append(stream)
        return drained

    def send_turn(self, stream: Stream) -> bool:
        """Send one frame of a stream's outbox. False where the stream waits for its own window."""
        outbox = stream.outbox
        if outbox:
            room = min(self.window, stream.send_window, self.max_frame)
            if room <= 0:
                return stream.send_window > 0
            data = outbox.popleft()
            is_cut = len(data) > room
            if is_cut:
                outbox.appendleft(data[room:])
                data = data[:room]
            size = len(data)
            if not is_cut or size >= WORTH_A_FRAME:  # nothing is due for crumbs that the windows have cut
                self.updates_due += UPDATES
            stream.send_window -= size
            self.window -= size
            self.hold(stream, -size)
            is_last = not outbox and stream.ending == b""
            self.out.append(frame(DATA, END_STREAM if is_last else 0, stream.id, data))
            if is_last:
                self.close_local(stream)
            elif not outbox and stream.ending is not None:
                self.put_headers(stream, stream.ending, end_stream=True)
            return True
        if stream.ending is not None and not stream.local_closed:
            if stream.ending:
                self.put_headers(stream, stream.ending, end_stream=True)
            else:
                self.out.append(frame(DATA, END_STREAM, stream.id))
                self.close_local(stream)
        return True

    def hold(self, stream: Stream, size: int) -> None:
        """Count so many more bytes of what waits, and what it costs that something does."""
        before = stream.queued
        stream.queued = after = before + size
        if not before:
            size += OUTBOX_COST
        elif not after:
            size -= OUTBOX_COST
        self.queued += size
        self.burden.add(size)

    def widen(self, stream: Stream, increment: int) -> list[Stream]:
        """The peer has given a stream more room (or taken some back, by its settings)."""
        had_none = stream.send_window <= 0
        stream.send_window += increment
        if had_none and stream.send_window > 0 and stream.outbox:
            return self.take_turns(stream)
        return []

    def take_turns(self, stream: Stream) -> list[Stream]:
        if not stream.in_turn:
            stream.in_turn = True
            self.turns.append(stream)
        return self.pump()

    def close_local(self, stream: Stream) -> None:
        stream.local_closed = True
        if stream.remote_closed:
            self.forget(stream)

    def forget(self, stream: Stream) -> None:
        stream.closed = stream.local_closed = stream.remote_closed = True
        if stream.queued:
            self.hold(stream, -stream.queued)
        stream.outbox = None
        if stream.in_turn:  # the turn may never come, and a peer could pile up streams there
            stream.in_turn = False
            self.turns.remove(stream)
        self.streams.pop(stream.id, None)

    def forget_all(self) -> None:
        """Nobody will hear more of any stream."""
        self.turns.clear()
        for stream in list(self.streams.values()):
            stream.in_turn = False
            self.forget(stream)

    def send_reset(self, stream: Stream, code: int) -> None:
        self.out.append(reset_frame(stream.id, code))
        self.forget(stream)

    def ping(self, payload: bytes) -> None:
        """Ask for a sign of life; `payload` is eight bytes."""
        self.out.append(frame(PING, 0, 0, payload))

    def go_away(self, last_stream_id: int, code: int, debug: bytes = b"") -> None:
        self.out.append(go_away_frame(last_stream_id, code, debug))

    def give_back(self, stream_id: int, size: int) -> None:
        self.out.append(window_update(stream_id, min(size, LARGEST_WINDOW)))
