"""The gRPC contract: messages, enums and stubs, generated from `protos/outcry/v1/` at set-up."""

from outcry.v1.accounts_pb2 import *
from outcry.v1.accounts_pb2_grpc import *
from outcry.v1.common_pb2 import *
from outcry.v1.errors_pb2 import *
from outcry.v1.executions_pb2 import *
from outcry.v1.executions_pb2_grpc import *
from outcry.v1.market_data_pb2 import *
from outcry.v1.market_data_pb2_grpc import *
from outcry.v1.operations_pb2 import *
from outcry.v1.operations_pb2_grpc import *
from outcry.v1.orders_pb2 import *
from outcry.v1.orders_pb2_grpc import *
