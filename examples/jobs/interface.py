"""What the web application and the containers share: the functions, and the types of what they take and return."""

import enum
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol
from uuid import UUID

import msgspec


class Level(enum.Enum):
    """How much a container tells."""

    QUIET = "quiet"
    VERBOSE = "verbose"


@dataclass
class Job:
    """A picture to be rendered, in so many steps. Whoever asks chooses the id, to find its progress."""

    id: UUID
    title: str
    steps: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    pause: float = 0.02


@dataclass
class Result:
    id: UUID
    user: str
    done_by: str


@dataclass
class Stored:
    name: str
    size: int
    sha256: str


@dataclass
class Line:
    at: datetime
    text: str


class Jobs(Protocol):
    """What each container offers. Clients need this and the types above, and nothing else of it."""

    async def render(self, job: Job) -> Result: ...
    def log(self) -> AsyncGenerator[Line, None]: ...
    async def store(self, chunks: AsyncIterable[bytes], name: str) -> Stored: ...
    async def words(self, text: str) -> int: ...
    async def set_level(self, level: Level) -> Level: ...
    async def compact(self) -> int: ...
