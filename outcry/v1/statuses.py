"""The one table of statuses, read from the options of the contract's enum of codes."""

from __future__ import annotations

from outcry.v1.errors_pb2 import RejectReason, grpc_code, http_status

OPTIONS = {value.number: value.GetOptions().Extensions for value in RejectReason.DESCRIPTOR.values if value.number}
GRPC_CODE: dict[int, int] = {number: options[grpc_code] for number, options in OPTIONS.items()}
HTTP_STATUS: dict[int, int] = {number: options[http_status] for number, options in OPTIONS.items()}
