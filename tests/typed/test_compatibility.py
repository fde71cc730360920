"""``schema diff``: what a caller of one version is told of another one, for each version in tests/schemas/."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mpzmq.typed.compatibility import breaks
from tests.schemas.make import FOLDER, VERSIONS, text_of

FILES = sorted(FOLDER.glob("*.json"))


def read(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def test_there_is_a_file_for_each_version() -> None:
    assert {file.stem for file in FILES} == set(VERSIONS)


@pytest.mark.parametrize("name", VERSIONS)
def test_a_file_is_what_a_container_tells(name: str) -> None:
    """If not: ``python -m tests.schemas.make``, and look at what git says of the files."""
    assert (FOLDER / f"{name}.json").read_text("utf-8") == text_of(VERSIONS[name][0]())


@pytest.mark.parametrize("name", VERSIONS)
def test_the_verdict_is_the_one_beside_it(name: str) -> None:
    wanted = (FOLDER / f"{name}.verdict").read_text("utf-8").splitlines()
    found = breaks(read("1.0"), read(name))
    if wanted == ["fits"]:
        assert found == []
    else:
        for line in wanted:
            assert [told for told in found if line in told], found
        assert len(found) <= len(wanted) + 1, found  # one change may have two consequences, and not more


@pytest.mark.parametrize("name", VERSIONS)
def test_a_version_fits_itself(name: str) -> None:
    assert breaks(read(name), read(name)) == []
