"""What stands around every handler: a token, a rate limit, timings, a transaction, and words for errors."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any

from mpzmq import (
    CallDetails,
    ComputerEngineWorker,
    ContainerServer,
    Depends,
    Overloaded,
    Proceed,
    RemoteError,
    RequestError,
)
from mpzmq.middleware import RateLimit, Timing, Token

if TYPE_CHECKING:
    from collections.abc import Iterator

server = ContainerServer(name="bank")
accounts = {"ada": 100, "bob": 20}
tenant: ContextVar[str] = ContextVar("tenant")


def told(call: CallDetails, seconds: float, error: BaseException | None) -> None:
    outcome = "ok" if error is None else type(error).__name__
    print(f"  {call.function}: {'quick' if seconds < 5.0 else 'slow'}, {outcome}")


server.middleware(Timing(told))  # the outermost: it sees what the others refuse
server.middleware(Token("s3cret"))
server.middleware(RateLimit(rate=0.01, burst=5))


@server.middleware
async def knows_the_tenant(call: CallDetails, proceed: Proceed) -> Any:
    """What it sets is seen by handlers and dependencies of this request, and by nobody else."""
    tenant.set(call.metadata.get("tenant", "nobody"))
    return await proceed(call)


class Transaction:
    """What a real one does with a database, this one does with a dict."""

    def __init__(self) -> None:
        self.changes: dict[str, int] = {}

    def add(self, name: str, amount: int) -> int:
        left = self.changes[name] = self.changes.get(name, accounts[name]) + amount
        if left < 0:
            raise ValueError(f"{name} has {accounts[name]}")
        return left


def transaction() -> Iterator[Transaction]:
    """Made once for its request. It is closed behind it, and an error of the handler is raised at the yield."""
    made = Transaction()
    yield made
    accounts.update(made.changes)


@server.function
def transfer(of: str, to: str, amount: int, transaction: Annotated[Transaction, Depends(transaction)]) -> str:
    transaction.add(to, amount)
    left = transaction.add(of, -amount)
    return f"{tenant.get()}: {of} has {left} left"


@server.on_error(ValueError)
def declined(call: CallDetails, error: ValueError) -> RemoteError:
    return RemoteError(str(error), code="declined")


async def main() -> None:
    async with server, ComputerEngineWorker() as worker:
        # Around what this side sends: its token goes along with every call.
        @worker.middleware
        async def with_token(call: CallDetails, proceed: Proceed) -> Any:
            return await proceed(call.replace(metadata={"token": "s3cret", **call.metadata}))

        bank = await worker.connect(await server.bind("tcp://127.0.0.1:0"), name="bank")
        print(await bank.call("transfer", "ada", "bob", 30, metadata={"tenant": "blue"}))
        for amount, metadata in ((500, {}), (1, {"token": "guessed"})):
            try:
                await bank.call("transfer", "ada", "bob", amount, metadata=metadata)
            except RemoteError as error:
                print(f"{error.code}: {error.error_message}; executed {error.executed}")
            except RequestError as error:
                print(f"{type(error).__name__}; executed {error.executed}")
        print("accounts:", accounts)

        server.overrides[transaction] = lambda: Transaction()  # as a test would do: nothing is written
        print(await bank.call("transfer", "ada", "bob", 70))
        print("accounts:", accounts)
        try:
            for _ in range(9):
                await bank.call("transfer", "ada", "bob", 1)
        except Overloaded as error:
            print("too many: again in a while" if error.retry_after > 1.0 else "too many")


if __name__ == "__main__":
    asyncio.run(main())
