"""Server interceptors: a chain that is asked for the handler of each call, and may change it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from grpc import StatusCode

from wire.methods import Method
from wire.server_call import ONE_MESSAGE

if TYPE_CHECKING:
    from wire.requests import Head
    from wire.server import Server
    from wire.servicer_context import ServerCall


class Intercepted:
    """Stands for the method of a call until the interceptors have said which it is."""

    starts_at_once = True
    plain = None

    def __init__(self, server: Server, head: Head) -> None:
        self.server = server
        self.details = server.details(head)

    def start(self, call: ServerCall) -> None:
        call.open_requests()
        call.task = call.connection.spawn(self.run(call))

    async def run(self, call: ServerCall) -> None:
        try:
            await self.go_on(call, await self.chain(0)(self.details))
        except asyncio.CancelledError:
            call.end(StatusCode.CANCELLED)
        except Exception as error:  # the edge
            call.fail(error)

    async def go_on(self, call: ServerCall, handler: Any) -> None:
        if handler is None:
            call.end(StatusCode.UNIMPLEMENTED, "Method not found!")
            return
        method = call.method = Method(handler)
        if method.starts_at_once:
            await method.run(call, call.messages())
            return
        if not call.requests:
            call.hold_unfinished()
        request = await call.read()
        if request is grpc.aio.EOF:
            call.end(StatusCode.INTERNAL, ONE_MESSAGE)
        elif call.admit():
            await method.run(call, request)

    def chain(self, at: int) -> Any:
        """What the interceptor at this place is to go on with."""

        async def ask(details: Any) -> Any:
            if at == len(self.server.interceptors):
                return self.server.handler(details)
            return await self.server.interceptors[at].intercept_service(self.chain(at + 1), details)

        return ask
