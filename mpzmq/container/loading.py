"""Finds the server that a text such as ``"module:server"`` names."""

from __future__ import annotations

import difflib
import importlib
import sys
import traceback
from pathlib import Path

from .process import importing
from .server import ContainerServer

__all__ = ["LoadError", "load_server"]


class LoadError(Exception):
    """No server could be loaded; the text says in one line why, and what to do."""


def load_server(spec: str, folder: str | Path = ".") -> ContainerServer:
    """Imports a module and returns its server.

    Args:
        spec: ``"module:server"``, or ``"package.module:object.server"``.
        folder: where modules are looked for before everywhere else.

    Raises:
        LoadError: there is no such module or server, or the module raised while it was imported. That exception is
            then its ``__cause__``.
    """
    module_name, colon, attribute = spec.partition(":")
    if not (colon and module_name and attribute):
        raise LoadError(f"{spec!r} names no server: write MODULE:SERVER, as in 'container:server'{_hint(spec)}")
    if module_name.endswith(".py") or "/" in module_name:
        raise LoadError(f"{module_name!r} is a path, not a module{_hint(spec)}")
    try:
        root = str(Path(folder).resolve())
    except OSError as error:
        raise LoadError(f"the folder {str(folder)!r} is not to be found any more: {error.strerror}") from None
    if root not in sys.path:
        sys.path.insert(0, root)
    found: object = _imported(module_name, root)
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise LoadError(f"{spec!r} names no server: {_missing(found, name, module_name)}") from None
    if not isinstance(found, ContainerServer):
        what = "the class itself" if found is ContainerServer else f"of type {type(found).__name__}"
        raise LoadError(f"{spec!r} is not a server but {what}: it has to be a ContainerServer(){_servers(module_name)}")
    return found


def _imported(name: str, root: str) -> object:
    token = importing.set(name)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise LoadError(f"there is no module {error.name!r} in {root}, nor is one installed") from None
        raise LoadError(_raised(name, error)) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too: the module has decided something, but not what was asked
        raise LoadError(_raised(name, error)) from error
    finally:
        importing.reset(token)


def _raised(name: str, error: BaseException) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1:]
    at = f" ({where[0].filename}, line {where[0].lineno})" if where else ""
    if isinstance(error, SyntaxError):
        at = f" ({error.filename}, line {error.lineno})"
    said = traceback.format_exception_only(error)[-1].strip().replace("\n", " ")
    return f"the module {name!r} cannot be imported: {said}{at}"


def _missing(found: object, name: str, module_name: str) -> str:
    close = difflib.get_close_matches(name, vars(found) if hasattr(found, "__dict__") else (), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else _servers(module_name)
    return f"there is no {name!r} in it{hint}"


def _servers(module_name: str) -> str:
    """The servers that there are, as the end of a message."""
    module = vars(sys.modules[module_name])
    names = [name for name, value in module.items() if isinstance(value, ContainerServer)]
    return f"; there is {' and '.join(f'{module_name}:{name}' for name in names)}" if names else ""


def _hint(spec: str) -> str:
    """What was probably meant, where a path was written."""
    path, _, attribute = spec.partition(":")
    if not path.endswith(".py"):
        return ""
    folder, stem = str(Path(path).parent), Path(path).stem
    app_dir = "" if folder == "." else f" with --app-dir {folder}"
    return f": write {stem}:{attribute or 'server'}{app_dir}"
