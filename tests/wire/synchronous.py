"""Scenarios: servicers whose methods are plain functions, which run in threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc

from tests.wire.outcomes import Outcome, one, read, scenario
from tests.wire.services import Context, both_streams, client_stream
from tests.wire.transports import Pair

QUESTIONS = (b"1", b"22", b"333")
THREADS_OF_THE_LOOP = {threading.main_thread()}


@scenario([Outcome([b"122333"]), Outcome([b""])])
async def client_stream_read_in_a_thread(pair: Pair) -> Any:
    def method(requests: Iterator[bytes], context: Context) -> bytes:
        assert threading.current_thread() not in THREADS_OF_THE_LOOP
        return b"".join(requests)

    async with pair.serving({"Join": client_stream(method)}) as link:
        return [await one(link.client_stream("Join")(iter(questions))) for questions in (QUESTIONS, ())]


@scenario(([b"11", b"2222", b"333333"], Outcome([])))
async def both_streams_in_a_thread(pair: Pair) -> Any:
    """Each answer leaves before the next question comes."""

    def method(requests: Iterator[bytes], context: Context) -> Iterator[bytes]:
        for request in requests:
            assert threading.current_thread() not in THREADS_OF_THE_LOOP
            yield request * 2

    async with pair.serving({"Double": both_streams(method)}) as link:
        call = link.both_streams("Double")()
        answers = []
        for question in QUESTIONS:
            await call.write(question)
            answers.append(await call.read())
        await call.done_writing()
        return answers, await read(call)


@scenario(
    [
        Outcome([b"1"]),
        Outcome([], "ABORTED", "enough", raised="AioRpcError"),
        Outcome([], "UNKNOWN", "Unexpected <class 'ValueError'>: words of the error", raised="AioRpcError"),
    ]
)
async def client_stream_left_by_a_thread_before_its_end(pair: Pair) -> Any:
    def method(requests: Iterator[bytes], context: Context) -> bytes:
        first = next(requests)
        if first == b"22":
            context.abort(grpc.StatusCode.ABORTED, "enough")
        if first == b"333":
            raise ValueError("words of the error")
        return first

    async with pair.serving({"First": client_stream(method)}) as link:
        return [await one(link.client_stream("First")(iter((question, b"more")))) for question in QUESTIONS]


@scenario(Outcome([b""]))
async def a_thread_is_offered_nothing_that_must_be_awaited(pair: Pair) -> Any:
    names = ("read", "write", "end", "done", "cancelled", "add_done_callback")

    def method(requests: Iterator[bytes], context: Context) -> bytes:
        return " ".join(name for name in names if hasattr(context, name)).encode()

    async with pair.serving({"Ask": client_stream(method)}) as link:
        return await one(link.client_stream("Ask")(iter(())))


@scenario(Outcome([b"done"], "OK", "", (("before", "1"),), (("after", "2"),)))
async def metadata_from_a_thread(pair: Pair) -> Any:
    def method(requests: Iterator[bytes], context: Context) -> bytes:
        context.send_initial_metadata((("before", "1"),))
        assert not list(requests)
        context.set_trailing_metadata((("after", "2"),))
        return b"done"

    async with pair.serving({"Tell": client_stream(method)}) as link:
        return await one(link.client_stream("Tell")(iter(())))
