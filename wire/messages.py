"""gRPC's length-prefixed messages: a flag, a four-byte length, a body, over and over in a stream's DATA.

Where DATA frames begin and end says nothing about messages: one frame may hold many, one message may span many. The
prefix is judged before the body comes, so that what is held never passes the limit; a compressed body is inflated no
further than the limit, and by a server only when somebody wants it. Refusals carry the status and, as far as may be,
the words of grpcio.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from struct import Struct
from typing import Final

from grpc import StatusCode

__all__ = ["Assembler", "MessageError", "Packed", "message_bytes"]

PREFIX: Final = Struct(">BI")
PREFIX_SIZE: Final = 5
GZIP: Final = 31  # zlib's names for the two forms: its window's bits, and 16 for gzip's header
ZLIB: Final = 15


class MessageError(Exception):
    """Why the call must end; `messages` came whole in the same piece, before what is wrong."""

    def __init__(self, status_code: StatusCode, words: str) -> None:
        super().__init__(words)
        self.status_code = status_code
        self.words = words
        self.messages: list[bytes] = []


def message_bytes(payload: bytes, *, gzip: bool = False) -> bytes:
    """Return `payload` behind its prefix; with `gzip` compressed, unless that would not make it smaller."""
    if gzip:
        packed = zlib.compress(payload, wbits=GZIP)
        if len(packed) < len(payload):
            return PREFIX.pack(1, len(packed)) + packed
    return PREFIX.pack(0, len(payload)) + payload


class Packed(bytes):
    """A message as it was sent, compressed."""

    __slots__ = ()


class Assembler:
    """Puts one stream's messages together from pieces of any size, in time and memory linear in what arrives.

    `limit` bounds a message, as sent and as inflated, in bytes. `encoding` is the stream's grpc-encoding; one that is
    not known is refused at once, before any message says that it uses it. After a MessageError the stream is over.
    """

    __slots__ = ("_held", "_inflate", "_limit", "_need", "_side")

    def __init__(self, limit: int, encoding: str = "identity", *, is_client: bool = False) -> None:
        if encoding not in INFLATE:
            raise MessageError(StatusCode.UNIMPLEMENTED, f"Compression algorithm '{encoding}' is not supported")
        self._limit = limit
        self._inflate = INFLATE[encoding]
        self._side = "CLIENT" if is_client else "SERVER"
        self._held: bytearray | None = None  # the beginning of a message
        self._need = PREFIX_SIZE  # so many bytes must be held before anything can be done

    @property
    def partial(self) -> bool:
        return self._held is not None

    @property
    def held(self) -> int:
        """Bytes of the message that is not whole."""
        return 0 if self._held is None else len(self._held)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that `data` completes; raises MessageError."""
        messages: list[bytes] = []
        try:
            for message in self.cut(data):
                messages.append(self.unpacked(message))  # noqa: PERF401  # what came before a fault must not be lost
        except MessageError as error:
            error.messages = messages
            raise
        return messages

    def cut(self, data: bytes) -> Iterable[bytes]:
        """The messages that `data` completes, as they were sent: `unpacked` inflates one. All must be taken; raises
        MessageError where one is bad."""
        # Nearly always a piece is one whole message, as it is.
        size = len(data) - PREFIX_SIZE
        if self._held is None and 0 <= size <= self._limit and PREFIX.unpack_from(data) == (0, size):
            return (data[PREFIX_SIZE:],)
        if self._held is not None:
            self._held += data
            if len(self._held) < self._need:
                return ()
            data, self._held, self._need = bytes(self._held), None, PREFIX_SIZE
        return self._split(data)

    def unpacked(self, message: bytes) -> bytes:
        """Return what was packed, or any other message as it is; raises MessageError."""
        return self._inflated(message) if type(message) is Packed else message

    def _split(self, data: bytes) -> Iterator[bytes]:
        """Cut `data`, which starts with a message, into messages; hold what is left."""
        start, end = 0, len(data)
        while end - start >= PREFIX_SIZE:
            flag, size = PREFIX.unpack_from(data, start)
            self._judge(flag, size)
            stop = start + PREFIX_SIZE + size
            if stop > end:
                self._need = PREFIX_SIZE + size
                break
            body = data[start + PREFIX_SIZE : stop]
            yield Packed(body) if flag else body
            start = stop
        if start < end:
            self._held = bytearray(memoryview(data)[start:])

    def _judge(self, flag: int, size: int) -> None:
        if flag > 1:
            raise MessageError(StatusCode.INTERNAL, f"Bad GRPC frame type 0x{flag:02x}")
        if size > self._limit:
            raise self._too_large(str(size))
        if flag and self._inflate is None:
            raise MessageError(StatusCode.INTERNAL, "Compression bit set but no encoding configured")

    def _inflated(self, body: bytes) -> bytes:
        if self._inflate is None or not body:  # nothing at all stands for an empty message, as with grpcio
            return body
        message = self._inflate(body, self._limit + 1)
        if len(message) > self._limit:
            raise self._too_large(f"more than {self._limit}")
        return message

    def _too_large(self, size: str) -> MessageError:
        words = f"{self._side}: Received message larger than max ({size} vs. {self._limit})"
        return MessageError(StatusCode.RESOURCE_EXHAUSTED, words)


def inflated(form: int, body: bytes, most: int) -> bytes:
    """Return what `body` holds, which must be one whole stream of `form`, or the first `most` bytes of it."""
    stream = zlib.decompressobj(form)
    try:
        message = stream.decompress(body, most)
    except zlib.error:
        raise MessageError(StatusCode.INTERNAL, "Decompression failed due to zlib error") from None
    if len(message) < most and not stream.eof:
        raise MessageError(StatusCode.INTERNAL, "Decompression failed due to data error")
    if stream.unused_data:
        raise MessageError(StatusCode.INTERNAL, "Decompression failed due to not all input consumed")
    return message


INFLATE: Final[dict[str, Callable[[bytes, int], bytes] | None]] = {
    "identity": None,
    "gzip": partial(inflated, GZIP),
    "deflate": partial(inflated, ZLIB),  # which is zlib's form, not the bare one
}
