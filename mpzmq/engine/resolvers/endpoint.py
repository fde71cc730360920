"""Endpoint: where one container serves, and what is known of it before anybody has talked to it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

from ...address import parse_address
from ...common.set_module import set_module
from ...common.text import repr_of
from ...runtime.names import checked_name
from ...security.keypair import check_key

__all__ = ["Endpoint"]


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one container serves, and what is known of it.

    Attributes:
        address: as for ``worker.connect()``; a pair of host and port becomes text.
        name: what it is called in the group; None: as its address.
        labels: what it can be chosen by.
        weight: its share of the work, compared with the others.
        server_key: the public key that it has to have; None: what the security of the group says.

    Raises:
        TypeError: a value is of another type.
        ValueError: the address is malformed, the name is empty, the weight is not above 0, or the key is no key.
    """

    address: str
    _: KW_ONLY
    name: str = None  # type: ignore[assignment]  # __post_init__ makes it the address
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    weight: float = 1.0
    server_key: str | None = None

    @property
    def place(self) -> tuple[object, ...]:
        """What makes it another member, though it has the same name."""
        return self.address, self.server_key

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", parse_address(self.address).text)
        object.__setattr__(self, "name", self.address if self.name is None else checked_name(self.name))
        if not self.name:
            raise ValueError(f"the name of {self.address} is empty: leave it out, and it is the address")
        object.__setattr__(self, "labels", _checked_labels(self.labels))
        if isinstance(self.weight, bool) or not isinstance(self.weight, int | float):
            raise TypeError(f"weight is a number, not {type(self.weight).__name__}")
        if not 0 < self.weight <= sys.float_info.max:  # NaN compares with nothing, and an int may be too large
            raise ValueError(f"weight must be more than 0, and finite, not {repr_of(self.weight, 100)}")
        object.__setattr__(self, "weight", float(self.weight))
        if self.server_key is not None:
            check_key(self.server_key, "server_key")


def _checked_labels(labels: object) -> dict[str, str]:
    if not isinstance(labels, Mapping):
        raise TypeError(f"labels is a mapping of str to str, not {type(labels).__name__}")
    for key, value in labels.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise TypeError(f"labels is a mapping of str to str, and has {key!r}: {value!r}")
    return dict(labels)
