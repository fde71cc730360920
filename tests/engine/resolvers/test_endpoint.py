"""Endpoint: what is none is refused where it is made."""

from __future__ import annotations

import dataclasses
import math
import pickle
from typing import Any

import pytest

from mpzmq import Endpoint, keys


def test_its_defaults() -> None:
    endpoint = Endpoint("calc:3010")
    assert (endpoint.address, endpoint.name, endpoint.labels, endpoint.weight) == ("calc:3010", "calc:3010", {}, 1.0)
    assert endpoint.server_key is None


def test_it_is_a_value() -> None:
    key = keys.generate().public
    labels = {"gpu": "1"}
    endpoint = Endpoint("calc:3010", name="one", labels=labels, weight=2, server_key=key)
    labels["gpu"] = "2"
    assert endpoint.labels == {"gpu": "1"}
    again = pickle.loads(pickle.dumps(endpoint))
    assert again == endpoint
    assert hash(again) == hash(endpoint)
    assert dataclasses.asdict(endpoint)["labels"] == {"gpu": "1"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        endpoint.weight = 3.0  # type: ignore[misc]


def test_a_pair_becomes_text() -> None:
    address: Any = ("::1", 3010)
    assert Endpoint(address).address == Endpoint(address).name == "[::1]:3010"


@pytest.mark.parametrize(
    ("address", "options", "error", "told"),
    [
        ("calc", {}, ValueError, "'calc' has no port"),
        (5, {}, TypeError, "not int"),
        ("calc:1", {"name": ""}, ValueError, "the name of calc:1 is empty"),
        ("calc:1", {"name": 5}, TypeError, "name is a str, not int"),
        ("calc:1", {"name": "x\udce9"}, ValueError, "cannot be written in UTF-8"),
        ("calc:1", {"labels": ["gpu"]}, TypeError, "labels is a mapping of str to str, not list"),
        ("calc:1", {"labels": {"gpu": 1}}, TypeError, "and has 'gpu': 1"),
        ("calc:1", {"weight": 0}, ValueError, "weight must be more than 0"),
        ("calc:1", {"weight": math.nan}, ValueError, "weight must be more than 0, and finite, not nan"),
        ("calc:1", {"weight": math.inf}, ValueError, "weight must be more than 0, and finite, not inf"),
        ("calc:1", {"weight": 10**400}, ValueError, "weight must be more than 0, and finite, not 1000"),
        ("calc:1", {"weight": 10**5000}, ValueError, "weight must be more than 0, and finite"),
        ("calc:1", {"weight": True}, TypeError, "weight is a number, not bool"),
        ("calc:1", {"weight": "1"}, TypeError, "weight is a number, not str"),
        ("calc:1", {"server_key": "key"}, ValueError, "server_key has 40 characters"),
    ],
)
def test_what_is_none(address: Any, options: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        Endpoint(address, **options)
