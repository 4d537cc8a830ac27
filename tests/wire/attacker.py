"""A client that means ill, on a raw socket, and a server besieged by it while another client goes on calling."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import hpack
import msgspec
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame

import wire
from tests.venues import until
from tests.wire.cores import CLIENT_OPENING, headers
from tests.wire.services import SERVICE, Service
from wire.frames import DATA, END_STREAM, HEADER_BYTES, PING, ErrorCode, frame
from wire.hpack import encode
from wire.messages import message_bytes
from wire.server_connection import ServerConnection

HOST = "127.0.0.1"
QUICK = {"look_s": 0.02, "handshake_s": 0.2, "stalled_s": 0.2, "linger_s": 1.0}
NUDGE = b"whoever?"  # in a PING: what came before it has been read once it is answered
RST_ON_CLOSE = struct.pack("ii", 1, 0)


def fields(method: str = "Echo", **others: str) -> tuple[tuple[bytes, bytes], ...]:
    """What a call's header fields are; `others` by their names with _ for -."""
    usual = {":method": "POST", ":scheme": "http", ":path": f"/{SERVICE}/{method}", ":authority": HOST}
    own = {name.replace("_", "-"): value for name, value in others.items()}
    together = usual | {"te": "trailers", "content-type": "application/grpc"} | own
    return tuple((name.encode(), value.encode()) for name, value in together.items() if value)


def request(stream_id: int, method: str = "Echo", *, end_stream: bool = False, **others: str) -> bytes:
    return headers(stream_id, encode(fields(method, **others)), end_stream=end_stream)


def message(stream_id: int, payload: bytes = b"", *, end_stream: bool = True) -> bytes:
    return frame(DATA, END_STREAM if end_stream else 0, stream_id, message_bytes(payload))


def call(stream_id: int, method: str = "Echo", payload: bytes = b"") -> bytes:
    """A whole unary request."""
    return request(stream_id, method) + message(stream_id, payload)


class Attacker:
    """`heard` is what the server has said. One that is deaf never takes it from the socket."""

    def __init__(self, sock: socket.socket, *, deaf: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.socket = sock
        self.heard: list[Frame] = []
        self.answers: dict[int, dict[str, str]] = {}
        self.decoder = hpack.Decoder()
        self.raw = b""
        self.is_cut_off = False
        self.ears = None if deaf else self.loop.create_task(self.listen())

    @classmethod
    async def arrive(cls, port: int, opening: bytes = CLIENT_OPENING, *, deaf: bool = False) -> Self:
        sock = socket.socket()
        sock.setblocking(False)
        if deaf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
        attacker = cls(sock, deaf=deaf)
        await attacker.send(opening)
        return attacker

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self, *, rudely: bool = False) -> None:
        if self.ears is not None:
            self.ears.cancel()
            await asyncio.wait([self.ears])  # the loop must have let go of the socket
        if rudely:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
        self.socket.close()

    async def send(self, data: bytes) -> bool:
        """Whether the server's end was still there."""
        try:
            await self.loop.sock_sendall(self.socket, data)
        except OSError:
            self.is_cut_off = True
        return not self.is_cut_off

    async def flood(self, piece: Callable[[int], bytes], count: int = 10_000, at_once: int = 100) -> None:
        """Send piece(0), piece(1) ... while anyone takes them."""
        for start in range(0, count, at_once):
            if self.is_cut_off or not await self.send(b"".join(map(piece, range(start, start + at_once)))):
                return
            await asyncio.sleep(0)

    async def listen(self) -> None:
        with suppress(OSError):
            while data := await self.loop.sock_recv(self.socket, 1 << 16):
                self.raw += data
                self.read()
        self.is_cut_off = True

    def read(self) -> None:
        while len(self.raw) >= HEADER_BYTES:
            said, length = Frame.parse_frame_header(memoryview(self.raw[:HEADER_BYTES]))
            stop = HEADER_BYTES + length
            if len(self.raw) < stop:
                return
            said.parse_body(memoryview(self.raw[HEADER_BYTES:stop]))
            self.raw = self.raw[stop:]
            self.heard.append(said)
            if isinstance(said, HeadersFrame):
                self.answers.setdefault(said.stream_id, {}).update(self.decoder.decode(said.data))

    def said(self, kind: type[Any]) -> list[Any]:
        return [said for said in self.heard if isinstance(said, kind)]

    def farewell(self) -> ErrorCode | None:
        return ErrorCode(self.said(GoAwayFrame)[-1].error_code) if self.said(GoAwayFrame) else None

    def resets(self) -> dict[int, int]:
        return {said.stream_id: said.error_code for said in self.said(RstStreamFrame)}

    def data_bytes(self) -> int:
        return sum(len(said.data) for said in self.said(DataFrame))

    def status(self, stream_id: int) -> str | None:
        return self.answers.get(stream_id, {}).get("grpc-status")

    async def answer(self, stream_id: int) -> dict[str, str]:
        """How the server ends a stream: the fields of head and trailers as one."""
        ends = lambda: [said for said in self.said(HeadersFrame) if "END_STREAM" in said.flags]  # noqa: E731
        await until(lambda: self.is_cut_off or any(said.stream_id == stream_id for said in ends()))
        assert stream_id in self.answers, (self.farewell(), self.resets())
        return self.answers[stream_id]

    async def nudge(self) -> None:
        """Wait until the server has read all that was sent, and shows that it lives."""
        known = self.nudges()
        assert await self.send(frame(PING, 0, 0, NUDGE))
        await until(lambda: self.is_cut_off or self.nudges() > known)
        assert self.nudges() > known, self.farewell()

    def nudges(self) -> int:
        return sum(said.opaque_data == NUDGE for said in self.said(PingFrame))

    async def cut_off(self) -> None:
        await until(lambda: self.is_cut_off)


class Siege:
    """A server, a friend who calls it all the time, and what the server holds at the most."""

    def __init__(self, server: wire.Server, service: Service, port: int) -> None:
        self.server = server
        self.service = service
        self.port = port
        self.calls = 0
        self.most_held = 0
        self.is_over = False
        self.friend: asyncio.Task[None] | None = None

    async def arrive(self, opening: bytes = CLIENT_OPENING, *, deaf: bool = False) -> Attacker:
        return await Attacker.arrive(self.port, opening, deaf=deaf)

    async def befriend(self, channel: Any) -> None:
        """Every call must succeed, whatever else goes on."""
        echo = channel.unary_unary(f"/{SERVICE}/Echo")
        while not self.is_over:
            assert await echo(b"of a friend", timeout=10) == b"of a friend"
            self.calls += 1
            self.most_held = max(self.most_held, sum(map(held, self.server.connections)))

    async def goes_on(self, calls: int = 5) -> None:
        """The friend is served now, too."""
        enough = self.calls + calls
        await until(lambda: self.calls >= enough)

    async def part(self) -> None:
        """The friend calls no more."""
        self.is_over = True
        if self.friend is not None:
            await self.friend

    def intruders(self) -> list[ServerConnection]:
        """The connections that are not the friend's: it came first."""
        return sorted(self.server.connections, key=lambda connection: connection.begun_at)[1:]

    def intruder(self) -> ServerConnection:
        (connection,) = self.intruders()
        return connection


def held(connection: ServerConnection) -> int:
    """Bytes that the server holds for a connection."""
    core = connection.core
    block = 0 if core.block is None else core.block.size
    calls = [
        stream.queued + (0 if stream.owner is None else held_by_call(stream.owner)) for stream in core.streams.values()
    ]
    waiting = connection.transport.get_write_buffer_size() + sum(map(len, core.out))
    return len(core.pending) + block + sum(calls) + waiting


def held_by_call(call: Any) -> int:
    unfinished = 0 if call.assembler is None else call.assembler.held
    return unfinished + sum(map(len, call.requests or ()))


@asynccontextmanager
async def besieged(credentials: Any = None, interceptors: Sequence[Any] = (), **changes: Any) -> AsyncIterator[Siege]:
    """After the attack the server must hold nothing."""
    service = Service()
    options = [("grpc.so_reuseport", 0), ("grpc.http2.max_ping_strikes", 0)]
    server = wire.server(options=options, interceptors=interceptors)
    server.settings = msgspec.structs.replace(server.settings, **QUICK | changes)
    server.add_generic_rpc_handlers((service.handlers({}),))
    port = server.add_insecure_port(f"{HOST}:0")
    safe_port = server.add_secure_port(f"{HOST}:0", credentials) if credentials else port
    await server.start()
    siege = Siege(server, service, safe_port)
    try:
        async with wire.insecure_channel(f"{HOST}:{port}") as channel:
            siege.friend = asyncio.create_task(siege.befriend(channel))
            try:
                await siege.goes_on()
                yield siege
                if not siege.is_over:
                    await siege.goes_on()
                    await until(lambda: not siege.intruders())
            finally:
                await siege.part()
        await until(lambda: not (server.connections or server.calls or server.tasks or server.watched))
        await until(lambda: server.burden.size == 0)
    finally:
        service.released.set()
        async with asyncio.timeout(10):
            await server.stop(None)
