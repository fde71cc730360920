"""Bytes to records, and back."""

from __future__ import annotations

from .messages import SLACK, Message, MessageDecoder
from .records import (
    BATCH_BYTES,
    EXECUTED,
    EXECUTED_NUMBER,
    LINK_TAG,
    MAX_TEXT,
    STATUS_NUMBER,
    STATUSES,
    TAG,
    VERSION,
    Frames,
    Record,
    announced,
    error,
    hello,
    join,
    welcome,
)

__all__ = [
    "BATCH_BYTES",
    "EXECUTED",
    "EXECUTED_NUMBER",
    "LINK_TAG",
    "MAX_TEXT",
    "SLACK",
    "STATUSES",
    "STATUS_NUMBER",
    "TAG",
    "VERSION",
    "Frames",
    "Message",
    "MessageDecoder",
    "Record",
    "announced",
    "error",
    "hello",
    "join",
    "welcome",
]
