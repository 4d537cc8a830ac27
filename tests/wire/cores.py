"""Two cores on a wire made of bytes, and frames made by hand for a peer that breaks the rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from wire.connection import Connection
from wire.events import DataReceived, Event, HeadersReceived
from wire.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER,
    HEADER_BYTES,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WORD,
    ErrorCode,
    frame,
    settings_frame,
)
from wire.hpack import Block, encode
from wire.limits import Limits
from wire.outbound import Envelope
from wire.streams import Stream

REQUEST_FIELDS = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b":authority", b"here"))
RESPONSE_FIELDS = ((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILER_FIELDS = ((b"grpc-status", b"0"),)
REQUEST, RESPONSE, TRAILERS = encode(REQUEST_FIELDS), encode(RESPONSE_FIELDS), encode(TRAILER_FIELDS)
ANSWER = Envelope(RESPONSE, TRAILERS)
CLIENT_OPENING = PREFACE + settings_frame({})
SERVER_OPENING = settings_frame({})
SETTINGS_ACK = frame(SETTINGS, ACK, 0)


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes


def frames(data: bytes) -> list[Frame]:
    """The frames in `data`, which ends with one of them."""
    data = data.removeprefix(PREFACE)
    found, at = [], 0
    while at < len(data):
        lead, flags, stream_id = HEADER.unpack_from(data, at)
        at += HEADER_BYTES
        end = at + (lead >> 8)
        assert end <= len(data)
        found.append(Frame(lead & 0xFF, flags, stream_id, data[at:end]))
        at = end
    return found


def headers(stream_id: int, block: bytes = REQUEST, *, end_stream: bool = False) -> bytes:
    return frame(HEADERS, END_HEADERS | (END_STREAM if end_stream else 0), stream_id, block)


def data(stream_id: int, payload: bytes = b"data", *, end_stream: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end_stream else 0, stream_id, payload)


def continued(stream_id: int, block: bytes, pieces: int, *, end_stream: bool = False) -> bytes:
    """A block in HEADERS and CONTINUATION frames of a size."""
    size = -(-len(block) // pieces)
    parts = [block[at : at + size] for at in range(0, len(block), size)]
    first = frame(HEADERS, END_STREAM if end_stream else 0, stream_id, parts[0])
    middle = [frame(CONTINUATION, 0, stream_id, part) for part in parts[1:-1]]
    return b"".join([first, *middle, frame(CONTINUATION, END_HEADERS, stream_id, parts[-1])])


def server(limits: Limits | None = None) -> Connection:
    """A server's core that has shaken hands; what it has said is dropped."""
    core = Connection(is_client=False, limits=limits)
    core.start()
    core.receive(CLIENT_OPENING + SETTINGS_ACK, 0.0)
    core.take()
    return core


def client(limits: Limits | None = None) -> Connection:
    core = Connection(is_client=True, limits=limits)
    core.start()
    core.receive(SERVER_OPENING + SETTINGS_ACK, 0.0)
    core.take()
    return core


def called(core: Connection, *, end_stream: bool = False) -> Stream:
    """A stream that a client's core has begun."""
    stream = core.open_stream()
    core.send_headers(stream, REQUEST, end_stream)
    core.take()
    return stream


def told(core: Connection) -> list[tuple[int, ErrorCode]]:
    """What the peer is told of its faults: by RST_STREAM of a stream, by GOAWAY of stream 0."""
    faults = []
    for kind, _, stream_id, payload in frames(core.take()):
        if kind == RST_STREAM:
            faults.append((stream_id, ErrorCode(WORD.unpack(payload)[0])))
        elif kind == GOAWAY:
            faults.append((0, ErrorCode(WORD.unpack_from(payload, 4)[0])))
    return faults


def kinds(core: Connection) -> list[int]:
    return [frame.kind for frame in frames(core.take())]


def plain(events: list[Event]) -> list[tuple[Any, ...]]:
    """Events as values that can be compared between cores: a stream is its number, a block its fields."""
    return [(type(event).__name__, *map(plainly, values_of(event))) for event in in_parts(events)]


def in_parts(events: list[Event]) -> Iterator[Event]:
    """Whether a request comes whole depends on where its bytes are cut; its parts do not."""
    for event in events:
        if isinstance(event, HeadersReceived) and event.data is not None:
            yield HeadersReceived(event.stream, event.block, False)
            yield DataReceived(event.stream, event.data, 0, True)
        else:
            yield event


def values_of(event: Event) -> Iterator[Any]:
    """Without the data of a whole request, which is told apart."""
    names = event.__struct_fields__
    return (getattr(event, name) for name in (names[:3] if isinstance(event, HeadersReceived) else names))


def plainly(value: Any) -> Any:
    if isinstance(value, Stream):
        return value.id
    return value.fields if isinstance(value, Block) else value


class Wired:
    """A client and a server. Each delivery is a second later than the last, so that no budget runs out."""

    def __init__(self, client_limits: Limits | None = None, server_limits: Limits | None = None) -> None:
        self.client = Connection(is_client=True, limits=client_limits)
        self.server = Connection(is_client=False, limits=server_limits)
        self.now = 0.0
        self.client.start()
        self.server.start()
        self.deliver()

    def deliver(self) -> tuple[list[Event], list[Event]]:
        """Carry bytes until neither has any to send: what the client and what the server made of them."""
        to_client: list[Event] = []
        to_server: list[Event] = []
        while self.client.out or self.server.out:
            self.now += 1
            to_server += self.server.receive(self.client.take(), self.now)
            to_client += self.client.receive(self.server.take(), self.now)
        return to_client, to_server

    def call(self, *, end_stream: bool = False) -> tuple[Stream, Stream]:
        """A stream begun by the client: its two ends."""
        ours = self.client.open_stream()
        self.client.send_headers(ours, REQUEST, end_stream)
        self.deliver()
        return ours, self.server.streams[ours.id]
