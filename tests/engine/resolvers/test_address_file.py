"""``file://``: a file is followed, whatever is done to it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from mpzmq import Endpoint
from mpzmq.engine.resolvers import resolver_for
from mpzmq.engine.resolvers.address_file import AddressFile
from tests.engine.resolvers.watching import watching
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from mpzmq.engine.resolvers import Source


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "the calculators.txt"


def source_of(path: Path) -> Source:
    return resolver_for(path.as_uri())  # with %20 for the space


def write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8", "surrogateescape")


def replace(path: Path, text: str) -> None:
    """As careful programs do."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


async def test_a_file_is_followed(path: Path) -> None:
    write(path, "# all of them\n\n10.0.0.1:3010\n  tcp://10.0.0.2:3010  # the new one\n")
    async with watching(source_of(path)) as watch:
        assert await watch.addresses() == ["10.0.0.1:3010", "tcp://10.0.0.2:3010"]
        with path.open("a") as file:
            file.write("10.0.0.3:3010\n")
        assert (await watch.addresses())[2:] == ["10.0.0.3:3010"]
        replace(path, "10.0.0.4:3010\n")
        assert await watch.addresses() == ["10.0.0.4:3010"]
        write(path, "")
        assert await watch.addresses() == []
        write(path, "ipc:///run/calc#1 # which is the name of that socket\n#ipc:///run/calc\n")
        assert await watch.addresses() == ["ipc:///run/calc#1"]


async def test_a_file_that_is_being_written_is_read_when_it_is_done(path: Path) -> None:
    write(path, "10.0.0.1:3010\n")
    file = AddressFile(path)
    assert await file.look_up() == [Endpoint("10.0.0.1:3010")]
    for text in ("", "10.0.0.1:30", "10.0.0.1:3010\n10.0.0.2:3010\n"):
        write(path, text)
        assert await file.look_up() is None
    assert await file.look_up() == [Endpoint("10.0.0.1:3010"), Endpoint("10.0.0.2:3010")]
    assert await file.look_up() is None


async def test_a_file_that_goes_away(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(path, "10.0.0.1:3010\n")
    source = source_of(path)
    async with watching(source) as watch:
        assert await watch.addresses() == ["10.0.0.1:3010"]
        coming = asyncio.create_task(watch.addresses())
        os.unlink(path)
        await until(lambda: "No such file" in source.trouble)
        assert not coming.done()
        write(path, "10.0.0.1:3010\n")
        await until(lambda: not source.trouble)  # the same members: no change
        replace(path, "10.0.0.2:3010\n")
        assert await coming == ["10.0.0.2:3010"]
    assert caplog.text.count("its members stay as they are") == 1


async def test_a_file_that_comes_later(path: Path) -> None:
    source = source_of(path)
    async with watching(source) as watch:
        assert await watch.addresses() == []
        assert "No such file" in source.trouble
        write(path, "10.0.0.1:3010\n")
        assert await watch.addresses() == ["10.0.0.1:3010"]


async def test_garbage_is_told_once_with_its_line(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(path, "10.0.0.1:3010\n# fine\nnowhere\n\udcff\0:1\n10.0.0.2:99999\n")
    async with watching(source_of(path)) as watch:
        assert await watch.addresses() == ["10.0.0.1:3010"]
        with path.open("a") as file:
            file.write("10.0.0.3:3010\n")
        assert await watch.addresses() == ["10.0.0.1:3010", "10.0.0.3:3010"]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3
    for number, text in zip((3, 4, 5), told, strict=True):
        assert text.startswith(f"{path}, line {number}: ")


async def test_what_is_no_file(tmp_path: Path) -> None:
    """It is not waited for."""
    fifo, large = tmp_path / "fifo", tmp_path / "large"
    os.mkfifo(fifo)
    with large.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    for path, why in ((fifo, "not a regular file"), (tmp_path, "but a directory"), (large, "has more than")):
        source = source_of(path)
        async with watching(source) as watch:
            assert await watch.addresses() == []
            assert why in source.trouble
