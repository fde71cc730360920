"""An engine talks to containers: request and response over ZeroMQ, for asyncio.

This file holds the public names and nothing else; each is imported when it is asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import blocking as blocking
    from . import errors as errors
    from . import keys as keys
    from . import middleware as middleware
    from . import otel as otel
    from . import prometheus as prometheus
    from . import testing as testing
    from ._version import __version__ as __version__
    from .config import GroupPolicy as GroupPolicy
    from .config import HeartbeatPolicy as HeartbeatPolicy
    from .config import Limits as Limits
    from .config import ReconnectPolicy as ReconnectPolicy
    from .container.lobby_joining import Join as Join
    from .container.server import ContainerServer as ContainerServer
    from .context import RequestContext as RequestContext
    from .context import current_request as current_request
    from .context import detached as detached
    from .engine.event_stream import EventStream as EventStream
    from .engine.group import Group as Group
    from .engine.joined_group import JoinedGroup as JoinedGroup
    from .engine.options_view import OptionsView as OptionsView
    from .engine.outcomes import Outcome as Outcome
    from .engine.outcomes import Outcomes as Outcomes
    from .engine.reader import ComputerEngineReader as ComputerEngineReader
    from .engine.resolvers.endpoint import Endpoint as Endpoint
    from .engine.resolvers.resolver import Resolver as Resolver
    from .engine.service import EngineService as EngineService
    from .engine.streams import Channel as Channel
    from .engine.streams import ReplyStream as ReplyStream
    from .engine.worker import ComputerEngineWorker as ComputerEngineWorker
    from .engine.writer import ComputerEngineWriter as ComputerEngineWriter
    from .errors import AddressNotFound as AddressNotFound
    from .errors import AuthenticationFailed as AuthenticationFailed
    from .errors import ConnectError as ConnectError
    from .errors import ConnectionClosed as ConnectionClosed
    from .errors import ConnectionLost as ConnectionLost
    from .errors import ConnectRefused as ConnectRefused
    from .errors import ConnectTimeout as ConnectTimeout
    from .errors import ContainerDraining as ContainerDraining
    from .errors import ContainerStopped as ContainerStopped
    from .errors import EncodeError as EncodeError
    from .errors import HandshakeFailed as HandshakeFailed
    from .errors import InsecureBind as InsecureBind
    from .errors import InvalidArguments as InvalidArguments
    from .errors import MessageTooLarge as MessageTooLarge
    from .errors import MpzmqError as MpzmqError
    from .errors import NotConnected as NotConnected
    from .errors import NotPermitted as NotPermitted
    from .errors import Overloaded as Overloaded
    from .errors import ProtocolError as ProtocolError
    from .errors import Refused as Refused
    from .errors import RemoteError as RemoteError
    from .errors import RequestCancelled as RequestCancelled
    from .errors import RequestError as RequestError
    from .errors import RequestIdReused as RequestIdReused
    from .errors import RequestTimeout as RequestTimeout
    from .errors import ResultMismatch as ResultMismatch
    from .errors import Unsupported as Unsupported
    from .events import EngineInfo as EngineInfo
    from .events import EngineJoined as EngineJoined
    from .events import EngineLeft as EngineLeft
    from .events import EventsDropped as EventsDropped
    from .events import Evidence as Evidence
    from .events import LinkBusy as LinkBusy
    from .events import LinkClosed as LinkClosed
    from .events import LinkDown as LinkDown
    from .events import LinkEvent as LinkEvent
    from .events import LinkFailed as LinkFailed
    from .events import LinkRetry as LinkRetry
    from .events import LinkUp as LinkUp
    from .events import MemberEjected as MemberEjected
    from .events import MemberHeld as MemberHeld
    from .events import MemberJoined as MemberJoined
    from .events import MemberLeft as MemberLeft
    from .events import MemberReturned as MemberReturned
    from .events import StateChange as StateChange
    from .events import StatusChanged as StatusChanged
    from .fleets.fleet import Fleet as Fleet
    from .fleets.fleet import fleet as fleet
    from .handlers.dependencies import Depends as Depends
    from .handlers.middleware import CallDetails as CallDetails
    from .handlers.middleware import Proceed as Proceed
    from .models import Attempt as Attempt
    from .models import Call as Call
    from .models import Description as Description
    from .models import Executed as Executed
    from .models import FunctionDescription as FunctionDescription
    from .models import LinkState as LinkState
    from .models import Member as Member
    from .models import Method as Method
    from .models import Params as Params
    from .models import Progress as Progress
    from .models import Status as Status
    from .models import StreamProgress as StreamProgress
    from .protocol.requester.options import Unset as Unset
    from .runtime.log_filter import RequestLogFilter as RequestLogFilter
    from .runtime.opening import Opening as Opening
    from .security.credentials import Security as Security
    from .statistics import Durations as Durations
    from .statistics import FunctionStatistics as FunctionStatistics
    from .statistics import GroupStatistics as GroupStatistics
    from .statistics import ServerStatistics as ServerStatistics
    from .statistics import Statistics as Statistics
else:
    from ._lazy import lazy_names as _lazy_names

    _HOMES = {
        "AddressNotFound": "errors",
        "Attempt": "models",
        "AuthenticationFailed": "errors",
        "Call": "models",
        "CallDetails": "handlers.middleware",
        "Channel": "engine.streams",
        "ComputerEngineReader": "engine.reader",
        "ComputerEngineWorker": "engine.worker",
        "ComputerEngineWriter": "engine.writer",
        "ConnectError": "errors",
        "ConnectRefused": "errors",
        "ConnectTimeout": "errors",
        "ConnectionClosed": "errors",
        "ConnectionLost": "errors",
        "ContainerDraining": "errors",
        "ContainerServer": "container.server",
        "ContainerStopped": "errors",
        "Depends": "handlers.dependencies",
        "Description": "models",
        "Durations": "statistics",
        "EncodeError": "errors",
        "Endpoint": "engine.resolvers.endpoint",
        "EngineInfo": "events",
        "EngineJoined": "events",
        "EngineLeft": "events",
        "EngineService": "engine.service",
        "EventStream": "engine.event_stream",
        "EventsDropped": "events",
        "Evidence": "events",
        "Executed": "models",
        "Fleet": "fleets.fleet",
        "FunctionDescription": "models",
        "FunctionStatistics": "statistics",
        "Group": "engine.group",
        "GroupPolicy": "config",
        "GroupStatistics": "statistics",
        "HandshakeFailed": "errors",
        "HeartbeatPolicy": "config",
        "InsecureBind": "errors",
        "InvalidArguments": "errors",
        "Join": "container.lobby_joining",
        "JoinedGroup": "engine.joined_group",
        "Limits": "config",
        "LinkBusy": "events",
        "LinkClosed": "events",
        "LinkDown": "events",
        "LinkEvent": "events",
        "LinkFailed": "events",
        "LinkRetry": "events",
        "LinkState": "models",
        "LinkUp": "events",
        "Member": "models",
        "MemberEjected": "events",
        "MemberHeld": "events",
        "MemberJoined": "events",
        "MemberLeft": "events",
        "MemberReturned": "events",
        "MessageTooLarge": "errors",
        "Method": "models",
        "MpzmqError": "errors",
        "NotConnected": "errors",
        "NotPermitted": "errors",
        "Opening": "runtime.opening",
        "OptionsView": "engine.options_view",
        "Outcome": "engine.outcomes",
        "Outcomes": "engine.outcomes",
        "Overloaded": "errors",
        "Params": "models",
        "Proceed": "handlers.middleware",
        "Progress": "models",
        "ProtocolError": "errors",
        "ReconnectPolicy": "config",
        "Refused": "errors",
        "RemoteError": "errors",
        "ReplyStream": "engine.streams",
        "RequestCancelled": "errors",
        "RequestContext": "context",
        "RequestError": "errors",
        "RequestIdReused": "errors",
        "RequestLogFilter": "runtime.log_filter",
        "RequestTimeout": "errors",
        "ResultMismatch": "errors",
        "Resolver": "engine.resolvers.resolver",
        "Security": "security.credentials",
        "ServerStatistics": "statistics",
        "StateChange": "events",
        "Statistics": "statistics",
        "Status": "models",
        "StatusChanged": "events",
        "StreamProgress": "models",
        "Unset": "protocol.requester.options",
        "Unsupported": "errors",
        "__version__": "_version",
        "current_request": "context",
        "detached": "context",
        "fleet": "fleets.fleet",
        "blocking": None,
        "errors": None,
        "keys": None,
        "middleware": None,
        "otel": None,
        "prometheus": None,
        "testing": None,
    }
    __getattr__, __dir__ = _lazy_names(__name__, _HOMES)

__all__ = [
    "AddressNotFound",
    "Attempt",
    "AuthenticationFailed",
    "Call",
    "CallDetails",
    "Channel",
    "ComputerEngineReader",
    "ComputerEngineWorker",
    "ComputerEngineWriter",
    "ConnectError",
    "ConnectRefused",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionLost",
    "ContainerDraining",
    "ContainerServer",
    "ContainerStopped",
    "Depends",
    "Description",
    "Durations",
    "EncodeError",
    "Endpoint",
    "EngineInfo",
    "EngineJoined",
    "EngineLeft",
    "EngineService",
    "EventStream",
    "EventsDropped",
    "Evidence",
    "Executed",
    "Fleet",
    "FunctionDescription",
    "FunctionStatistics",
    "Group",
    "GroupPolicy",
    "GroupStatistics",
    "HandshakeFailed",
    "HeartbeatPolicy",
    "InsecureBind",
    "InvalidArguments",
    "Join",
    "JoinedGroup",
    "Limits",
    "LinkBusy",
    "LinkClosed",
    "LinkDown",
    "LinkEvent",
    "LinkFailed",
    "LinkRetry",
    "LinkState",
    "LinkUp",
    "Member",
    "MemberEjected",
    "MemberHeld",
    "MemberJoined",
    "MemberLeft",
    "MemberReturned",
    "MessageTooLarge",
    "Method",
    "MpzmqError",
    "NotConnected",
    "NotPermitted",
    "Opening",
    "OptionsView",
    "Outcome",
    "Outcomes",
    "Overloaded",
    "Params",
    "Proceed",
    "Progress",
    "ProtocolError",
    "ReconnectPolicy",
    "Refused",
    "RemoteError",
    "ReplyStream",
    "RequestCancelled",
    "RequestContext",
    "RequestError",
    "RequestIdReused",
    "RequestLogFilter",
    "RequestTimeout",
    "Resolver",
    "ResultMismatch",
    "Security",
    "ServerStatistics",
    "StateChange",
    "Statistics",
    "Status",
    "StatusChanged",
    "StreamProgress",
    "Unset",
    "Unsupported",
    "__version__",
    "current_request",
    "detached",
    "fleet",
]
