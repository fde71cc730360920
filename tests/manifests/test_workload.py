"""Whatever is given is refused, or stands in the file as it was given and nowhere else."""

from __future__ import annotations

import re
import shlex
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.manifests import Workload, compose, kubernetes, slurm, systemd

if TYPE_CHECKING:
    from collections.abc import Callable

# What a file gives a meaning to, and others.
BREAKERS = " \t\n\r\"'`$%\\{}[]&*#?|<>!;~()-:=,\x00\x85\u2028\u00e9\ud800\U0001d431a0"
GOOD = {
    "server": "calculator:server",
    "name": "calculator",
    "image": "calculator:1",
    "secret": "calculator-keys",
    "folder": "/srv/a",
    "keys": "/srv/b",
    "announce": "/srv/c",
}
FORMS = {
    "server": r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*",
    "name": r"[a-z][a-z0-9-]{0,52}|null|true|no|y|e1",
    "image": r"[a-z]{1,3}(:[0-9]{1,3}/)?[a-z._-]{1,5}(:[a-z0-9._-]{1,3})?",
    "secret": r"[a-z0-9.-]{1,9}",
}


@st.composite
def values(draw: st.DrawFn) -> dict[str, str]:
    """All of them good, but for one that may be anything: what is wrong with two would be found with one."""
    which = draw(st.sampled_from(sorted(GOOD)))
    good = GOOD[which]
    odd = st.text(alphabet=BREAKERS, max_size=8) | st.text(max_size=8)
    place = draw(st.sampled_from(["alone", "before", "behind", "inside", "form"]))
    if place == "form":
        return GOOD | {which: draw(st.from_regex(FORMS.get(which, r"/[\w./@+=,-]*"), fullmatch=True))}
    head = good if place == "behind" else good[:3] if place == "inside" else ""
    tail = good if place == "before" else good[3:] if place == "inside" else ""
    return GOOD | {which: head + draw(odd) + tail}


def made(make: Callable[[], str]) -> str | None:
    """A text; None: it was refused, which says why in one line."""
    try:
        return make()
    except ValueError as error:
        assert "\n" not in str(error)
        return None


@given(values())
def test_yaml_has_the_values_and_no_more(one: dict[str, str]) -> None:
    server, name, image, folder = (one[what] for what in ("server", "name", "image", "folder"))

    def workload() -> Workload:
        return Workload(server=server, name=name)

    text = made(lambda: kubernetes(workload(), image, keys=one["secret"]))
    if text is not None:
        pods, service, budget = yaml.safe_load_all(text)
        assert {document["metadata"]["name"] for document in (pods, service, budget)} == {name}
        spec = pods["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert (container["name"], container["image"]) == (name, image)
        assert container["command"] == ["mpzmq", "serve", server]
        assert len(container["args"]) == 7
        assert spec["volumes"][1]["secret"]["secretName"] == one["secret"]
    text = made(lambda: compose(workload(), image, keys=folder))
    if text is not None:
        whole = yaml.safe_load(text)
        assert set(whole) == {"services", "secrets"}
        ((found, service),) = whole["services"].items()
        assert (found, service["image"], service["entrypoint"]) == (name, image, ["mpzmq", "serve", server])
        path = folder.rstrip("/") or "/"
        assert whole["secrets"] == {"container.key": {"file": f"{path}/container.key"}}
        assert service["volumes"][0]["source"] == f"{path}/allowed"


def shape(text: str) -> list[str]:
    """The lines of a file, up to what is given in them."""
    return [re.split(r"[=:]", line)[0] for line in text.splitlines() if line and not line.startswith(("#", "exec"))]


@given(values())
def test_units_and_scripts_have_the_lines_and_no_more(one: dict[str, str]) -> None:
    server, name, app_dir, keys, announce = (one[what] for what in ("server", "name", "folder", "keys", "announce"))
    plain = Workload(server="a:b", name="a", replicas=1)

    def workload() -> Workload:
        return Workload(server=server, name=name, replicas=1)

    text = made(lambda: systemd(workload(), app_dir, keys=keys))
    if text is not None:
        assert shape(text) == shape(systemd(plain, "/a", keys="/b"))
        (command,) = re.findall(r"^ExecStart=(.*)$", text, re.M)
        assert not set(command.replace("${CREDENTIALS_DIRECTORY}", "")) & set("%$\\\"';")
        words = command.split(" ")
        assert (words[0], words[2]) == (f"{app_dir.rstrip('/') or '/'}/.venv/bin/mpzmq", server)
        assert len(words) == 8
    text = made(lambda: slurm(workload(), app_dir, announce=announce, keys=keys))
    if text is not None:
        plain_text = slurm(plain, "a", announce="b", keys="c")
        assert len(text.splitlines()) == len(plain_text.splitlines())
        words = shlex.split(text[text.index("    mpzmq serve") :].replace("\\\n", ""))
        assert words[2] == server
        assert f"--app-dir={app_dir.rstrip('/') or '/'}" in words
        assert len(words) == 9
        (members,) = re.findall(r"^announced=(.*)$", text, re.M)
        assert shlex.split(members) == [announce.rstrip("/") or "/"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"server": "calculator"}, "MODULE:SERVER"),
        ({"server": "calculator.py:server"}, None),  # a module py in a package: it can be
        ({"server": "src/calculator:server"}, "MODULE:SERVER"),
        ({"server": "a:b:c"}, "MODULE:SERVER"),
        ({"name": "Calculator"}, "lower-case"),
        ({"name": "9to5"}, "a letter first"),
        ({"name": "a-"}, "no hyphen last"),
        ({"name": "a" * 53}, "at most 52"),
        ({"name": "a" * 52}, None),
        ({"port": 80}, "1024 to 65535"),
        ({"admin_port": 65536}, "1024 to 65535"),
        ({"port": 9100}, "both 9100"),
        ({"replicas": 0}, "at least 1"),
        ({"memory": 0}, "at least 1"),
        ({"cpus": -1}, "at least 1"),
        ({"drain_timeout": float("nan")}, "0 to 86400"),
        ({"drain_timeout": -0.5}, "0 to 86400"),
        ({"drain_timeout": float("inf")}, "0 to 86400"),
    ],
)  # fmt: skip
def test_what_would_not_work_is_refused(change: dict[str, Any], reason: str | None) -> None:
    arguments: dict[str, Any] = {"server": "a:b", "name": "a"} | change
    if reason is None:
        Workload(**arguments)
    else:
        with pytest.raises(ValueError, match=reason):
            Workload(**arguments)


@pytest.mark.parametrize(
    "image",
    ["calculator", "a:1.2", "registry.example/team/a", "localhost:5000/a_b/c--d:V1", f"a@sha256:{64 * '0'}"],
)
def test_images(image: str) -> None:
    assert image in kubernetes(Workload(server="a:b", name="a"), image)


@pytest.mark.parametrize("image", ["", "Calculator", "a b", "a:", "-a", "a//b", "a:1:2", "https://a/b", "a@sha256:0"])
def test_no_images(image: str) -> None:
    with pytest.raises(ValueError, match="is not an image"):
        kubernetes(Workload(server="a:b", name="a"), image)


def test_a_server_may_have_letters_of_any_kind() -> None:
    server = unicodedata.normalize("NFC", "boîte.größe:сервер")
    (pods, _, _) = yaml.safe_load_all(kubernetes(Workload(server=server, name="a"), "a"))
    assert pods["spec"]["template"]["spec"]["containers"][0]["command"][-1] == server
