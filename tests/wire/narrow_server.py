"""A server that may open few files, as a process: `narrow_server FILES CONNECTIONS`, 0 for as many as it thinks right.

It prints its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

import msgspec
import uvloop

import wire
from tests.wire.attacker import HOST
from tests.wire.services import Context, Service, unary


async def main(files: int, connections: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    server = wire.server(options=[("grpc.so_reuseport", 0)])
    if connections:
        server.settings = msgspec.structs.replace(server.settings, connections=connections)

    async def rests(request: bytes, context: Context) -> bytes:
        return str(sum(listener.rests for listener in server.listeners)).encode()

    def open_file(request: bytes, context: Context) -> bytes:
        with Path(__file__).open("rb") as file:
            return file.read(1)

    server.add_generic_rpc_handlers((Service().handlers({"Rests": unary(rests), "OpenFile": unary(open_file)}),))
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1:])))
