"""What `mpzmq manifest --systemd` prints is a unit, and says what `mpzmq serve` understands."""

from __future__ import annotations

from configparser import RawConfigParser
from typing import TYPE_CHECKING

import pytest

from mpzmq.manifests import Workload, systemd, unit_name
from tests.manifests.understood import options_of, understood
from tests.manifests.validators import validate

if TYPE_CHECKING:
    from pathlib import Path

ONE = Workload(server="shop.calculator:servers.main", name="calculator", replicas=1, drain_timeout=20)
SEVERAL = Workload(server="calculator:server", name="calculator", replicas=3, port=4000)


class Unit(RawConfigParser):
    def __init__(self, text: str) -> None:
        super().__init__(strict=False, delimiters=("=",), comment_prefixes=("#",))
        self.optionxform = str  # type: ignore[method-assign, assignment]  # as typeshed and the docs have it
        self.read_string(text)

    @property
    def words(self) -> list[str]:
        return self["Service"]["ExecStart"].split()


def application(folder: Path) -> Path:
    """A folder with something to execute, for systemd looks whether it is there."""
    program = folder / ".venv" / "bin" / "mpzmq"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize("keys", [None, "/etc/calculator"])
@pytest.mark.parametrize("workload", [ONE, SEVERAL], ids=["one", "several"])
def test_it_is_valid_and_may_do_little(tmp_path: Path, workload: Workload, keys: str | None) -> None:
    text = systemd(workload, str(application(tmp_path / "calculator")), keys=keys)
    file = tmp_path / unit_name(workload).replace("@.", "@4000.")
    file.write_text(text)
    validate("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", file)
    # Tenths; a unit that says nothing has 96.
    validate("systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=20", file)


def test_it_runs_a_command_that_serve_understands() -> None:
    unit = Unit(systemd(ONE))
    understood(unit.words)
    assert unit.words[0] == "/opt/calculator/.venv/bin/mpzmq"
    assert unit["Service"]["WorkingDirectory"] == "/opt/calculator"
    options = options_of(unit.words)
    assert (options["--bind"], options["--admin"]) == ("tcp://127.0.0.1:3010", "127.0.0.1:9100")
    assert float(unit["Service"]["TimeoutStopSec"]) >= 20 + 30


def test_several_are_named_by_their_ports() -> None:
    assert (unit_name(ONE), unit_name(SEVERAL)) == ("calculator.service", "calculator@.service")
    text = systemd(SEVERAL)
    unit = Unit(text)
    understood([word.replace("%i", "4000") for word in unit.words])
    assert options_of(unit.words)["--bind"] == "tcp://127.0.0.1:%i"
    assert "--admin" not in options_of(unit.words)
    assert "calculator@{4000..4002}" in text


def test_the_secret_key_is_a_credential() -> None:
    unit = Unit(systemd(ONE, keys="/etc/calculator/"))
    understood(unit.words)
    name, _, path = unit["Service"]["LoadCredential"].partition(":")
    assert path == "/etc/calculator/container.key"
    options = options_of(unit.words)
    assert options["--keys"] == f"${{CREDENTIALS_DIRECTORY}}/{name}"
    assert options["--allow"] == "/etc/calculator/allowed"
    assert options["--bind"] == "tcp://0.0.0.0:3010"
    assert "--insecure" not in options


@pytest.mark.parametrize("option", ["app_dir", "keys"])
def test_a_unit_knows_no_folder_of_now(option: str) -> None:
    with pytest.raises(ValueError, match="begins with /"):
        systemd(ONE, **{option: "calculator"})
