// Talks to the test's service with @grpc/grpc-js, and prints what it heard as JSON. Its requests come in a file.
"use strict";
const fs = require("fs");
const grpc = require("@grpc/grpc-js");

const [address, service, requestsFile] = process.argv.slice(2);
const decoded = (_, value) => (typeof value === "string" ? Buffer.from(value, "base64") : value);
const requests = JSON.parse(fs.readFileSync(requestsFile, "utf8"), decoded);
const same = (bytes) => bytes;

const method = (name, requestStream, responseStream) => ({
  path: `/${service}/${name}`, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
const Client = grpc.makeGenericClientConstructor({
  Echo: method("Echo", false, false), Unary: method("Unary", false, false), Abort: method("Abort", false, false),
  Hang: method("Hang", false, false), Missing: method("Missing", false, false), Input: method("Input", true, false),
  Output: method("Output", false, true), HangStream: method("HangStream", false, true), Duplex: method("Duplex", true, true),
}, service);
const client = new Client(address, grpc.credentials.createInsecure());

const unary = (name, request, metadata = new grpc.Metadata(), options = {}) => new Promise((resolve) => {
  const heard = {};
  const call = client[name](request, metadata, options, (error, answer) => Object.assign(heard, { error, answer }));
  call.on("metadata", (initial) => { heard.initial = initial; });
  call.on("status", (status) => resolve({ ...heard, status }));
});

// Reads a stream to its end; `onData` sees each answer.
const read = (call, onData = () => {}) => new Promise((resolve) => {
  const sizes = [];
  call.on("data", (answer) => { sizes.push(answer.length); onData(answer); });
  call.on("error", () => {});
  call.on("status", (status) => resolve({ sizes, status }));
});

const written = (call, messages) => { messages.forEach((message) => call.write(message)); call.end(); };

const clientStream = () => new Promise((resolve, reject) => {
  written(client.Input((error, answer) => (error ? reject(error) : resolve(answer.toString()))), requests.inputs);
});

const pingPong = () => {
  const left = [...requests.pings];
  const call = client.Duplex();
  const next = () => (left.length ? call.write(left.shift()) : call.end());
  const heard = read(call, next);
  next();
  return heard;
};

const echoed = async () => {
  const metadata = new grpc.Metadata();
  metadata.set("x-grpc-test-echo-initial", "first");
  metadata.set("x-grpc-test-echo-trailing-bin", Buffer.from([0xab, 0xab]));
  const heard = await unary("Unary", requests.small, metadata);
  const [first] = heard.initial.get("x-grpc-test-echo-initial");
  const [last] = heard.status.metadata.get("x-grpc-test-echo-trailing-bin");
  return [first, last.toString("hex")];
};

const cancelled = () => {
  const call = client.HangStream(Buffer.alloc(0));
  return read(call, () => call.cancel());
};

const main = async () => {
  const words = (heard) => [heard.status.code, heard.status.details];
  const heard = {
    empty: (await unary("Echo", Buffer.alloc(0))).answer.length,
    large: (await unary("Unary", requests.large)).answer.length,
    client_stream: await clientStream(),
    server_stream: (await read(client.Output(requests.output))).sizes,
    ping_pong: (await pingPong()).sizes,
    metadata: await echoed(),
    status: words(await unary("Unary", requests.status)),
    abort: words(await unary("Abort", requests.status)),
    missing: words(await unary("Missing", Buffer.alloc(0))),
    deadline: (await unary("Hang", Buffer.alloc(0), undefined, { deadline: Date.now() + 200 })).status.code,
    cancelled: (await cancelled()).status.code,
  };
  client.close();
  console.log(JSON.stringify(heard));
};
main();
