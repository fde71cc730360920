"""Runs checks, and tells what came of each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .checks import NotJudged, Outcome, Verdict, Violation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from .checks import Check

__all__ = ["judged"]

_AT_ONCE = 8
"""Checks that run at the same time."""
_TIME_LIMIT = 60.0
"""Seconds after which a check has failed, whatever it waits for: each of its waits is shorter."""


async def judged(checks: Sequence[Check], at: Any) -> AsyncIterator[Verdict]:
    """The verdicts of checks, in their order; those that end the peer come last, one after the other.

    Args:
        checks: which ones.
        at: the peer that is judged, as the checks take it.
    """
    turns = asyncio.Semaphore(_AT_ONCE)

    async def in_turn(check: Check) -> Verdict:
        async with turns:
            return await _verdict(check, at)

    together = [asyncio.create_task(in_turn(check)) for check in checks if not check.last]
    try:
        for task in together:
            yield await task
        for check in checks:
            if check.last:
                yield await _verdict(check, at)
    finally:
        for task in together:
            task.cancel()
        await asyncio.gather(*together, return_exceptions=True)


async def _verdict(check: Check, at: Any) -> Verdict:
    try:
        async with asyncio.timeout(_TIME_LIMIT):
            await check.run(at)
    except NotJudged as reason:
        return Verdict(check, Outcome.SKIPPED, str(reason))
    except (Violation, ConnectionError) as error:
        return Verdict(check, Outcome.FAILED, str(error))
    except TimeoutError:
        return Verdict(check, Outcome.FAILED, f"the check was not over after {_TIME_LIMIT:g} s")
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        # Of a value that is not what the check goes on with: more than the shapes of records is not looked at first.
        return Verdict(check, Outcome.FAILED, f"what came could not be judged: {type(error).__name__}: {error}")
    return Verdict(check, Outcome.PASSED)
