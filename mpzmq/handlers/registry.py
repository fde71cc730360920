"""The functions of a container, and how their arguments are checked before they are called."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from ..common.text import repr_of, text_of
from .dependencies import injected_parameters
from .pipeline import Pipeline
from .signatures import POSITIONAL, called_first, first_line, owner_of, shown, signature_of, takes_stream, works_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..context import CurrentRequest
    from ..typed.signature import TypedSignature

__all__ = ["Function", "Registry"]

ANY_NUMBER = sys.maxsize
"""Of arguments; of no list there are so many."""

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Function:
    """One handler, and what has to be known to call it.

    Attributes:
        name: under which it is called; None for the handler of plain INVOKE.
        handler: what is called.
        is_async: whether it is ``async def``, and runs in a task of its own.
        gives: whether it is an async generator, whose results come piece by piece.
        takes: whether its first parameter is annotated as an async iterator, so that its data comes piece by piece;
            None: it has no annotation that would tell; False: it cannot be.
        is_streamed: whether it gives or takes, for certain.
        thread: whether it runs in a worker thread.
        cancellable: whether it is cancelled when nobody waits for it any more.
        max_concurrency: how many of its runs there may be at once; None: any number.
        orphan_after: seconds for which its engine may be away before a run is cancelled; None: any time.
        is_gated: whether a run may have to wait for others to end.
        is_plain: whether it runs on the event loop at once.
        is_wrapped: whether something stands around it that may have to be awaited.
        pipeline: what stands around it; None: nothing, whatever is registered.
        signature: without the parameters that are injected.
        least, most: how many positional arguments it takes, where no more has to be looked at.
        injected: the parameters that its caller does not give: their names, their places among the positional ones, and
            who makes them; None: it is the ``RequestContext``.
        typed: converts its arguments; None: they are passed on as they came.
    """

    __slots__ = (
        "_decorated", "cancellable", "gives", "handler", "injected", "is_async", "is_gated",
        "is_plain", "is_streamed", "is_wrapped", "least", "max_concurrency", "most", "name", "orphan_after", "pipeline",
        "signature", "takes", "thread", "typed",
    )  # fmt: skip

    def __init__(
        self,
        name: str | None,
        handler: Callable[..., Any],
        *,
        thread: bool = False,
        cancellable: bool = True,
        max_concurrency: int | None = None,
        orphan_after: float | None = None,
    ) -> None:
        first, works = called_first(handler), works_in(handler)
        what = repr_of(handler)
        if inspect.isgeneratorfunction(first):
            raise TypeError(f"{what} is a plain generator: a function that yields is async def")
        self.name = name
        self.handler = handler
        is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(first)
        # A plain function around an async one gives, and takes, what that does.
        self.gives = inspect.isasyncgenfunction(first) or (not is_async and inspect.isasyncgenfunction(works))
        signature = signature_of(handler)
        parameters = list(signature.parameters.values())
        injected = injected_parameters(handler, parameters)
        # Where they stand among the positional ones; what is keyword-only stands behind them all.
        positional = [p.name for p in parameters if p.kind in POSITIONAL]
        self.injected = tuple(
            (name, positional.index(name) if name in positional else ANY_NUMBER, depends)
            for name, depends in injected.items()
        )
        parameters = [parameter for parameter in parameters if parameter.name not in injected]
        self.signature = signature.replace(parameters=parameters)
        self.takes = takes_stream(handler, parameters)
        if not (is_async or self.gives or (self.takes and inspect.iscoroutinefunction(works))):
            self.takes = False
        self.is_streamed = self.gives or bool(self.takes)
        self.is_async = is_async or self.is_streamed
        self._decorated = None if first is works else works
        if self.gives and name is None:
            raise TypeError(f"{what} yields: only named functions give a stream, add it by @server.function")
        if self.gives and not cancellable:
            raise TypeError(f"{what} yields: nobody would read on when its caller has gone, so it is cancellable")
        self.thread = thread
        self.cancellable = cancellable
        self.max_concurrency = max_concurrency
        self.orphan_after = orphan_after
        if isinstance(max_concurrency, bool) or not isinstance(max_concurrency, int | None):
            raise TypeError(f"max_concurrency is an int or None, not {type(max_concurrency).__name__}")
        if max_concurrency is not None and max_concurrency < 1:
            raise ValueError(f"max_concurrency must be 1 or more, not {max_concurrency}: None is not a limit")
        self.is_gated = thread or max_concurrency is not None
        self.is_wrapped = self.has_dependencies
        self.is_plain = not (self.is_async or self.is_gated or self.is_wrapped)
        self.pipeline: Pipeline | None = None
        if thread and self.is_async:
            raise TypeError(f"{what} is async def, which needs no thread: leave thread=True out")
        # Most calls are positional: their number tells whether they fit, and Signature.bind() takes 3 us more.
        required = [p for p in parameters if p.default is p.empty]
        if any(p.kind is p.KEYWORD_ONLY for p in required):
            self.least, self.most = ANY_NUMBER, -1
        else:
            self.least = sum(p.kind in POSITIONAL for p in required)
            starred = any(p.kind is p.VAR_POSITIONAL for p in parameters)
            self.most = ANY_NUMBER if starred else sum(p.kind in POSITIONAL for p in parameters)
        self.typed: TypedSignature | None = None

    def learn_types(self) -> None:
        """From now on its arguments are converted by their annotations.

        Raises:
            TypeError: a message cannot carry what an annotation says.
            NameError: an annotation names something that is not there, or not yet.
        """
        from ..typed.signature import typed_signature

        name = str(self.name or getattr(self.handler, "__name__", "the handler"))
        function, owner = works_in(self.handler), owner_of(self.handler)
        self.typed = typed_signature(name, function, self.signature, owner, takes=bool(self.takes), gives=self.gives)
        self.typed.bounds = self.least, self.most
        self.least, self.most = ANY_NUMBER, -1  # whatever their number: untyped functions need no other question

    def check(self, args: list[Any], kwargs: dict[str, Any] | None) -> None:
        """Whether the handler can be called with these arguments.

        Raises:
            TypeError: it cannot, and why.
        """
        if kwargs:
            for name, _, _ in self.injected:
                if name in kwargs:
                    raise TypeError(f"{name!r} is given by the container and not by the caller")
        if kwargs or not self.least <= len(args) <= self.most:
            self.signature.bind(*args, **(kwargs or {}))

    def convert(self, args: list[Any], kwargs: dict[str, Any] | None) -> tuple[list[Any], dict[str, Any] | None]:
        """The arguments as the annotations say.

        Raises:
            TypeError: the handler cannot be called with these.
            ValueError: one does not fit its annotation; the text begins with its path.
        """
        typed = self.typed
        assert typed is not None
        if not kwargs and (together := typed.together.get(len(args))) is not None:
            try:
                return list(together(args)), None
            except KeyboardInterrupt:
                raise
            except BaseException:  # one by one, for the words in which it is told
                pass
        least, most = typed.bounds
        if kwargs or not least <= len(args) <= most:
            self.check(args, kwargs)
        return typed.convert(args, kwargs)

    def call(
        self,
        running: CurrentRequest,
        args: list[Any],
        kwargs: dict[str, Any] | None,
        made: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls the handler of a request with arguments that were checked, and with dependencies that were made."""
        for name, index, depends in self.injected:
            value = running.context if depends is None or made is None else made[name]
            if len(args) >= index:
                args = args.copy()
                args.insert(index, value)
            else:
                kwargs = {**(kwargs or {}), name: value}
        return self.handler(*args, **kwargs) if kwargs else self.handler(*args)

    @property
    def has_dependencies(self) -> bool:
        """Whether some of its parameters are made for each request."""
        return any(depends is not None for _, _, depends in self.injected)

    def wrap(self, pipeline: Pipeline) -> None:
        """What stands around handlers stands around this one, too, as it is now."""
        self.pipeline = pipeline
        self.is_wrapped = self.has_dependencies or pipeline.needs_task
        self.is_plain = self.is_plain and not self.is_wrapped

    def has_raised(self, error: BaseException, *, is_wrapped: bool = False) -> bool:
        """Whether an error comes from the function that does the work, and not from what stands around it.

        A decorator may have raised it when the work was done, and so may middleware.
        """
        if self._decorated is None and not is_wrapped:
            return True
        code = getattr(self._decorated or works_in(self.handler), "__code__", None)
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_frame.f_code is not code:
            traceback = traceback.tb_next
        return traceback is not None

    @property
    def shown(self) -> str:
        """The signature in words."""
        return shown(self.signature)

    @property
    def keywords(self) -> list[str]:
        """The names of the parameters that may be given by name."""
        return [p.name for p in self.signature.parameters.values() if p.kind in _NAMED]

    @property
    def doc(self) -> str:
        """The first line of the handler's docstring."""
        return first_line(self.handler)


class Registry:
    """All handlers of a container.

    Attributes:
        functions: by name.
        pipeline: what stands around them.
        invoke: the handler of plain requests.
        state_change: what is called before the run state changes.
        engine_change: what is called when engines come and go.
        orphan_after: what holds for handlers that do not choose their own; see :class:`Function`.
        is_typed: whether arguments are converted by the annotations of the handlers.
        carried: what values of the application's types travel as; None: there are none.
    """

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}
        self.pipeline = Pipeline()
        self.invoke: Function | None = None
        self.state_change: Callable[..., Any] | None = None
        self.engine_change: Callable[..., Any] | None = None
        self.orphan_after: float | None = None
        self.is_typed = False
        self.carried: Callable[[Any], Any] | None = None
        self._unresolved: list[Function] = []

    def use_types(self) -> None:
        """From now on functions are typed.

        Raises:
            ImportError: the extra is missing.
        """
        from ..typed.encoding import carried
        from ..typed.requirement import msgspec_for

        msgspec_for("typed=True")
        self.is_typed = True
        self.carried = carried

    def learn_types(self, function: Function) -> None:
        """Looks at the annotations of a function, if functions are typed.

        Raises:
            TypeError: a message cannot carry what one of them says.
        """
        if self.is_typed:
            try:
                function.learn_types()
            except NameError:  # of what may be written further down in its module
                self._unresolved.append(function)

    def resolve_types(self) -> None:
        """Looks again at annotations whose names were not there when their functions were registered.

        Raises:
            TypeError: they are not there yet, or a message cannot carry what they say.
        """
        while self._unresolved:
            function = self._unresolved[0]
            try:
                function.learn_types()
            except NameError as error:
                what = repr_of(function.handler)
                raise TypeError(f"{what}: an annotation cannot be resolved: {text_of(error)}") from error
            del self._unresolved[0]

    def schema(self) -> dict[str, Any] | None:
        """What all functions take and return, as JSON Schema; None: they are not typed."""
        if not self.is_typed:
            return None
        from ..typed.schema import document

        functions = self.functions.items()
        return document({name: one.typed.schema(one.doc) for name, one in functions if one.typed is not None})

    def add(self, function: Function) -> None:
        """A named function more.

        Raises:
            ValueError: the name is taken.
        """
        assert function.name is not None
        if function.name in self.functions:
            raise ValueError(f"there is a function {function.name!r} already: give one of them another name=")
        self.functions[function.name] = self.adopt(function)

    def adopt(self, function: Function) -> Function:
        """A handler that is called here; returns it.

        Raises:
            TypeError: a message cannot carry what an annotation of it says.
        """
        self.learn_types(function)
        function.wrap(self.pipeline)
        return function

    def add_middleware(self, middleware: object) -> None:
        """One more around all handlers, inside of the others.

        Raises:
            TypeError: it is none.
        """
        self.pipeline.add(middleware)
        self._wrap()

    def add_on_error(self, kind: object, handler: Any) -> None:
        """Other words for an error of this class, whichever handler has raised it.

        Raises:
            TypeError: it is no class of errors, or the handler cannot be called.
            ValueError: there is one for this class already.
        """
        self.pipeline.add_on_error(kind, handler)
        self._wrap()

    def _wrap(self) -> None:
        for function in (*self.functions.values(), *([] if self.invoke is None else [self.invoke])):
            function.wrap(self.pipeline)
