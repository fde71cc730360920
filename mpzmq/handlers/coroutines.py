"""The coroutine in which a handler runs.

It stays Python in a compiled build: a coroutine of mypyc cuts the traceback of an error that a task or a future hands
on, and a task shows nothing of where it stands.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

from ..context import current
from ..protocol.wire.kinds import STREAMED
from ..runtime.tracebacks import let_go_of_frames
from .error_mapping import mapped_error_async
from .invocation import CancelReason

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .invocation import Invocation
    from .stream_invocation import Streaming

__all__ = ["Answers", "run_handler"]


class Answers(Protocol):
    """Takes what has become of a handler."""

    def answer(self, running: Invocation, result: Any) -> None:
        """It has returned."""

    def answer_raised(self, running: Invocation, error: BaseException) -> None:
        """It has raised."""

    def answer_cancelled(self, running: Invocation, ending: CancelReason | None) -> None:
        """It was cancelled, for this reason or none of ours."""


async def run_handler(
    running: Invocation, coroutine: Coroutine[Any, Any, Any] | None, answers: Answers, streaming: Streaming
) -> None:
    """Runs the handler of a request.

    Args:
        running: the request.
        coroutine: that of the handler; None: it is still to be called, with what stands around it.
        answers: told of the end.
        streaming: calls handlers whose data or results come piece by piece.
    """
    current.set(running)
    if running.is_late():
        if coroutine is not None:
            coroutine.close()
        answers.answer_cancelled(running, running.cancel_reason)
        return
    running.began = time.perf_counter()
    _, _, _, _, _, _, args, kwargs, _ = running.record
    chain = running.chain
    if chain is None:
        running.started = not running.handler.thread  # a thread's job says itself when it starts
    try:
        if chain is not None:
            coroutine = chain.begin()
        elif coroutine is None:
            streamed = running.op in STREAMED
            coroutine = streaming.run(running) if streamed else running.handler.call(running, args, kwargs)
        result = await coroutine
    except asyncio.CancelledError as error:
        answers.answer_cancelled(running, running.cancel_reason)
        let_go_of_frames(error)
    except KeyboardInterrupt:
        answers.answer_cancelled(running, CancelReason.INTERRUPTED)
        raise
    except BaseException as error:
        try:
            told = await mapped_error_async(running, error)
        except asyncio.CancelledError:
            answers.answer_cancelled(running, running.cancel_reason)
        else:
            answers.answer_raised(running, told)
            let_go_of_frames(told)
            del told  # which may be the error, whose traceback keeps this frame
        let_go_of_frames(error)
    else:
        answers.answer(running, result)
