"""What `mpzmq manifest --compose` prints is valid, and says what `mpzmq serve` understands."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from mpzmq import ContainerServer
from mpzmq.manifests import Workload, compose
from tests.manifests.understood import options_of, understood
from tests.manifests.validators import validate
from tests.support.ports import free_port
from tests.support.waiting import scaled, soon

if TYPE_CHECKING:
    from pathlib import Path

WORKLOAD = Workload(server="calculator:server", name="no", replicas=5, drain_timeout=0.5, memory=300)


def service(*args: Any, workload: Workload = WORKLOAD, **options: Any) -> dict[str, Any]:
    found = yaml.safe_load(compose(workload, *args, **options))["services"]
    assert list(found) == [workload.name]
    only = found[workload.name]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize("keys", [None, "keys/of_calculators"])
@pytest.mark.parametrize("image", [None, "calculator"])
def test_it_is_valid(tmp_path: Path, keys: str | None, image: str | None) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(compose(WORKLOAD, image, keys=keys))
    validate("check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)


@pytest.mark.parametrize("keys", [None, "./keys"])
def test_it_runs_a_command_that_serve_understands(keys: str | None) -> None:
    only = service(keys=keys)
    words = only["entrypoint"] + only["command"]
    understood(words)
    options = options_of(words)
    assert options["--bind"] == "tcp://0.0.0.0:3010"
    assert ("--insecure" in options) is (keys is None)
    assert float(only["stop_grace_period"].removesuffix("s")) >= 0.5 + 30


def test_an_image_is_run_or_built() -> None:
    assert service()["build"] == "."
    assert service("registry.example/calculator:1")["image"] == "registry.example/calculator:1"
    assert "build" not in service("registry.example/calculator:1")


def test_it_may_do_little() -> None:
    only = service()
    assert only["user"] == "10001:10001"
    assert only["read_only"] is True
    assert only["cap_drop"] == ["ALL"]
    assert only["security_opt"] == ["no-new-privileges:true"]
    assert only["deploy"] == {"replicas": 5, "resources": {"limits": {"memory": "300M"}}}
    assert "ports" not in only


def test_keys_are_files() -> None:
    whole = yaml.safe_load(compose(WORKLOAD, keys="./keys/"))
    only = whole["services"]["no"]
    options = options_of(only["command"])
    assert whole["secrets"] == {"container.key": {"file": "./keys/container.key"}}
    assert options["--keys"] == f"/run/secrets/{only['secrets'][0]}"
    (allowed,) = only["volumes"]
    assert (allowed["source"], allowed["target"], allowed["read_only"]) == ("./keys/allowed", options["--allow"], True)


async def test_the_healthcheck_asks_whether_it_is_ready() -> None:
    port = free_port()
    kind, _, *args = service(workload=Workload(server="a:b", name="a", admin_port=port))["healthcheck"]["test"]
    assert kind == "CMD"

    def probe() -> int:
        return subprocess.run(
            [sys.executable, *args], stderr=subprocess.DEVNULL, env=os.environ, timeout=scaled(30), check=False
        ).returncode

    async with ContainerServer() as server:
        await server.bind_admin(f"127.0.0.1:{port}")
        assert await soon(asyncio.to_thread(probe), 40) == 1  # it does not serve yet
        await server.bind("127.0.0.1:0")
        assert await soon(asyncio.to_thread(probe), 40) == 0
    assert await soon(asyncio.to_thread(probe), 40) == 1
