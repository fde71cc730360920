"""How a command ends: what went wrong becomes one line on stderr and an exit code."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

from ..common.text import printable
from ..errors import (
    ConnectError,
    ConnectionLost,
    ContainerDraining,
    ContainerStopped,
    MpzmqError,
    NotConnected,
    RequestError,
)
from .output import (
    BROKEN_PIPE,
    FAILED,
    INTERRUPTED,
    NOT_SERVING,
    TERMINATED,
    TIMEOUT,
    UNREACHABLE,
    OutputLost,
    give_up_stdout,
    need_stdout,
    print_error,
)
from .wording import in_shell_words

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["CommandFailed", "as_document", "carry_out", "code_of", "finish"]


class CommandFailed(Exception):
    """The command cannot go on; the text is for whoever runs it."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code


def code_of(error: MpzmqError) -> int:
    """The exit code that tells a script what kind of failure it was."""
    if isinstance(error, TimeoutError):
        return TIMEOUT
    if isinstance(error, (ContainerStopped, ContainerDraining)):
        return NOT_SERVING
    if isinstance(error, (ConnectError, NotConnected, ConnectionLost)):
        return UNREACHABLE
    return FAILED


def as_document(error: MpzmqError) -> dict[str, Any]:
    """An error for ``--json``."""
    document: dict[str, Any] = {"type": type(error).__name__, "message": in_shell_words(error)}
    if isinstance(error, RequestError):
        document["executed"] = str(error.executed)
    for fact in ("error_type", "error_message", "code", "retry_after"):
        if (value := getattr(error, fact, None)) is not None:
            document[fact] = value
    return document


def finish(command: str, work: Callable[[], int]) -> int:
    """Runs a command's work to its exit code, whatever stops it.

    Args:
        command: as the user typed it, to begin the line on stderr.
        work: returns the exit code.
    """
    try:
        return work()
    except KeyboardInterrupt:
        print_error(f"{command}: interrupted")
        return INTERRUPTED
    except OutputLost as lost:
        give_up_stdout()
        if lost.is_broken_pipe:
            return BROKEN_PIPE
        print_error(f"{command}: cannot write to stdout: {lost}")
        return FAILED
    except CommandFailed as error:
        print_error(f"{command}: {printable(str(error))}")
        return error.code
    except MpzmqError as error:
        print_error(f"{command}: {type(error).__name__}: {printable(in_shell_words(error))}")
        return code_of(error)
    except OSError as error:
        print_error(f"{command}: {type(error).__name__}: {printable(str(error))}")
        return FAILED


def carry_out(command: str, main: Callable[[], Coroutine[Any, Any, int]], *, prints: bool = True) -> int:
    """The same for work on an event loop. SIGTERM cancels it, as Ctrl-C does.

    Args:
        command: as the user typed it.
        main: the work.
        prints: whether it is for what it prints; else its exit code says enough.
    """
    terminated = False

    async def supervised() -> int:
        nonlocal terminated
        if prints:
            need_stdout()
        task = asyncio.current_task()
        assert task is not None

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            task.cancel()

        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, terminate)
        try:
            return await main()
        except asyncio.CancelledError:
            if terminated:
                return TERMINATED
            raise
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    return finish(command, lambda: asyncio.run(supervised()))
