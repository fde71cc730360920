"""The documentation builds, and leaves nothing public out. Its snippets are run by test_snippets.py."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mpzmq
from mpzmq.cli import output
from mpzmq.cli.commands import mpzmq as command

yaml: Any = pytest.importorskip("yaml", reason="PyYAML is not installed")

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
DRAIN_SECONDS = 8.0


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def errors() -> list[str]:
    things = {name: getattr(mpzmq, name) for name in mpzmq.__all__}
    return [name for name, thing in things.items() if isinstance(thing, type) and issubclass(thing, Exception)]


def test_it_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("furo", reason="the extra docs is not installed")
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    built = (tmp_path / "reference" / "errors.html").read_text("utf-8")
    for name in errors():
        assert f'id="{name.lower()}"' in built, f"{name} has no anchor"


def test_every_page_is_in_a_list() -> None:
    listed = set(re.findall(r"^[\w/-]+$", page("index.md"), re.M))
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")}
    assert listed == pages - {"index"}


@pytest.mark.parametrize("name", sorted(set(mpzmq.__all__) - {"__version__"}))
def test_every_public_name_is_documented(name: str) -> None:
    if name in errors():
        sections = re.findall(r"^### (\w+)$", page("reference/errors.md"), re.M)
        assert sections.count(name) == 1
    else:
        assert re.search(rf":: mpzmq\.{name}$", page("reference/api.md"), re.M)


def test_every_command_is_documented() -> None:
    described = re.findall(r"^\$ mpzmq (\w+) --help$", page("reference/cli.md"), re.M)
    assert sorted(described) == sorted(command.commands)


def test_every_exit_code_is_documented() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", page("reference/cli.md"), re.M)}
    assert told == {value for name, value in vars(output).items() if name.isupper() and isinstance(value, int)}


# The files for Compose and Kubernetes


def documents() -> list[dict[str, Any]]:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page("how-to/deploy.md"), re.M | re.S)
    return [document for block in blocks for document in yaml.safe_load_all(block)]


def check_command(words: list[str]) -> None:
    """Whether these words are a command of ours that would be understood."""
    assert words[0] == "mpzmq", shlex.join(words)
    assert words[1] in command.commands
    result = subprocess.run(
        [sys.executable, "-m", *words, "--help"], capture_output=True, text=True, timeout=20, check=False
    )
    assert result.returncode == 0
    for word in words:
        if word.startswith("--"):
            assert word in result.stdout


def test_compose() -> None:
    (compose,) = (document for document in documents() if "services" in document)
    calculator = compose["services"]["calculator"]
    assert int(calculator["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS
    check_command(calculator["command"])
    kind, *probe = calculator["healthcheck"]["test"]
    assert kind == "CMD"
    check_command(probe)


def test_kubernetes() -> None:
    deployment, service = (document for document in documents() if "kind" in document)
    template = deployment["spec"]["template"]
    assert template["metadata"]["labels"] == service["spec"]["selector"]
    assert template["spec"]["terminationGracePeriodSeconds"] > DRAIN_SECONDS
    (container,) = template["spec"]["containers"]
    check_command(container["command"])
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container[name]
        check_command(probe["exec"]["command"])
        limit = float(probe["exec"]["command"][-1])
        assert probe["timeoutSeconds"] > limit
