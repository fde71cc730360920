"""The server of tools: lists functions of containers, and calls them for an agent."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, CallToolResult, ListToolsResult

from .._version import __version__
from ..common.durations import checked_seconds
from ..common.logs import Log
from ..errors import EncodeError, MessageTooLarge, MpzmqError, Unsupported
from ..exposed.allowed import Allowed
from ..exposed.descriptions import Descriptions
from ..exposed.functions import LEAST_TIME
from ..exposed.target import OpenedTarget
from .results import UNKNOWN_NOW, Items, failed, functions_unknown, item_not_sent, mpzmq_failed, shortened, succeeded
from .tools import Arguments, Taken, WrongArguments, arguments_of, is_tool_name, tool_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from mcp.server.context import ServerRequestContext
    from mcp_types import CallToolRequestParams, PaginatedRequestParams

    from ..engine.options_view import OptionsView
    from ..engine.streams import Channel, ReplyStream
    from ..exposed.functions import ExposedFunction
    from ..exposed.target import Target
    from ..security.credentials import Security

__all__ = ["server"]

log = Log(__name__)


class _Tools:
    """The functions of a target as tools.

    Args:
        target: whose.
        allowed: which of them.
        timeout: seconds for a call.
    """

    def __init__(self, target: OpenedTarget, allowed: Allowed, timeout: float) -> None:
        self._target = target
        self._allowed = allowed
        self._timeout = timeout
        self._users = 0
        self._descriptions = Descriptions(target, allowed, timeout)
        self._odd: set[str] = set()

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Server[Any]) -> AsyncIterator[dict[str, Any]]:
        """For as long as anybody is connected."""
        self._users += 1
        try:
            await self._target.open()
            yield {}
        finally:
            self._users -= 1
            if not self._users:
                await self._target.close()

    async def list(self, _: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
        """All of them."""
        try:
            functions = await self._functions()
        except MpzmqError as error:
            raise MCPError(INTERNAL_ERROR, f"{UNKNOWN_NOW}: {type(error).__name__}: {error}") from None
        return ListToolsResult(tools=[tool_of(function) for function in functions.values()])

    async def call(self, context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        """Calls one."""
        if params.name not in self._allowed or not is_tool_name(params.name):
            raise _no_tool(params.name)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        try:
            function = (await self._functions()).get(params.name)
        except MpzmqError as error:
            # Whom it calls may be there all the same, and refuses what it has no more.
            function = self._tools(self._descriptions.known).get(params.name)
            if function is None:
                return functions_unknown(error)
        if function is None:
            raise _no_tool(params.name)
        items = Items()
        try:
            arguments = arguments_of(function, params.arguments or {})
            container = await self._target.get()
            view = container.options(timeout=max(deadline - loop.time(), LEAST_TIME))
            return await self._called(context, view, function, arguments, items)
        except WrongArguments as error:
            return failed(
                f"InvalidArguments (executed: NO): {error}\nNothing has run: correct the arguments, and call it again."
            )
        except (EncodeError, MessageTooLarge) as error:
            return failed(f"InvalidArguments (executed: NO): {error}\nNothing has run: correct the arguments.")
        except MpzmqError as error:
            if isinstance(error, Unsupported):
                self._descriptions.doubt()
            return mpzmq_failed(error, items)

    async def _called(
        self,
        context: ServerRequestContext[Any],
        view: OptionsView,
        function: ExposedFunction,
        arguments: Arguments,
        items: Items,
    ) -> CallToolResult:
        name, kind, is_typed = function.name, function.kind, function.schema is not None
        args, kwargs, given = arguments
        if kind in ("upload", "channel"):
            taken = Taken(given or [])
            try:
                if kind == "upload":
                    return succeeded(await view.upload(name, taken, *args, **kwargs), is_typed=is_typed)
                async with view.channel(name, *args, **kwargs) as channel:
                    await _exchange(context, channel, taken, items)
                return items.result(is_typed=is_typed)
            except (EncodeError, MessageTooLarge) as error:
                if not taken.count:  # it is an argument that cannot be sent
                    raise
                return item_not_sent(error, taken.count - 1, items)
        if kind != "stream":
            try:
                return succeeded(await view.call(name, *args, **kwargs), is_typed=is_typed)
            except Unsupported as refused:
                if kind is not None:
                    raise
                unsupported = refused
        try:
            async with view.stream(name, *args, **kwargs) as stream:
                await _take(context, stream, items)
        except Unsupported:
            if kind is not None:
                raise
            raise unsupported from None
        return items.result(is_typed=is_typed)

    async def _functions(self) -> dict[str, ExposedFunction]:
        """Those that may be called, by name.

        Raises:
            MpzmqError: nobody tells.
        """
        return self._tools(await self._descriptions.get())

    def _tools(self, functions: tuple[ExposedFunction, ...]) -> dict[str, ExposedFunction]:
        tools = {one.name: one for one in functions if is_tool_name(one.name)}
        odd = {one.name for one in functions} - tools.keys() - self._odd
        if odd:
            self._odd |= odd
            log.warning("not offered, since clients take no tools of such names: %s", sorted(odd))
        return tools


def _no_tool(name: str) -> MCPError:
    return MCPError(INVALID_PARAMS, f"Unknown tool: {name[:128]}")


async def _take(context: ServerRequestContext[Any], stream: ReplyStream, items: Items) -> None:
    """Takes what a stream gives, and tells of it as it comes, if that is wanted."""
    async for item in stream:
        items.add(item)
        if items.cut:
            return
        await context.session.report_progress(float(items.count), None, shortened(item))


async def _exchange(context: ServerRequestContext[Any], channel: Channel, taken: Taken, items: Items) -> None:
    """Sends items into a channel, and takes what it gives.

    Raises:
        EncodeError, MessageTooLarge: one cannot be sent; the function has been ended.
    """
    sending = asyncio.create_task(_send(channel, taken))
    try:
        await _take(context, channel, items)
    finally:
        sending.cancel()
        await asyncio.wait((sending,))
    if not sending.cancelled() and (error := sending.result()) is not None:
        raise error


async def _send(channel: Channel, taken: Taken) -> EncodeError | MessageTooLarge | None:
    try:
        for item in taken:
            await channel.send(item)
        await channel.send_eof()
    except (EncodeError, MessageTooLarge) as error:
        await channel.aclose()  # it would wait for more, and whoever reads for it
        return error
    except MpzmqError:  # whoever reads is told of it
        pass
    return None


def server(
    target: Target,
    *,
    allow: Iterable[str],
    timeout: float = 30.0,
    name: str = "mpzmq",
    instructions: str | None = None,
    security: Security | None = None,
) -> Server[dict[str, Any]]:
    """Makes an MCP server whose tools are functions of containers.

    It is a ``mcp.server.lowlevel.Server`` of the official SDK, to be run over its transports: stdio, or streamable HTTP
    (``server.streamable_http_app()``).

    Args:
        target: a source, as ``worker.group()`` takes it, which is connected to while the server runs; a handle or a
            group; or what returns one of these, or awaits it, asked with each call.
        allow: the names of the functions that become tools. ``"*"`` is every function, those that are added later
            included.
        timeout: seconds that a call may take.
        name: what the server calls itself.
        instructions: what agents are told of all tools together.
        security: the keys for a source.

    Raises:
        TypeError, ValueError: an argument is malformed.
        ImportError: the source needs an extra.
    """
    tools = _Tools(OpenedTarget(target, security=security), Allowed(allow), checked_seconds(timeout, "timeout"))
    return Server(
        name,
        version=__version__,
        instructions=instructions,
        lifespan=tools.lifespan,
        on_list_tools=tools.list,
        on_call_tool=tools.call,
    )
