"""What a caller sees of a call, as a value that two transports can be compared by; and the list of all scenarios."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import grpc
import grpc.aio

from tests.wire.transports import Pair

Scenario = Callable[[Pair], Awaitable[Any]]
SCENARIOS: dict[str, tuple[Scenario, Any]] = {}


class Anything:
    """Equals whatever the reference says."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


AS_REFERENCE = Anything()


def scenario(expected: Any = AS_REFERENCE) -> Callable[[Scenario], Scenario]:
    """Something done over a pair of transports that answers what was seen of it: `expected`, and what grpcio shows."""

    def listed(function: Scenario) -> Scenario:
        name = function.__name__
        assert name not in SCENARIOS, name
        SCENARIOS[name] = (function, expected)
        return function

    return listed


class Outcome(NamedTuple):
    """The end of a call."""

    answers: list[bytes]
    code: str = "OK"
    details: str | None = ""
    initial: Sequence[tuple[str, str | bytes]] = ()
    trailing: Sequence[tuple[str, str | bytes]] = ()
    raised: str = ""
    done: bool = True
    cancelled: bool = False


def shown(metadata: Any) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((key, value) for key, value in metadata or ())


async def ended(call: Any, answers: list[bytes], raised: str) -> Outcome:
    """The status as the call tells it, when it is over."""
    code = await call.code()
    details = await call.details()
    initial, trailing = shown(await call.initial_metadata()), shown(await call.trailing_metadata())
    return Outcome(answers, code.name, details, initial, trailing, raised, call.done(), call.cancelled())


async def failed(call: Any, answers: list[bytes], error: grpc.aio.AioRpcError) -> Outcome:
    """The error says what the call says."""
    told = await ended(call, answers, "AioRpcError")
    said = (error.code().name, error.details(), shown(error.initial_metadata()), shown(error.trailing_metadata()))
    assert said == (told.code, told.details, told.initial, told.trailing)
    return told


async def one(call: Any) -> Outcome:
    """Await the answer."""
    try:
        return await ended(call, [await call], "")
    except asyncio.CancelledError:
        return await ended(call, [], "CancelledError")
    except grpc.aio.AioRpcError as error:
        return await failed(call, [], error)


async def iterated(call: Any) -> Outcome:
    """Iterate over the answers."""
    answers: list[bytes] = []
    try:
        async for answer in call:
            answers.append(answer)  # noqa: PERF401  # what came before the end must not be lost
    except asyncio.CancelledError:
        return await ended(call, answers, "CancelledError")
    except grpc.aio.AioRpcError as error:
        return await failed(call, answers, error)
    return await ended(call, answers, "")


async def read(call: Any) -> Outcome:
    """Read the answers one by one."""
    answers: list[bytes] = []
    try:
        while (answer := await call.read()) is not grpc.aio.EOF:
            answers.append(answer)
    except asyncio.CancelledError:
        return await ended(call, answers, "CancelledError")
    except grpc.aio.AioRpcError as error:
        return await failed(call, answers, error)
    return await ended(call, answers, "")


async def raised(awaitable: Awaitable[Any]) -> str:
    """The name of what comes instead of an answer, with the status where it has one."""
    try:
        return f"answer {await awaitable!r}"
    except grpc.aio.AioRpcError as error:
        return f"AioRpcError {error.code().name}"
    except (Exception, asyncio.CancelledError) as error:
        return type(error).__name__


def without_details(outcome: Outcome) -> Outcome:
    """For ends whose words tell of the transport's inside."""
    return outcome._replace(details="")
