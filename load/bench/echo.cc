// A bare gRPC C++ server that answers every SubmitOrder with the bytes it was sent: what gRPC's own core costs without
// Python. Raw buffers, so no protobuf is compiled in.
//
//   echo sync|callback    prints "ready grpc=HOST:PORT" when it serves, and serves until it is killed
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/method_handler.h>
#include <grpcpp/support/server_callback.h>
#if __has_include(<grpcpp/impl/server_callback_handlers.h>)
#include <grpcpp/impl/server_callback_handlers.h>
#else
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#endif

#include <cstdio>
#include <cstring>
#include <memory>

namespace {

using grpc::ByteBuffer;
namespace internal = grpc::internal;

const char METHOD[] = "/outcry.v1.OrderEntry/SubmitOrder";

class SyncEcho : public grpc::Service {
 public:
  SyncEcho() {
    auto echo = [](SyncEcho*, grpc::ServerContext*, const ByteBuffer* request, ByteBuffer* answer) {
      *answer = *request;
      return grpc::Status::OK;
    };
    AddMethod(new internal::RpcServiceMethod(
        METHOD, internal::RpcMethod::NORMAL_RPC,
        new internal::RpcMethodHandler<SyncEcho, ByteBuffer, ByteBuffer>(echo, this)));
  }
};

class CallbackEcho : public grpc::Service {
 public:
  CallbackEcho() {
    AddMethod(new internal::RpcServiceMethod(METHOD, internal::RpcMethod::NORMAL_RPC, nullptr));
    auto echo = [](grpc::CallbackServerContext* context, const ByteBuffer* request, ByteBuffer* answer) {
      *answer = *request;
      auto* reactor = context->DefaultReactor();
      reactor->Finish(grpc::Status::OK);
      return reactor;
    };
    MarkMethodCallback(0, new internal::CallbackUnaryHandler<ByteBuffer, ByteBuffer>(echo));
  }
};

int Serve(grpc::Service* service) {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) return 1;
  std::printf("ready grpc=127.0.0.1:%d\n", port);
  std::fflush(stdout);
  server->Wait();
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count == 2 && !std::strcmp(arguments[1], "sync")) {
    SyncEcho echo;
    return Serve(&echo);
  }
  if (count == 2 && !std::strcmp(arguments[1], "callback")) {
    CallbackEcho echo;
    return Serve(&echo);
  }
  std::fprintf(stderr, "usage: echo sync|callback\n");
  return 2;
}
