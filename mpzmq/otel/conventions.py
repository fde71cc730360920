"""The names by which spans and metrics are known: those of the semantic conventions for RPC, and ours.

They are written out, for the conventions are no part of the API: the package with them would be one more requirement.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "BUCKETS",
    "CLIENT_DURATION",
    "ERROR_TYPE",
    "EXCEPTION",
    "EXCEPTION_MESSAGE",
    "EXCEPTION_STACKTRACE",
    "EXCEPTION_TYPE",
    "EXECUTED",
    "FIRST_ITEM",
    "ITEMS",
    "LAST_ITEM",
    "OPERATION",
    "PEER",
    "REMOTE_CODE",
    "REMOTE_TYPE",
    "REQUEST_ID",
    "RPC_METHOD",
    "RPC_SYSTEM",
    "SCHEMA_URL",
    "SERVER_ADDRESS",
    "SERVER_DURATION",
    "SERVER_PORT",
    "STREAM_LEFT",
    "SYSTEM",
]

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the conventions."""

SYSTEM: Final = "mpzmq"
RPC_SYSTEM: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"

CLIENT_DURATION: Final = "rpc.client.call.duration"
SERVER_DURATION: Final = "rpc.server.call.duration"
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds, as the conventions want them."""

EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

OPERATION: Final = "mpzmq.operation"
REQUEST_ID: Final = "mpzmq.request_id"
PEER: Final = "mpzmq.peer"
EXECUTED: Final = "mpzmq.executed"
REMOTE_TYPE: Final = "mpzmq.remote_error.type"
REMOTE_CODE: Final = "mpzmq.remote_error.code"
ITEMS: Final = "mpzmq.stream.items"

FIRST_ITEM: Final = "mpzmq.stream.first_item"
LAST_ITEM: Final = "mpzmq.stream.last_item"
STREAM_LEFT: Final = "mpzmq.stream.left"
"""Events."""
