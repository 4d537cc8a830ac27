"""A TCP proxy that loses what networks lose: requests, answers, halves of answers, and time.

It stands before REST or gRPC and knows of either only which bytes speak: in HTTP/1.1 all of them, in HTTP/2 the chunks
in which a HEADERS or DATA frame begins. The first that a client says after it has been answered is a request, and meets
the next fault; what follows until the answer belongs to the same request. A fault ends the whole connection, and so
whatever else is under way on it. Nothing is ever sent twice: that is for the client to do.

Faults come from a plan, in its order, and when that is used up, by chance from a mix, whose seed is printed.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import Enum

CHUNK = 1 << 16
LONGEST_DELAY_S = 0.02
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD = 9
SPEAKING_FRAMES = (0, 1)  # DATA, HEADERS


class Fault(Enum):
    NONE = "the request and its answer arrive"
    REFUSED = "the connection is dropped before the request is forwarded"
    ABANDONED = "the connection is dropped as soon as the request is forwarded"
    LOST = "the connection is dropped in place of the answer"
    CUT = "the connection is dropped in the middle of the answer"
    DELAYED = "the answer arrives late"


ANSWERS_LOST = (Fault.ABANDONED, Fault.LOST, Fault.CUT)
MIX: Mapping[Fault, int] = {Fault.NONE: 4, **dict.fromkeys((f for f in Fault if f is not Fault.NONE), 1)}


class Dropped(Exception):
    """The connection ends here, on both sides."""


class Frames:
    """One direction of an HTTP/2 connection: where its frames begin."""

    def __init__(self, *, preface: bool) -> None:
        self.head = b""  # of a frame, as far as it has come
        self.inside = len(HTTP2_PREFACE) if preface else 0  # bytes still to come of what is under way

    def speak(self, data: bytes) -> bool:
        """Whether a frame that carries a request or an answer begins in `data`."""
        speaks = False
        while data:
            passed = min(self.inside, len(data))
            self.inside, data = self.inside - passed, data[passed:]
            missing = FRAME_HEAD - len(self.head)
            self.head, data = self.head + data[:missing], data[missing:]
            if len(self.head) == FRAME_HEAD:
                speaks |= self.head[3] in SPEAKING_FRAMES
                self.inside, self.head = int.from_bytes(self.head[:3], "big"), b""
        return speaks


class Bytes:
    """One direction of an HTTP/1.1 connection: whatever is said counts."""

    def __init__(self, *, preface: bool) -> None:
        del preface  # there is none

    def speak(self, data: bytes) -> bool:
        return bool(data)


class FaultProxy:
    """Listens on a free port and forwards to `target`, HOST:PORT, which may be changed at any time."""

    def __init__(self, target: str, *, http2: bool, seed: int, mix: Mapping[Fault, int]) -> None:
        self.target = target
        self.framing: type[Bytes | Frames] = Frames if http2 else Bytes
        self.random = random.Random(seed)
        self.mix = mix
        self.plan: deque[Fault] = deque()
        self.met: Counter[Fault] = Counter()
        self.connections: set[asyncio.Task[None]] = set()
        print(f"fault proxy before {target}: seed {seed}")

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        host, port = self.server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    async def stop(self) -> None:
        self.server.close()
        for connection in self.connections:
            connection.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)
        await self.server.wait_closed()

    def next_fault(self) -> Fault:
        fault = self.plan.popleft() if self.plan else self.random.choices(list(self.mix), [*self.mix.values()])[0]
        self.met[fault] += 1
        return fault

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        ends = [writer]
        try:
            host, _, port = self.target.rpartition(":")
            answers, server = await asyncio.open_connection(host, int(port))
            ends.append(server)
            await Connection(self).forward(reader, writer, answers, server)
        except (OSError, Dropped):
            pass
        finally:
            self.connections.discard(task)
            for end in ends:
                end.transport.abort()


class Connection:
    """A client's connection and the one behind it, and the fault that its present request meets."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.fault: Fault | None = None  # None: no request is under way

    async def forward(
        self,
        requests: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        """Forward both ways until one side ends, or a fault does: Dropped, OSError."""
        ways = [
            asyncio.ensure_future(self.requests(requests, server)),
            asyncio.ensure_future(self.answers(answers, client)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def requests(self, source: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        speech = self.proxy.framing(preface=True)
        while data := await source.read(CHUNK):
            if speech.speak(data) and self.fault is None:
                self.fault = self.proxy.next_fault()
            if self.fault is Fault.REFUSED:
                raise Dropped
            server.write(data)
            await server.drain()
            if self.fault is Fault.ABANDONED:
                server.close()  # behind what was written
                await server.wait_closed()
                raise Dropped

    async def answers(self, source: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        speech = self.proxy.framing(preface=False)
        while data := await source.read(CHUNK):
            fault = None
            if speech.speak(data):
                fault, self.fault = self.fault, None
            if fault is Fault.LOST:
                raise Dropped
            if fault is Fault.DELAYED:
                await asyncio.sleep(self.proxy.random.random() * LONGEST_DELAY_S)
            client.write(data[: len(data) // 2] if fault is Fault.CUT else data)
            await client.drain()
            if fault is Fault.CUT:
                client.close()
                await client.wait_closed()
                raise Dropped


@asynccontextmanager
async def faulty(
    target: str, *, http2: bool = False, seed: int = 0, mix: Mapping[Fault, int] | None = None
) -> AsyncIterator[FaultProxy]:
    """A proxy before `target`; without a mix it is faithful but for what its `plan` says."""
    proxy = FaultProxy(target, http2=http2, seed=seed, mix=mix or {Fault.NONE: 1})
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
