"""The dashboard for Grafana and the rules for alerts ask for metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from mpzmq import ComputerEngineWorker, ContainerServer
from mpzmq.prometheus import collector

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[2] / "docs"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


@pytest.fixture(scope="module")
def names() -> set[str]:
    """All that the collector can tell, with histograms."""
    registry = CollectorRegistry()
    registry.register(collector(ContainerServer(), ComputerEngineWorker()))
    kinds = {family.name: family.type for family in registry.collect()}
    return {
        name + suffix for name, kind in kinds.items() for suffix in SUFFIXES["histogram" if kind == "summary" else kind]
    }


def dashboard() -> Iterator[str]:
    board: dict[str, Any] = json.loads((DOCS / "grafana.json").read_text())
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def rules() -> Iterator[str]:
    for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


@pytest.mark.parametrize("expressions", [dashboard, rules])
def test_every_metric_is_there(names: set[str], expressions: Any) -> None:
    asked = {name for expression in expressions() for name in re.findall(r"\bmpzmq_\w+", expression)}
    assert len(asked) > 5
    assert asked <= names


def test_every_rule_is_explained() -> None:
    page = (DOCS / "how-to/watch.md").read_text()
    alerts = re.findall(r"alert: (\w+)", (DOCS / "alerts.yml").read_text())
    assert len(alerts) == 10
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == alerts


def test_prometheus_reads_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    checked = subprocess.run(
        [promtool, "check", "rules", str(DOCS / "alerts.yml")], text=True, capture_output=True, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
