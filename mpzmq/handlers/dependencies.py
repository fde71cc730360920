"""Dependencies: what a handler is given beside its arguments, made for its request, and closed behind it."""

from __future__ import annotations

import contextlib
import functools
import inspect
import typing
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..common.set_module import set_module
from ..common.text import repr_of, text_of, type_name
from .signatures import called_first, context_parameter, signature_of, works_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from ..context import RequestContext

    _Manager = AbstractContextManager[Any] | AbstractAsyncContextManager[Any]

__all__ = ["Dependencies", "Depends", "injected_parameters", "provider_of"]

_traceback: Any = BaseException.__traceback__  # of the base class: an error of the application may have one of its own

KNOWN_PROVIDERS = 1000
"""Functions that make dependencies, and whose signatures are not read again."""


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class Depends:
    """Says in an annotation who makes a parameter: ``db: Annotated[Database, Depends(get_db)]``.

    It is made once a request, however many parameters name it, and closed behind the request if it is a generator.

    Attributes:
        dependency: a function, an async one, or a generator of either kind that yields once. Each of its parameters is
            a dependency, a ``RequestContext``, or has a default.
    """

    dependency: Callable[..., Any]

    def __post_init__(self) -> None:
        if not callable(self.dependency):
            raise TypeError(f"Depends() takes what makes the value, a function, not {type_name(self.dependency)}")
        try:
            hash(self.dependency)
        except TypeError:
            raise TypeError(f"Depends() takes what can be hashed, which {repr_of(self.dependency)} cannot") from None


class Provider:
    """What makes a dependency, and what has to be known to call it.

    Args:
        dependency: what is called.

    Raises:
        TypeError: a parameter of it is nothing that could be given to it.
    """

    def __init__(self, dependency: Callable[..., Any]) -> None:
        what = repr_of(dependency)
        self._make = dependency
        # A decorator around a generator may give what that does, or a context manager of it; or it may give a value.
        self._yields = any(
            inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
            for function in (called_first(dependency), works_in(dependency))
        )
        try:
            parameters = list(signature_of(dependency).parameters.values())
        except ValueError:  # of what is written in C
            parameters = []
        context = context_parameter(dependency, parameters)
        self.needs: dict[str, Depends | None] = {}
        self._positional = 0
        for parameter in parameters:
            needed = dependency_of(dependency, parameter)
            if needed is None and parameter.name != context:
                if parameter.default is parameter.empty and parameter.kind not in (
                    parameter.VAR_POSITIONAL,
                    parameter.VAR_KEYWORD,
                ):
                    raise TypeError(
                        f"the dependency {what} has a parameter {parameter.name!r} that nobody gives to it: it is a"
                        " RequestContext, an Annotated[..., Depends(...)], or has a default"
                    )
                continue
            self._positional += parameter.kind is parameter.POSITIONAL_ONLY
            self.needs[parameter.name] = needed

    async def make(self, values: dict[str, Any], opened: list[_Manager]) -> Any:
        """Makes the value.

        Args:
            values: those of its parameters.
            opened: what is to be closed behind the request, in the order in which it was opened.
        """
        args = [values.pop(name) for name in list(values)[: self._positional]]
        value = self._make(*args, **values)
        if inspect.iscoroutine(value):
            value = await value
        return await _entered(value, opened) if self._yields else value


async def _entered(value: Any, opened: list[_Manager]) -> Any:
    """What a generator that was called yields; it goes on when what was opened is closed."""
    if inspect.isasyncgen(value):
        value = contextlib.asynccontextmanager(lambda: value)()
    elif inspect.isgenerator(value):
        value = contextlib.contextmanager(lambda: value)()
    if issubclass(type(value), contextlib.AsyncContextDecorator):  # what contextlib makes of generators
        yielded = await value.__aenter__()
    elif issubclass(type(value), contextlib.ContextDecorator):
        yielded = value.__enter__()
    else:
        return value
    opened.append(value)
    return yielded


@functools.lru_cache(KNOWN_PROVIDERS)
def provider_of(dependency: Callable[..., Any]) -> Provider:
    """What makes a dependency.

    Raises:
        TypeError: it cannot be called, or a parameter of it is nothing that could be given to it.
    """
    if not callable(dependency):
        raise TypeError(f"a dependency is made by a function, not by {type_name(dependency)}")
    return Provider(dependency)


def check(dependency: Callable[..., Any], above: tuple[Callable[..., Any], ...] = ()) -> None:
    """Before it is used: what it needs in its turn can be made, too.

    Raises:
        TypeError: it cannot, or a dependency needs itself.
    """
    if dependency in above:
        raise TypeError(f"the dependency {repr_of(dependency)} needs itself")
    for needed in provider_of(dependency).needs.values():
        if needed is not None:
            check(needed.dependency, (*above, dependency))


class Dependencies:
    """The dependencies of one request.

    Args:
        context: of the request.
        overrides: what is called in a dependency's place.
    """

    def __init__(self, context: RequestContext, overrides: Mapping[Callable[..., Any], Callable[..., Any]]) -> None:
        self._context = context
        self._overrides = overrides
        self._made: dict[Callable[..., Any], Any] = {}
        self._opened: list[_Manager] = []

    async def get(self, depends: Depends, above: tuple[Callable[..., Any], ...] = ()) -> Any:
        """The value of one, made if it is not there yet.

        Args:
            depends: which one.
            above: those that need it, to find circles among overrides.

        Raises:
            BaseException: what making it has raised.
        """
        dependency = self._overrides.get(depends.dependency, depends.dependency)
        if dependency not in self._made:
            if dependency in above:
                raise TypeError(f"the dependency {repr_of(dependency)} needs itself")
            above = (*above, dependency)
            provider = provider_of(dependency)
            values = {
                name: self._context if needed is None else await self.get(needed, above)
                for name, needed in provider.needs.items()
            }
            self._made[dependency] = await provider.make(values, self._opened)
        return self._made[dependency]

    async def close(self, error: BaseException | None) -> None:
        """Closes them, the last one first; once.

        Args:
            error: with which the request ends, so that they can see it. It stays the request's, whatever they do with
                it, unless one of them raises another.

        Raises:
            BaseException: what closing them has raised.
        """
        # No AsyncExitStack: where one of them raises, its frame keeps the traceback, which keeps that frame.
        opened, self._opened = self._opened, []
        self._made.clear()
        seen = error
        try:
            while opened:
                manager = opened.pop()
                given = (None, None, None) if seen is None else (type(seen), seen, _traceback.__get__(seen))
                try:
                    if isinstance(manager, AbstractAsyncContextManager):
                        is_swallowed = await manager.__aexit__(*given)
                    else:
                        is_swallowed = manager.__exit__(*given)
                except BaseException as raised:
                    seen = raised
                else:
                    seen = None if is_swallowed else seen
                del given
            if seen is not None and seen is not error:
                raise seen
        finally:
            del seen


def injected_parameters(handler: Callable[..., Any], parameters: list[inspect.Parameter]) -> dict[str, Depends | None]:
    """The parameters of a handler that its caller does not give, with who makes them; None: it is the context.

    Raises:
        TypeError: one of them cannot be given.
    """
    context = context_parameter(handler, parameters)
    found: dict[str, Depends | None] = {}
    for place, parameter in enumerate(parameters):
        depends = dependency_of(handler, parameter)
        if depends is not None:
            check(depends.dependency)
            if parameter.kind is parameter.POSITIONAL_ONLY and any(
                before.default is not before.empty for before in parameters[:place]
            ):
                raise TypeError(
                    f"{repr_of(handler)}: a positional-only dependency cannot stand behind optional parameters"
                )
        if depends is not None or parameter.name == context:
            found[parameter.name] = depends
    return found


def dependency_of(handler: Callable[..., Any], parameter: inspect.Parameter) -> Depends | None:
    """Who makes a parameter; None: its annotation names nobody.

    Raises:
        TypeError: the annotation cannot be read, or says it in a way that means nothing.
    """
    what = f"the parameter {parameter.name!r} of {repr_of(handler)}"
    if type(parameter.default) is Depends:
        raise TypeError(f"{what} has Depends as its default: write {parameter.name}: Annotated[..., Depends(...)]")
    hint = _hint(handler, parameter, what)
    while type(hint).__name__ == "TypeAliasType":  # since 3.12
        hint = hint.__value__
    found: list[Any] = [one for one in _metadata(hint) if one is Depends or type(one) is Depends]
    if not found:
        if any(_mentions(part) for part in typing.get_args(hint)):
            raise TypeError(f"{what} has Depends inside of its type: Annotated[..., Depends(...)] stands around it all")
        return None
    if len(found) > 1 or found[0] is Depends:
        raise TypeError(f"{what} names one function that makes it: Annotated[..., Depends(get_it)]")
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise TypeError(f"{what} is starred, and cannot be a dependency")
    made: Depends = found[0]
    return made


def _hint(handler: Callable[..., Any], parameter: inspect.Parameter, what: str) -> Any:
    """A parameter's annotation, evaluated by itself: the names in others may exist for type checkers only."""
    hint = parameter.annotation
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, getattr(works_in(handler), "__globals__", {}))
    except Exception as error:
        if "Depends" not in hint:
            return parameter.empty
        raise TypeError(
            f"the annotation {hint!r} of {what} cannot be evaluated ({text_of(error)}): its names have to be those of"
            " the module, and not of a function or of an 'if TYPE_CHECKING'"
        ) from None


def _mentions(hint: Any, depth: int = 10) -> bool:
    """Whether there is a Depends somewhere inside of a type."""
    inside = (*_metadata(hint), *typing.get_args(hint))
    return any(type(part) is Depends or (depth > 0 and _mentions(part, depth - 1)) for part in inside)


def _metadata(hint: Any) -> tuple[Any, ...]:
    """What is written in an ``Annotated`` beside the type."""
    return hint.__metadata__ if typing.get_origin(hint) is typing.Annotated else ()
