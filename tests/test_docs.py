"""The documentation builds, and leaves nothing public out. Its snippets are run by test_snippets.py."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import mpzmq
from mpzmq import blocking, keys, testing
from mpzmq.cli import output
from mpzmq.cli.commands import mpzmq as command
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
AS_XML = ("-b", "xml", "-D", "smartquotes=0")  # curly quotes take a twelfth of the time
OUTSIDE = [*sorted(ROOT.glob("*.md")), ROOT / "examples" / "README.md"]


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def errors() -> list[str]:
    things = {name: getattr(mpzmq, name) for name in mpzmq.__all__}
    return [name for name, thing in things.items() if isinstance(thing, type) and issubclass(thing, Exception)]


def pages() -> list[Path]:
    return sorted(DOCS.rglob("*.md"))


@pytest.mark.long
@pytest.mark.timeout(scaled(200))
def test_it_builds_without_warnings(tmp_path: Path) -> None:
    """As XML, in half the time: all names and links are looked up; `.ci/run` also builds the pages that people read."""
    for module in ("furo", "sphinx_copybutton"):
        pytest.importorskip(module, reason="the extra docs is not installed")
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "-n", "--keep-going", *AS_XML, str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=scaled(180),
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    built = (tmp_path / "reference" / "errors.xml").read_text("utf-8")
    anchors = set(" ".join(re.findall(r'ids="([^"]*)"', built)).split())
    for name in errors():
        assert name.lower() in anchors, f"{name} has no anchor"
        assert f"mpzmq.{name}" in anchors, f"{name} is not described"
    assert "_U" not in (tmp_path / "reference" / "api.xml").read_text("utf-8")


def test_every_page_is_in_a_list() -> None:
    listed = set(re.findall(r"^[\w/-]+$", page("index.md"), re.M))
    assert listed == {str(path.relative_to(DOCS).with_suffix("")) for path in pages()} - {"index"}


def test_every_page_for_newcomers_leads_on() -> None:
    for path in [DOCS / "tutorial.md", *DOCS.glob("how-to/*.md"), *DOCS.glob("explanation/*.md")]:
        last = path.read_text("utf-8").strip().split("\n\n")[-1]
        assert re.match(r"Next: .*\[.+\]\(.+\.md\)", last, re.S), f"{path.name} ends with: {last}"


def test_the_readme_is_read_to_its_end() -> None:
    """It is a page of its own; tables and details stand in docs/."""
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 200


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_outside_of_the_documentation_lead_somewhere(path: Path) -> None:
    """Sphinx checks those of docs/."""
    for link in re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", path.read_text("utf-8")):
        assert (path.parent / link).is_file(), f"{path.name} links to {link}"


def test_no_merge_was_left_half_done() -> None:
    """Pages are read by nobody who would stumble over a marker."""
    for path in [*pages(), *OUTSIDE]:
        assert not re.search(r"^(<{7}|>{7}) ", path.read_text("utf-8"), re.M), f"{path.name} has markers of a conflict"


def test_every_file_that_is_named_is_there() -> None:
    for path in pages():
        for name in re.findall(r"`((?:examples|tests|docs)/[\w/.-]+)`", path.read_text("utf-8")):
            assert (ROOT / name).exists(), f"{path.name} names {name}"


@pytest.mark.parametrize("name", sorted(set(mpzmq.__all__) - {"__version__"}))
def test_every_public_name_is_documented(name: str) -> None:
    if name in errors():
        sections = re.findall(r"^### (\w+)$", page("reference/errors.md"), re.M)
        assert sections.count(name) == 1
    else:
        assert re.search(rf":: mpzmq\.{name}$", page("reference/api.md"), re.M)


@pytest.mark.parametrize("module", [testing, blocking, keys], ids=lambda module: module.__name__)
def test_every_name_of_the_other_modules_is_documented(module: ModuleType) -> None:
    described = re.findall(rf":: {module.__name__}\.(\w+)$", page("reference/api.md"), re.M)
    assert sorted(described) == sorted(module.__all__)


def test_every_fixture_is_documented() -> None:
    from mpzmq.testing import fixtures

    told = re.findall(r"^\| `(mpzmq_\w+)` \|", page("reference/api.md"), re.M)
    assert sorted(told) == sorted(fixtures.__all__)


@pytest.mark.parametrize("name", errors())
def test_an_error_says_when_it_is_raised_what_has_run_and_what_to_do(name: str) -> None:
    section = page("reference/errors.md").split(f"\n### {name}\n")[1].split("\n#")[0]
    assert f".. autoexception:: mpzmq.{name}\n   :show-inheritance:\n" in section
    points = dict(re.findall(r"^- \*\*(\w+)\*\*: (.+)", section, re.M))
    kind = getattr(mpzmq, name)
    if issubclass(kind, mpzmq.RequestError):
        assert list(points) == ["When", "Executed", "Do"]
        assert points["Executed"].startswith(f"`{kind.executed}`")
    else:
        assert list(points) == ["When", "Do"]


def test_a_blocking_handle_has_the_defaults_of_a_worker() -> None:
    """As reference/settings.md says, whose table test_defaults.py compares with the code."""
    here = inspect.signature(blocking.connect).parameters
    for function in (mpzmq.ComputerEngineWorker, mpzmq.ComputerEngineWorker.connect):
        there = inspect.signature(function).parameters
        for name in here.keys() & there.keys():
            if name != "address":  # a worker takes the id, if any, in front of it
                assert here[name].default == there[name].default, name


def test_every_command_is_documented() -> None:
    described = re.findall(r"^\$ mpzmq (\w+) --help$", page("reference/cli.md"), re.M)
    assert sorted(described) == sorted(command.commands)


def test_every_exit_code_is_documented() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", page("reference/cli.md"), re.M)}
    assert told == {value for name, value in vars(output).items() if name.isupper() and isinstance(value, int)}
