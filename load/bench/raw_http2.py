"""The least of an HTTP/2 client that can replay requests made beforehand: no library between the clock and the socket.

Its header blocks are as gRPC's C core writes them: no Huffman code, each field entered into the dynamic table (also
`grpc-timeout`), except the application's own metadata, which are literals without indexing.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from hpack import Encoder

from load.bench.h2load import framed
from load.bench.trader import Metadata

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 3, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD_BYTES = 9
RECEIVE_BYTES = 256 * 2**10
FIRST_WINDOW, LARGEST_WINDOW = 65_535, 2**31 - 1
TIMEOUT_S = 20


class Broken(Exception):
    """The server ended the connection or a stream."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


class RawClient:
    """One connection. `answers` holds what each stream has brought, gRPC's prefix included."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.address = address
        self.socket = socket.create_connection((host, int(port)), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held = b""
        self.window = FIRST_WINDOW  # what may still be sent; a request is far below a stream's own window
        self.settings: dict[int, int] | None = None
        self.answers: dict[int, bytes] = {}
        self.ended = 0
        self.encoder = Encoder()
        self.next_stream = 1
        self.shake_hands()

    def shake_hands(self) -> None:
        window = INITIAL_WINDOW_SIZE.to_bytes(2, "big") + LARGEST_WINDOW.to_bytes(4, "big")
        more = (LARGEST_WINDOW - FIRST_WINDOW).to_bytes(4, "big")
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, window) + frame(WINDOW_UPDATE, 0, 0, more))
        while self.settings is None:
            self.receive()
        table_bytes = self.settings.get(HEADER_TABLE_SIZE, self.encoder.header_table_size)
        if table_bytes < self.encoder.header_table_size:
            self.encoder.header_table_size = table_bytes

    def close(self) -> None:
        self.socket.close()

    def encoded(self, method: str, message: bytes, timeout: str, metadata: Metadata) -> bytes:
        """One request, on the next stream."""
        fields = [
            (":path", method),
            (":authority", self.address),
            (":method", "POST"),
            (":scheme", "http"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-accept-encoding", "identity, deflate, gzip"),
            ("grpc-timeout", timeout),
            ("user-agent", "grpc-python/1.85.1 grpc-c/58.0.0 (linux; chttp2)"),
        ]
        block: bytes = self.encoder.encode(fields, huffman=False)
        block += b"".join(literal(name.encode(), value.encode()) for name, value in metadata)
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, framed(message))

    def replay(self, requests: Sequence[bytes], message: bytes, in_flight: int) -> None:
        """Send them all, each of `message`, at most `in_flight` unanswered, until each stream has ended."""
        assert self.settings is not None
        in_flight = min(in_flight, self.settings.get(MAX_CONCURRENT_STREAMS, in_flight))
        size, sent, before = len(framed(message)), 0, self.ended
        while (done := self.ended - before) < len(requests):
            ready = requests[sent : min(done + in_flight, sent + self.window // size)]
            if ready:
                self.socket.sendall(b"".join(ready))
                self.window -= size * len(ready)
                sent += len(ready)
            self.receive()

    def receive(self) -> None:
        received = self.socket.recv(RECEIVE_BYTES)
        if not received:
            raise Broken("the server closed the connection")
        data, at = self.held + received, 0
        while len(data) - at >= FRAME_HEAD_BYTES:
            end = at + FRAME_HEAD_BYTES + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            self.take(data[at + 3], data[at + 4], stream, data[at + FRAME_HEAD_BYTES : end])
            at = end
        self.held = data[at:]

    def take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self.answers[stream] = self.answers.get(stream, b"") + payload
        elif kind == HEADERS:
            self.ended += flags & END_STREAM
        elif kind == WINDOW_UPDATE:
            self.window += 0 if stream else int.from_bytes(payload, "big")
        elif kind in (SETTINGS, PING) and not flags & ACK:
            if kind == SETTINGS:
                self.keep(payload)
            self.socket.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind in (RST_STREAM, GOAWAY):
            raise Broken(f"frame {kind} for stream {stream}: {payload!r}")

    def keep(self, payload: bytes) -> None:
        pairs = [payload[at : at + 6] for at in range(0, len(payload), 6)]
        told = {int.from_bytes(pair[:2], "big"): int.from_bytes(pair[2:], "big") for pair in pairs}
        self.settings = {**(self.settings or {}), **told}


def literal(name: bytes, value: bytes) -> bytes:
    """A header field without indexing; both parts are shorter than 127 bytes."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value
