"""Traces and metrics by OpenTelemetry; needs the extra ``otel``, and an SDK that the application sets up."""

from __future__ import annotations

from ..common.extras import required

required("opentelemetry.trace", "otel", "mpzmq.otel")

from .instrumentation import client_middleware, instrument  # noqa: E402  (what they need is asked for first)

__all__ = ["client_middleware", "instrument"]
