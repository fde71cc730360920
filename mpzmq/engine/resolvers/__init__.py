"""Where the members of a group are: names and lists, followed as they change."""

from .endpoint import Endpoint
from .resolver import Resolver
from .schemes import resolver_for
from .source import Source

__all__ = ["Endpoint", "Resolver", "Source", "resolver_for"]
