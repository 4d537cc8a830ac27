"""What a server's header blocks say of a call. Each block is read once and remembers what it was found to say."""

from __future__ import annotations

from grpc import StatusCode
from msgspec import Struct

from wire.hpack import Block
from wire.metadata import Metadatum, from_fields
from wire.statuses import code_of_http, status_of

IDENTITY = "identity"  # the encoding of messages that are not compressed


class Ending(Struct, frozen=True):
    """How a call ended."""

    code: StatusCode
    details: str = ""
    metadata: tuple[Metadatum, ...] = ()


class AnswerHead(Struct, frozen=True):
    """How an answer begins. `refusal` ends it at once; `ending` does where the answer is no more than this."""

    encoding: str = IDENTITY
    metadata: tuple[Metadatum, ...] = ()
    refusal: Ending | None = None
    ending: Ending | None = None


NO_STATUS = Ending(StatusCode.UNKNOWN, "The answer ended without a status")
TOO_LARGE = Ending(StatusCode.RESOURCE_EXHAUSTED, "Received metadata larger than max")


def head_of(block: Block) -> AnswerHead:
    head = block.memo
    if not isinstance(head, AnswerHead):
        head = block.memo = read_head(block)
    return head


def ending_of(block: Block) -> Ending:
    ending = block.memo
    if not isinstance(ending, Ending):
        ending = block.memo = read_ending(block) or NO_STATUS
    return ending


def read_head(block: Block) -> AnswerHead:
    if block.too_large:
        return AnswerHead(refusal=TOO_LARGE)
    fields = dict(block.fields)
    ending = read_ending(block)
    status = fields[b":status"]
    if status != b"200" and ending is None:
        number = int(status) if status.isdigit() else 0
        words = f"Received http2 header with status: {status.decode('latin-1')}"
        return AnswerHead(refusal=Ending(code_of_http(number), words))
    content_type = fields.get(b"content-type", b"application/grpc")
    if not content_type.startswith(b"application/grpc") and ending is None:
        words = f"Received a content-type that is not gRPC's: {content_type.decode('latin-1')}"
        return AnswerHead(refusal=Ending(StatusCode.UNKNOWN, words))
    encoding = fields.get(b"grpc-encoding", IDENTITY.encode()).decode("latin-1")
    try:
        return AnswerHead(encoding, from_fields(block.fields), None, ending)
    except ValueError as error:
        return AnswerHead(refusal=Ending(StatusCode.INTERNAL, str(error)))


def read_ending(block: Block) -> Ending | None:
    """None where the block has no status."""
    if block.too_large:
        return TOO_LARGE
    status = status_of(block.fields)
    if status is None:
        return None
    code, details = status
    try:
        return Ending(code, "" if code is StatusCode.OK else details, from_fields(block.fields))
    except ValueError as error:
        return Ending(StatusCode.INTERNAL, str(error))
