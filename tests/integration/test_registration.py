"""Functions are registered as what they are, whatever stands around them, and described whatever they say."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional, Union

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ContainerServer,
    Executed,
    Refused,
    RemoteError,
    RequestContext,
    RequestError,
    Unsupported,
)
from tests.support.odd import Lazy, NoText, OddRefusal
from tests.support.waiting import soon

if TYPE_CHECKING:
    from mpzmq import ComputerEngineWriter
    from tests.support.scene import Scene

Handler = Callable[..., Any]


def plainly(function: Handler) -> Handler:
    """A decorator that says what it is around."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def secretly(function: Handler) -> Handler:
    """A decorator that does not."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Decorated:
    """A decorator that is a class."""

    def __init__(self, function: Handler) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


async def climb(number: int, step: int = 1) -> AsyncIterator[int]:
    """Numbers."""
    for index in range(0, number, step):
        yield index


async def add_up(items: AsyncIterator[int], start: int = 0) -> int:
    """Their sum."""
    return start + sum([item async for item in items])


async def double(items: AsyncIterator[int], factor: int = 2) -> AsyncIterator[int]:
    """Each of them, twice as large."""
    async for item in items:
        yield factor * item


class Climber:
    async def climb(self, number: int) -> AsyncIterator[int]:
        async for item in climb(number):
            yield item

    async def __call__(self, number: int) -> AsyncIterator[int]:
        async for item in climb(number):
            yield item


WRAPPED: dict[str, Callable[[Handler], Handler]] = {
    "by nothing": lambda function: function,
    "by a partial": functools.partial,
    "by two partials": lambda function: functools.partial(functools.partial(function)),
    "by a decorator": plainly,
    "by two decorators": lambda function: plainly(plainly(function)),
    "by a class": Decorated,
    "by all of them": lambda function: plainly(functools.partial(Decorated(functools.partial(plainly(function))))),
}


async def listed(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def through(container: ComputerEngineWriter, name: str) -> list[Any]:
    async with container.channel(name) as channel:
        for item in (1, 2):
            await channel.send(item)
        await channel.send_eof()
        return await listed(channel)


@pytest.mark.parametrize("how", WRAPPED)
async def test_what_stands_around_a_function_does_not_change_what_it_is(scene: Scene, how: str) -> None:
    wrap, container = WRAPPED[how], scene.container
    scene.server.function(wrap(climb), name="climb")
    scene.server.function(wrap(add_up), name="add_up")
    scene.server.function(wrap(double), name="double")
    assert await soon(listed(container.stream("climb", 3))) == [0, 1, 2]
    assert await soon(listed(container.stream("climb", 3, step=2))) == [0, 2]
    assert await soon(container.upload("add_up", [1, 2], start=4)) == 7
    assert await soon(through(container, "double")) == [2, 4]
    for name in ("climb", "add_up", "double"):
        with pytest.raises(Unsupported, match="is to be asked by"):
            await soon(container.call(name, 1))
    described = {function.name: function for function in (await container.describe()).functions}
    assert (described["climb"].signature, described["climb"].doc) == (
        "(number: int, step: int = 1) -> collections.abc.AsyncIterator[int]",
        "Numbers.",
    )


async def test_methods_and_objects_that_yield(scene: Scene) -> None:
    scene.server.function(Climber().climb)
    scene.server.function(Climber(), name="object")
    scene.server.function(functools.partial(Climber().climb, 2), name="partial")
    for asked in (("climb", 2), ("object", 2), ("partial",)):
        assert await soon(listed(scene.container.stream(*asked))) == [0, 1]


async def test_a_partial_that_has_the_first_argument_takes_the_rest(scene: Scene) -> None:
    scene.server.function(functools.partial(climb, step=2), name="even")
    assert await soon(listed(scene.container.stream("even", 5))) == [0, 2, 4]


async def test_a_generator_behind_a_decorator_that_hides_it(scene: Scene) -> None:
    scene.server.function(secretly(climb), name="climb")
    with pytest.raises(Unsupported, match=r"use functools\.wraps\(\) in that"):
        await soon(listed(scene.container.stream("climb", 3)))
    with pytest.raises(RemoteError, match=r"an async generator, which its decorator has hidden: use functools\.wraps"):
        await soon(scene.container.call("climb", 3))


async def test_a_decorator_that_gives_something_else(scene: Scene) -> None:
    @scene.server.function
    @functools.wraps(climb)
    async def collected(number: int) -> list[int]:
        return await listed(climb(number))

    @functools.wraps(climb)
    def nothing(number: int) -> None: ...

    class Numbers:
        def __aiter__(self) -> AsyncIterator[int]:
            return climb(2)

    @functools.wraps(climb)
    def numbers(number: int) -> Numbers:
        return Numbers()

    scene.server.function(nothing, name="nothing")
    scene.server.function(numbers, name="numbers")
    assert await soon(scene.container.call("climb", 3)) == [0, 1, 2]
    assert await soon(listed(scene.container.stream("numbers", 1))) == [0, 1]
    with pytest.raises(RemoteError) as caught:
        await soon(listed(scene.container.stream("nothing", 3)))
    assert (caught.value.error_type, caught.value.executed) == ("TypeError", Executed.YES)


async def test_a_coroutine_from_a_thread_runs_on_the_loop(scene: Scene) -> None:
    async def word() -> str:
        await asyncio.sleep(0)
        return "done"

    scene.server.function(secretly(word), name="word", thread=True)
    assert await soon(scene.container.call("word")) == "done"


def test_a_plain_generator_is_refused_behind_a_partial() -> None:
    def numbers() -> Any:
        yield 1

    for handler in (numbers, functools.partial(numbers)):
        with pytest.raises(TypeError, match="is a plain generator"):
            ContainerServer().function(handler, name="numbers")
    with pytest.raises(TypeError, match="is a stream, and a container calls functions that return one value"):
        ComputerEngineWorker().function(functools.partial(climb), name="climb")


# The context


async def optional(word: str, context: RequestContext | None = None) -> Any:
    return word, None if context is None else context.function


async def optional_in_old_words(word: str, context: Optional[RequestContext] = None) -> Any:  # noqa: UP045
    return await optional(word, context)


async def union(word: str, context: Union[RequestContext, None] = None) -> Any:  # noqa: UP007
    return await optional(word, context)


async def annotated(word: str, context: Annotated[RequestContext, "injected"]) -> Any:
    return await optional(word, context)


async def annotated_and_optional(context: Annotated[RequestContext | None, "injected"], word: str) -> Any:
    return await optional(word, context)


async def keyword(word: str, *, context: RequestContext | None) -> Any:
    return await optional(word, context)


CONTEXTS = [optional, optional_in_old_words, union, annotated, annotated_and_optional, keyword]


@pytest.mark.parametrize("handler", CONTEXTS)
@pytest.mark.parametrize(
    "wrap", [lambda function: function, plainly, functools.partial], ids=["", "wrapped", "partial"]
)
async def test_a_context_is_injected(scene: Scene, handler: Handler, wrap: Callable[[Handler], Handler]) -> None:
    scene.server.function(wrap(handler), name="handler")
    assert await soon(scene.container.call("handler", "w")) == ["w", "handler"]
    assert await soon(scene.container.call("handler", word="w")) == ["w", "handler"]
    assert "context" not in (await scene.container.describe()).functions[0].signature


@pytest.mark.parametrize(
    "annotation",
    [
        "RequestContext", "mpzmq.RequestContext", "RequestContext | None", "None | mpzmq.RequestContext",
        "Optional[RequestContext]", "typing.Optional[mpzmq.RequestContext]", "Union[RequestContext, None]",
        "Annotated[RequestContext, 'why']", "t.Annotated[RequestContext | None, 'why']", "'RequestContext'",
    ],
)  # fmt: skip
async def test_a_context_whose_name_is_for_type_checkers_only(scene: Scene, annotation: str) -> None:
    async def handler(word: str, other: Unknown, context: Any) -> Any:  # type: ignore[name-defined]  # noqa: F821
        return await optional(word, context)

    handler.__annotations__["context"] = annotation
    scene.server.function(handler)
    assert await soon(scene.container.call("handler", "w", 1)) == ["w", "handler"]


@pytest.mark.parametrize(
    "annotation",
    [int, "int", "list[RequestContext]", list[RequestContext], "RequestContexts", "not an annotation", "1"],
)
async def test_what_is_no_context(scene: Scene, annotation: Any) -> None:
    async def handler(context: Any) -> Any:
        return context

    handler.__annotations__["context"] = annotation
    scene.server.function(handler)
    assert await soon(scene.container.call("handler", 5)) == 5


# Names, and what a function says of itself


def test_names_that_are_none() -> None:
    server = ContainerServer()

    def handler() -> None: ...

    odd: Any
    for odd in (5, b"name", ["name"], Lazy(), NoText()):
        with pytest.raises(TypeError, match="the name of a function is a str, and not"):
            server.function(handler, name=odd)
    for name in ("", "n" * 257, "\udcff"):
        with pytest.raises(ValueError, match="the name of a function"):
            server.function(handler, name=name)
        with pytest.raises(ValueError, match="the name of a function"):
            ComputerEngineWorker().function(name=name)(handler)
    handler.__name__ = ""
    with pytest.raises(ValueError, match="has 1 to 256 characters"):
        server.function(handler)
    with pytest.raises(TypeError, match="has no name of its own"):
        server.function(functools.partial(handler))
    server.function(handler, name="n" * 256)


def _with(**attributes: Any) -> Handler:
    def function(x: Any = 1, y: Any = 2) -> int:
        return 1

    for name, value in attributes.items():
        setattr(function, name, value)
    return function


class OddDoc:
    """Its docstring raises."""

    def __call__(self) -> int:
        return 1

    @property
    def __doc__(self) -> NoReturn:  # type: ignore[override]
        raise LookupError("no doc")


class OddText(str):
    """Its methods raise."""

    def expandtabs(self, tabsize: Any = 8) -> NoReturn:
        raise SystemExit

    partition = expandtabs


ODD: dict[str, Handler] = {
    "default": _with(__defaults__=(NoText(), Lazy())),
    "default that ends the process": _with(__defaults__=(NoText(SystemExit), 1)),
    "surrogate": _with(__defaults__=("\udcff", 1), __doc__="a \udcff"),
    "long": _with(__defaults__=("x" * 1_000_000, ["y" * 1_000_000]), __doc__="z" * 1_000_000),
    "annotation": _with(__annotations__={"x": NoText(), "return": Lazy()}),
    "annotation that ends the process": _with(__annotations__={"x": NoText(SystemExit)}),
    "no doc": _with(__doc__=5),
    "doc": OddDoc(),
    "doc that ends the process": _with(__doc__=OddText("a doc")),
    "return": _with(__annotations__={"return": "Unknown["}),
}


async def test_describe_does_not_fail_over_one_function(scene: Scene) -> None:
    for name, handler in ODD.items():
        scene.server.function(handler, name=name)
    description = await soon(scene.container.describe())
    described = {function.name: function for function in description.functions}
    assert set(described) == set(ODD)
    for name in ODD:
        assert await soon(scene.container.call(name)) == 1
        assert len(described[name].signature) < 3000 and len(described[name].doc) < 1000
    assert "(x: Any = <NoText, whose text cannot be had: AttributeError>, y: Any = <" in described["default"].signature
    assert "whose text cannot be had: SystemExit" in described["default that ends the process"].signature
    assert (described["surrogate"].signature, described["surrogate"].doc) == (
        "(x: Any = '\\udcff', y: Any = 1) -> int",
        "a ?",
    )
    assert described["long"].doc.endswith("z [cut]")
    assert described["annotation"].signature.startswith("(x: <NoText, whose text cannot be had: AttributeError> = 1")
    assert "x: <NoText, whose text cannot be had: SystemExit> = 1" in (
        described["annotation that ends the process"].signature
    )
    assert described["doc"].doc == "(its docstring cannot be read: LookupError)"
    assert described["doc that ends the process"].doc == "(its docstring cannot be read: SystemExit)"


def test_a_handler_that_cannot_be_shown_is_refused_in_words() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise LookupError("no text")

        def __call__(self) -> Any:
            yield 1

    with pytest.raises(TypeError, match="<Odd, whose text cannot be had: LookupError> is a plain generator"):
        ContainerServer().function(Odd(), name="odd")


# Who may say that nothing was done


def afterwards(function: Handler) -> Handler:
    @functools.wraps(function)
    async def wrapper(*args: Any) -> Any:
        await function(*args)
        raise Refused("too late")

    return wrapper


def before(function: Handler) -> Handler:
    @functools.wraps(function)
    async def wrapper(*args: Any) -> Any:
        raise Refused("not at all")

    return wrapper


def translated(function: Handler) -> Handler:
    @functools.wraps(function)
    async def wrapper(*args: Any) -> Any:
        try:
            return await function(*args)
        except ValueError as error:
            raise Refused(str(error)) from error

    return wrapper


async def retried(function: Handler, *args: Any) -> Any:
    try:
        return await function(*args)
    except Refused as error:
        raise error from None


def passing(function: Handler) -> Handler:
    @functools.wraps(function)
    async def wrapper(*args: Any) -> Any:
        return await asyncio.create_task(retried(function, *args))

    return wrapper


async def refusal(container: ComputerEngineWriter, *asked: Any, **options: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await soon(container.call(*asked, **options))
    return caught.value


async def test_only_the_function_that_works_can_say_that_nothing_was_done(scene: Scene) -> None:
    ran: list[str] = []

    async def works(how: str) -> None:
        ran.append(how)
        if how == "refuses":
            raise Refused("no")
        if how == "refuses below":
            await asyncio.gather(refuses())
        if how == "fails":
            raise ValueError("failed")

    async def refuses() -> NoReturn:
        raise Refused("no")

    for wrap in (afterwards, before, translated, passing):
        scene.server.function(wrap(works), name=wrap.__name__)
        scene.worker.function(wrap(works), name=wrap.__name__)
    scene.server.function(works)

    for name in ("works", "afterwards", "translated", "passing"):
        for how in ("refuses", "refuses below"):
            error = await refusal(scene.container, name, how)
            assert (type(error), error.executed) == (Refused, Executed.NO), (name, how)
    for name, how, text in (
        ("afterwards", "works", "too late"),
        ("translated", "fails", "failed"),
        ("before", "", "not at all"),
    ):
        error = await refusal(scene.container, name, how)
        assert isinstance(error, RemoteError) and error.executed is Executed.YES
        assert (error.error_type, error.error_message) == ("Refused", text)
    assert scene.server.statistics().refused == 8

    @scene.server.function
    async def ask(name: str, how: str, context: RequestContext) -> Any:
        try:
            return await context.call(name, how)
        except RequestError as error:
            return [type(error).__name__, error.executed.name]

    assert await soon(scene.container.call("ask", "afterwards", "works")) == ["RemoteError", "YES"]
    assert await soon(scene.container.call("ask", "afterwards", "refuses")) == ["Refused", "NO"]


async def test_a_fallback_is_not_sent_after_a_handler_has_worked(scene: Scene) -> None:
    ran: list[Any] = []

    async def works(data: Any) -> None:
        ran.append(data)

    scene.server._registry.invoke = None
    scene.server.on_invoke(afterwards(works))
    with pytest.raises(RemoteError):
        await soon(scene.container.request(1, fallback=2))
    assert ran == [1]


async def test_plain_and_threaded_handlers_refuse_behind_decorators(scene: Scene) -> None:
    def checks(number: int) -> int:
        if number < 0:
            raise Refused("negative")
        return number

    def late(function: Handler) -> Handler:
        @functools.wraps(function)
        def wrapper(number: int) -> Any:
            function(number)
            raise Refused("too late")

        return wrapper

    for name, options in (("plain", {}), ("thread", {"thread": True}), ("narrow", {"max_concurrency": 1})):
        scene.server.function(late(checks), name=name, **options)
        assert type(await refusal(scene.container, name, -1)) is Refused
        assert type(await refusal(scene.container, name, 1)) is RemoteError


async def test_a_stream_refuses_by_its_own_word_only(scene: Scene) -> None:
    async def numbers(number: int) -> AsyncIterator[int]:
        if number < 0:
            raise Refused("negative")
        yield number

    def late(function: Handler) -> Handler:
        @functools.wraps(function)
        async def wrapper(number: int) -> AsyncIterator[int]:
            async for item in function(number):
                yield item
            raise Refused("too late")

        return wrapper

    scene.server.function(late(numbers), name="numbers")
    with pytest.raises(Refused) as caught:
        await soon(listed(scene.container.stream("numbers", -1)))
    assert caught.value.executed is Executed.NO
    with pytest.raises(RemoteError) as late_one:
        await soon(listed(scene.container.stream("numbers", 1)))
    assert late_one.value.executed is Executed.YES


async def test_a_refusal_of_which_nothing_can_be_told_is_none(scene: Scene) -> None:
    @scene.server.function
    def odd() -> NoReturn:
        raise OddRefusal("no")

    assert type(await refusal(scene.container, "odd")) is RemoteError
