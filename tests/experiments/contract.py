"""The whole contract, found by reflection: every RPC that a server has and requests for it, every route of the bridge.

What is added to the contract is in here without being listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory, text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from rest_bridge.app import create_app
from rest_bridge.settings import Settings
from tests.experiments.exchanges import HANG_S, UNIT

KEYLESS_SERVICES = ("outcry.v1.MarketData", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")
KEYLESS = {"outcry.v1.Accounts.Register"}
KEYLESS_ROUTES = {("post", "/auth/register"), ("get", "/ws")}  # the socket has its own way to say no
ORDINARY: Mapping[str, object] = {
    "instrument_id": "AAPL",
    "side": 1,
    "order_type": 1,
    "quantity": UNIT,
    "price": 100 * UNIT,
    "request_id": 1,
}
VOLATILE = {"seq", "last_seq", "journal_seq", "time_ns", "order_id", "order_ids"}  # of an answer


async def methods(channel: grpc.aio.Channel) -> list[MethodDescriptor]:
    """Every RPC that the server behind `channel` says it has."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[no-untyped-call]
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    answer = await call.read()
    call.cancel()
    find = descriptor_pool.Default().FindServiceByName  # type: ignore[no-untyped-call]
    return [method for service in answer.list_services_response.service for method in find(service.name).methods]


def needs_key(method: MethodDescriptor) -> bool:
    return method.containing_service.full_name not in KEYLESS_SERVICES and method.full_name not in KEYLESS


def requests(kind: Descriptor, values: Mapping[str, object]) -> Iterator[Message]:
    """A request for every choice that the message leaves, its fields filled by name."""
    choices = [choice.fields for choice in kind.oneofs if not choice.name.startswith("_")]  # those are optional fields
    plain = [field for field in kind.fields if field.name not in {f.name for choice in choices for f in choice}]
    for chosen in product(*choices):
        fields = [*plain, *chosen]
        for content in product(*(candidates(field, values) for field in fields)):
            named = {field.name: value for field, value in zip(fields, content, strict=True) if value is not None}
            yield message_factory.GetMessageClass(kind)(**named)


def candidates(field: FieldDescriptor, values: Mapping[str, object]) -> list[Any]:
    repeated = field.is_repeated
    if field.message_type is None:
        return [None if repeated else values.get(field.name, ORDINARY.get(field.name))]
    inner = requests(field.message_type, values)
    return [[message] for message in inner] if repeated else list(inner)


async def answer(channel: grpc.aio.Channel, method: MethodDescriptor, request: bytes, metadata: Any) -> str:
    """What the first answer is, in words, but for what differs from call to call."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    read = message_factory.GetMessageClass(method.output_type).FromString
    try:
        if not method.server_streaming:
            message = await channel.unary_unary(path, None, read)(request, metadata=metadata, timeout=HANG_S)
        elif not method.client_streaming:
            stream = channel.unary_stream(path, None, read)(request, metadata=metadata, timeout=HANG_S)
            message = await stream.read()
            stream.cancel()
        else:
            stream = channel.stream_stream(path, None, read)(iter([request]), metadata=metadata, timeout=HANG_S)
            message = await stream.read()
            stream.cancel()
    except grpc.aio.AioRpcError as error:
        return f"{error.code()} {error.details()} {rpc_status.from_call(error)}"
    settle(message)
    return text_format.MessageToString(message)


def settle(message: Message) -> None:
    """Clear what differs from call to call."""
    for field, value in message.ListFields():
        if field.name in VOLATILE:
            message.ClearField(field.name)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for inner in value if field.is_repeated else [value]:
                settle(inner)


def without(words: str, *names: object) -> str:
    """The words, but for the names that were asked for."""
    return re.sub("|".join(re.escape(str(name)) for name in names), "ASKED", words)


def routes() -> list[tuple[str, str]]:
    """Every documented call of the bridge: method and path."""
    paths = create_app(Settings(_cli_parse_args=False)).openapi()["paths"]
    return [(method, path) for path, calls in paths.items() for method in calls]
