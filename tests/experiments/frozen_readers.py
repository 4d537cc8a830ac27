"""Follows an account on many streams at once, until each is ended; says then, in a line of JSON each, how.

python -m tests.experiments.frozen_readers ADDRESS KEY COUNT, which prints `following` when all are open.
"""

from __future__ import annotations

import asyncio
import json
import sys

import grpc

from outcry import v1
from tests.venues import Stubs


class Reader:
    """One stream, and the numbers it was told."""

    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        request = v1.StreamExecutionsRequest(from_seq=0)
        self.stream = Stubs(channel).feed.StreamExecutions(request, metadata=[("x-api-key", key)])
        self.numbers: list[int] = []
        self.is_open = asyncio.Event()

    async def follow(self) -> None:
        try:
            async for message in self.stream:
                self.is_open.set()
                self.numbers += [report.seq for report in message.reports]
        except grpc.aio.AioRpcError as error:
            assert self.numbers == list(range(1, len(self.numbers) + 1))
            ending = {"last": len(self.numbers), "code": error.code().name, "words": error.details()}
            print(json.dumps(ending), flush=True)


async def main(address: str, key: str, count: int) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        readers = [Reader(channel, key) for _ in range(count)]
        following = [asyncio.create_task(reader.follow()) for reader in readers]
        for reader in readers:
            await reader.is_open.wait()
        print("following", flush=True)
        await asyncio.gather(*following)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
