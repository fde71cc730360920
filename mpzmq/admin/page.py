"""The page: one file, whose script and style are the only ones that a browser may run."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from http import HTTPStatus
from importlib.resources import files

from .http_server import Reply

__all__ = ["page_reply"]


@functools.cache
def page_reply() -> Reply:
    """The page. What it shows it fetches itself, from ``/status.json``."""
    page = files(__package__).joinpath("page.html").read_text("utf-8")
    policy = {
        "default-src": "'none'",
        "script-src": _hash_of(page, "script"),
        "style-src": _hash_of(page, "style"),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    headers = {
        "Content-Security-Policy": "; ".join(f"{directive} {source}" for directive, source in policy.items()),
        "Referrer-Policy": "no-referrer",
    }
    return Reply(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8", headers)


def _hash_of(page: str, element: str) -> str:
    """What stands in the one element of a name, as the policy names it."""
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
