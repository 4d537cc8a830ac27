"""HTTP/2 and gRPC of our own, in plain calls on whatever loop runs."""
