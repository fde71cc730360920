"""Packages of the extras, imported when they are asked for."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["how_to_install", "required"]


def how_to_install(extra: str) -> str:
    """What to do where the packages of an extra are missing."""
    return f"install mpzmq-engine[{extra}] (from a checkout: .venv/bin/pip install '.[{extra}]')"


def required(module: str, extra: str, what: str) -> Any:
    """A module of another package.

    Args:
        module: its name.
        extra: brings the package.
        what: needs it, in the words of the user.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(f"{what} needs {module.partition('.')[0]}: {how_to_install(extra)}") from None
