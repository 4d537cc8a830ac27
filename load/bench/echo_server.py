"""A bare grpcio.aio server that answers every SubmitOrder with the bytes it was sent: what grpcio alone costs.

`python -m load.bench.echo_server` prints its address when it serves.
"""

from __future__ import annotations

import asyncio
import gc

import grpc
import uvloop

METHOD = "/outcry.v1.OrderEntry/SubmitOrder"


class Echo(grpc.GenericRpcHandler):
    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return grpc.unary_unary_rpc_method_handler(echo) if call.method == METHOD else None


async def echo(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return request


async def serve() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    gc.freeze()
    print(f"ready grpc=127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
