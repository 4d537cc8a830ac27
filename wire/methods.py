"""How each of the four kinds of method is run: registered handlers as the server calls them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any

import grpc
from grpc import StatusCode

from wire.threads import Aborted, answers_in_thread, in_thread

if TYPE_CHECKING:
    from wire.servicer_context import ServerCall


def as_bytes(message: Any) -> bytes:
    """Stands for a serialiser that was not given: None is the empty message, and text is in UTF-8, as in grpcio."""
    if isinstance(message, bytes):
        return message
    if message is None:
        return b""
    if isinstance(message, str):
        return message.encode()
    raise TypeError(f"Expected bytes, got {type(message).__name__}")


class Method:
    """One handler. `plain`, where there is one, is called with (request, call) in the turn in which the request came,
    and answers by `call.reply` or `call.end`, whenever it can: no task, no future."""

    def __init__(self, handler: Any) -> None:
        self.parse: Callable[[bytes], Any] = handler.request_deserializer or as_bytes
        self.encode: Callable[[Any], bytes] = handler.response_serializer or as_bytes
        self.starts_at_once: bool = handler.request_streaming
        self.streams_answers: bool = handler.response_streaming
        kinds = [
            "stream" if streams else "unary" for streams in (handler.request_streaming, handler.response_streaming)
        ]
        self.behaviour: Callable[..., Any] = getattr(handler, "_".join(kinds))
        self.plain = plain_of(self.behaviour) if kinds == ["unary", "unary"] else None

    def start(self, call: ServerCall) -> None:
        """Begin a call whose requests are a stream."""
        call.open_requests()
        call.task = call.connection.spawn(self.run(call, call.messages()))

    async def run(self, call: ServerCall, request: Any) -> None:
        """Run the servicer's method and end the call as it says."""
        try:
            if self.streams_answers:
                await self.stream(call, request)
                call.end(call.code_or_ok(), call.words)
            else:
                answer = await self.answer(call, request)
                if call.code_or_ok() is StatusCode.OK:
                    call.reply(answer)
                else:
                    call.end(call.code_or_ok(), call.words)
        except grpc.aio.AbortError as error:
            call.fail(error)  # of another call, if this one has not ended
        except Aborted:
            call.end(call.code_or_ok(), call.words)
        except asyncio.CancelledError:
            call.end(StatusCode.CANCELLED, "The server has cancelled the call")
        except Exception as error:  # the edge
            call.fail(error)

    async def answer(self, call: ServerCall, request: Any) -> Any:
        if inspect.iscoroutinefunction(self.behaviour):
            return await self.behaviour(request, call)
        return await in_thread(self.behaviour, call, request)

    async def stream(self, call: ServerCall, request: Any) -> None:
        if inspect.isasyncgenfunction(self.behaviour):
            async for answer in self.behaviour(request, call):
                await call.write(answer)
        elif inspect.iscoroutinefunction(self.behaviour):
            await self.behaviour(request, call)
        else:
            async for answer in answers_in_thread(self.behaviour, call, request):
                await call.write(answer)


def plain_of(behaviour: Callable[..., Any]) -> Callable[[Any, ServerCall], None] | None:
    """The plain form of a method, which is an attribute of the method's function."""
    plain = getattr(behaviour, "plain", None)
    owner = getattr(behaviour, "__self__", None)
    return plain if plain is None or owner is None else MethodType(plain, owner)
