"""Every error that mpzmq raises, in one tree.

::

    MpzmqError
      ConnectError(ConnectionError)            connect() could not reach the container
        ConnectRefused(ConnectionRefusedError)   nothing listens there
        AddressNotFound                          the host name has no address
        ConnectTimeout(TimeoutError)             no answer in time
        HandshakeFailed                          something answered, but not as an mpzmq container
        AuthenticationFailed(PermissionError)    the container refused this engine
      InsecureBind(ValueError)                 an open port without security
      RequestError                             one request failed; says whether a handler ran
        NotConnected(ConnectionError)            NO
        ConnectionLost(ConnectionResetError)     UNKNOWN, or NO if the request never left
          ConnectionClosed(BrokenPipeError)        the same, ended on purpose
        RequestTimeout(TimeoutError)             NO when it never left, else UNKNOWN
        RequestCancelled                         the container ended the handler
        Overloaded                               NO
        Unsupported                              NO: no such function
        InvalidArguments                         NO: the function does not take these arguments
        ContainerStopped                         NO: the container's status is STOP
        ContainerDraining                        NO: the container is going away
        Refused                                  NO: the handler's own word
          NotPermitted(PermissionError)            NO: the allow-list's
        RequestIdReused(ValueError)              NO: the same id with another body
        RemoteError                              YES: the handler raised
        ResultMismatch                           YES: the result does not fit the caller's interface
        ProtocolError                            UNKNOWN: a reply that cannot be decoded
      MessageTooLarge(ValueError)              raised before anything is sent
      EncodeError(TypeError)                   raised before anything is sent

Each connection error is also the builtin that a Python programmer already catches. Facts are attributes, and
every error survives :mod:`pickle`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from .common.set_module import set_module
from .common.text import repr_of, text_of, type_name
from .models import Attempt, Executed, StreamProgress

if TYPE_CHECKING:
    from uuid import UUID

    from .events import Evidence

__all__ = [
    "AddressNotFound",
    "AuthenticationFailed",
    "ConnectError",
    "ConnectRefused",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionLost",
    "ContainerDraining",
    "ContainerStopped",
    "EncodeError",
    "HandshakeFailed",
    "InsecureBind",
    "InvalidArguments",
    "MessageTooLarge",
    "MpzmqError",
    "NotConnected",
    "NotPermitted",
    "Overloaded",
    "ProtocolError",
    "Refused",
    "RemoteError",
    "RequestCancelled",
    "RequestError",
    "RequestIdReused",
    "RequestTimeout",
    "ResultMismatch",
    "Unsupported",
]


def _restore(cls: type[MpzmqError], args: tuple[Any, ...], facts: dict[str, Any]) -> MpzmqError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(facts)
    return error


def _message(given: object) -> str:
    return given if type(given) is str else text_of(given)


@set_module("mpzmq")
class MpzmqError(Exception):
    """The root of every error of this library.

    Args:
        message: its text. Of anything else, such as another exception, the text is taken.
    """

    def __init__(self, message: object = "") -> None:
        # An error is often raised in a branch that no test has seen: no message is too odd for it.
        super().__init__(_message(message))

    def __str__(self) -> str:
        # OSError, a base of some subclasses, has a __str__ of its own that looks for an errno.
        return _message(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)

    def __copy__(self) -> Self:
        return _restore(type(self), self.args, self.__dict__)  # type: ignore[return-value]


@set_module("mpzmq")
class ConnectError(MpzmqError, ConnectionError):
    """``connect()`` could not reach the container, or its link has failed for good; ``join()`` was not let in.

    Attributes:
        address: the address as the caller gave it.
        name: the name of the link (by default the address).
        attempts: how many redials had failed (0 for a first dial).
    """

    def __init__(self, message: str = "", *, address: str = "", name: str = "", attempts: int = 0) -> None:
        super().__init__(message)
        self.address = address
        self.name = name
        self.attempts = attempts


@set_module("mpzmq")
class ConnectRefused(ConnectError, ConnectionRefusedError):
    """Nothing listens at the address."""


@set_module("mpzmq")
class AddressNotFound(ConnectError):
    """The host name has no address."""


@set_module("mpzmq")
class ConnectTimeout(ConnectError, TimeoutError):
    """The container did not answer in time."""


@set_module("mpzmq")
class HandshakeFailed(ConnectError):
    """Something answered, but not as an mpzmq container: another protocol, version or socket type."""


@set_module("mpzmq")
class AuthenticationFailed(ConnectError, PermissionError):
    """The container refused this engine."""


@set_module("mpzmq")
class InsecureBind(MpzmqError, ValueError):
    """A bind beyond loopback and ipc without security, or a container that would join another host without it.

    Attributes:
        endpoint: what was to be bound, or joined.
    """

    def __init__(self, message: str = "", *, endpoint: str = "") -> None:
        super().__init__(message)
        self.endpoint = endpoint


@set_module("mpzmq")
class RequestError(MpzmqError):
    """One request failed.

    Attributes:
        request_id: the id of the request, as the caller gave it.
        remote_id: the id of the container it was for.
        name: the name of that container's link.
        executed: whether a handler has worked for this request: it never lies.
        fallback_sent: True when the request's fallback was sent, and failed too.
        evidence: what its link knew when it failed; None if there was no link.
        tried: of a request to a group, which members were asked, and what each has answered; ``executed`` is then the
            worst of all.
    """

    executed: Executed = Executed.NO
    evidence: Evidence | None = None
    tried: tuple[Attempt, ...] = ()

    def __init__(
        self,
        message: object = "",
        *,
        request_id: UUID | None = None,
        remote_id: UUID | None = None,
        name: str = "",
        executed: Executed | None = None,
        fallback_sent: bool = False,
    ) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.remote_id = remote_id
        self.name = name
        self.fallback_sent = fallback_sent
        if executed is not None:
            self.executed = executed


@set_module("mpzmq")
class NotConnected(RequestError, ConnectionError):
    """There is no link to that container, or none that can be used now."""


@set_module("mpzmq")
class ConnectionLost(RequestError, ConnectionResetError):
    """The connection broke while the request was under way.

    Attributes:
        instance_changed: True when the container was restarted, False when it is the same process as before,
            None when that is not known.
        progress: how far a stream, an upload or a channel got; None for a request with one result.
    """

    executed = Executed.UNKNOWN
    instance_changed: bool | None = None
    progress: StreamProgress | None = None


@set_module("mpzmq")
class ConnectionClosed(ConnectionLost, BrokenPipeError):
    """The connection was ended on purpose: GOODBYE, ``disconnect()`` or ``close()``."""


@set_module("mpzmq")
class RequestTimeout(RequestError, TimeoutError):
    """No reply came by the deadline. ``executed`` is NO when the request never left this process."""

    executed = Executed.UNKNOWN


@set_module("mpzmq")
class RequestCancelled(RequestError):
    """The container ended the handler: a drain or close ran out, or the handler cancelled itself.

    For a call of a handler to its engine: the request inside which it is made has ended.
    """

    executed = Executed.YES


@set_module("mpzmq")
class Overloaded(RequestError):
    """There is no room for the request.

    Attributes:
        retry_after: seconds after which another try is worth it.
    """

    retry_after: float = 0.1


@set_module("mpzmq")
class Unsupported(RequestError):
    """The container has no such function, or no handler for plain INVOKE."""


@set_module("mpzmq")
class InvalidArguments(RequestError):
    """The function does not take these arguments; its handler was not called."""


@set_module("mpzmq")
class ContainerStopped(RequestError):
    """The container's status is STOP: it refuses INVOKE and functions."""


@set_module("mpzmq")
class ContainerDraining(RequestError):
    """The container is going away and takes no new work."""


@set_module("mpzmq")
class Refused(RequestError):
    """A handler refused, by ``raise Refused("why")``: it has done nothing.

    The function that does the work may say so, and what it calls. Raised by a decorator around it, which cannot know,
    it is a :class:`RemoteError`.
    """


@set_module("mpzmq")
class NotPermitted(Refused, PermissionError):
    """The container's allow-list does not let this engine ask for that."""


@set_module("mpzmq")
class RequestIdReused(RequestError, ValueError):
    """The request id is in use for another body."""


@set_module("mpzmq")
class RemoteError(RequestError):
    """The handler raised. Handlers may raise it themselves, to choose what the caller sees.

    Raises:
        TypeError: ``code`` or ``error_type`` is not a str.

    Attributes:
        error_type: the name of the exception's class in the container.
        error_message: its text.
        code: a short word for programs, chosen by the handler.
        data: whatever the handler added; any value that a message can carry.
    """

    executed = Executed.YES

    def __init__(
        self,
        message: object = "",
        *,
        code: str | None = None,
        data: Any = None,
        error_type: str = "RemoteError",
        error_message: object = None,
        request_id: UUID | None = None,
        remote_id: UUID | None = None,
        name: str = "",
        executed: Executed | None = None,
        fallback_sent: bool = False,
    ) -> None:
        super().__init__(
            message,
            request_id=request_id,
            remote_id=remote_id,
            name=name,
            executed=executed,
            fallback_sent=fallback_sent,
        )
        self.code = None if code is None else _word("code", code, message)
        self.data = data
        self.error_type = _word("error_type", error_type, message)
        self.error_message = _message(message if error_message is None else error_message)


def _word(name: str, value: str, message: object) -> str:
    """A word for programs: unlike a message, it is of no use in another form."""
    if issubclass(type(value), str):
        return str.__str__(value)
    raise TypeError(
        f"the {name} of a RemoteError is a str, and not {type_name(value)}: {repr_of(value)}"
        f" (its message is {repr_of(message)})"
    )


@set_module("mpzmq")
class ResultMismatch(RequestError):
    """The handler has run, and what it returned does not fit the interface that the caller uses.

    Compare the two: ``await container.check(Interface)``.
    """

    executed = Executed.YES


@set_module("mpzmq")
class ProtocolError(RequestError):
    """The reply could not be decoded."""

    executed = Executed.UNKNOWN


@set_module("mpzmq")
class MessageTooLarge(MpzmqError, ValueError):
    """The message is larger than this side or the other accepts. Nothing was sent.

    Attributes:
        size: the size of the message in bytes.
        limit: the largest size that would pass.
    """

    def __init__(self, message: str = "", *, size: int = 0, limit: int = 0) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


@set_module("mpzmq")
class EncodeError(MpzmqError, TypeError):
    """A value that a message cannot carry. Nothing was sent.

    Attributes:
        path: where the value is, such as ``data['user'][0]``.
    """

    def __init__(self, message: str = "", *, path: str = "") -> None:
        super().__init__(message)
        self.path = path
