"""What `mpzmq manifest --kubernetes` prints is valid, and its parts agree with each other and with `mpzmq serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from mpzmq.manifests import Workload, kubernetes
from tests.manifests.understood import options_of, understood
from tests.manifests.validators import validate

if TYPE_CHECKING:
    from pathlib import Path

WORKLOAD = Workload(server="shop.calculator:servers.main", name="null", drain_timeout=12.5, cpus=2, memory=300)
IMAGE = "registry.example:5000/team/calculator:1.2@sha256:" + 64 * "a"


def documents(**options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = list(yaml.safe_load_all(kubernetes(WORKLOAD, IMAGE, **options)))
    return found


def container(pods: dict[str, Any]) -> dict[str, Any]:
    (only,) = pods["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize("keys", [None, "calculator.keys"])
@pytest.mark.parametrize("stateful", [False, True])
def test_it_is_valid(tmp_path: Path, keys: str | None, stateful: bool) -> None:
    file = tmp_path / "kubernetes.yaml"
    file.write_text(kubernetes(WORKLOAD, IMAGE, keys=keys, stateful=stateful))
    validate("kubernetes-validate", "--strict", "--quiet", file)


@pytest.mark.parametrize("stateful", [False, True])
def test_service_and_budget_choose_the_pods(stateful: bool) -> None:
    pods, service, budget = documents(stateful=stateful)
    assert [one["kind"] for one in (pods, service, budget)] == [
        "StatefulSet" if stateful else "Deployment",
        "Service",
        "PodDisruptionBudget",
    ]
    labels = pods["spec"]["template"]["metadata"]["labels"]
    assert labels == {"app.kubernetes.io/name": "null"}
    assert pods["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert {one["metadata"]["name"] for one in (pods, service, budget)} == {"null"}
    assert pods["spec"].get("serviceName") == ("null" if stateful else None)
    # A balancer would send a whole connection to one pod.
    assert service["spec"]["clusterIP"] == "None"
    (port,) = service["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (3010, "mpzmq")


@pytest.mark.parametrize("keys", [None, "calculator-keys"])
def test_it_runs_a_command_that_serve_understands(keys: str | None) -> None:
    pods, _, _ = documents(keys=keys)
    only = container(pods)
    words = only["command"] + only["args"]
    understood(words)
    options = options_of(words)
    assert options["--bind"] == "tcp://0.0.0.0:3010"
    assert options["--drain-timeout"] == "12.5"
    assert {port["name"]: port["containerPort"] for port in only["ports"]} == {"mpzmq": 3010, "admin": 9100}
    assert (only["image"], only["command"][-1]) == (IMAGE, WORKLOAD.server)
    # The endpoint that kubelets probe refuses to be seen from elsewhere, unless it is told that it may.
    assert options["--admin"] == "0.0.0.0:9100"
    assert "--insecure" in options


def test_it_is_killed_later_than_its_own_end() -> None:
    pods, _, _ = documents()
    spec = pods["spec"]["template"]["spec"]
    pause = container(pods)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] >= pause + 12.5 + 30  # the end of the lifespan


def test_a_busy_loop_is_not_a_dead_process() -> None:
    only = container(documents()[0])
    for name, path in (("startupProbe", "/livez"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        assert only[name]["httpGet"] == {"path": path, "port": "admin"}
    alive = only["livenessProbe"]
    assert alive["failureThreshold"] * alive["periodSeconds"] > 60
    # What a name has forgotten its engines lose.
    ready = only["readinessProbe"]
    assert ready["failureThreshold"] * ready["periodSeconds"] >= 30


@pytest.mark.parametrize("keys", [None, "calculator-keys"])
def test_it_may_do_little(keys: str | None) -> None:
    pods, _, _ = documents(keys=keys)
    spec, only = pods["spec"]["template"]["spec"], container(pods)
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert only["resources"] == {"requests": {"cpu": "2", "memory": "300Mi"}, "limits": {"memory": "300Mi"}}


def test_keys_are_files_that_its_group_may_read() -> None:
    pods, _, _ = documents(keys="calculator-keys")
    spec, only = pods["spec"]["template"]["spec"], container(pods)
    options = options_of(only["args"])
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["name"]: mount for mount in only["volumeMounts"]}
    secret = volumes["key"]["secret"]
    assert secret["secretName"] == volumes["allowed"]["configMap"]["name"] == "calculator-keys"
    (item,) = secret["items"]
    assert options["--keys"] == f"{mounts['key']['mountPath']}/{item['path']}"
    assert options["--allow"] == mounts["allowed"]["mountPath"]
    assert mounts["key"]["readOnly"] is mounts["allowed"]["readOnly"] is True
    # Kubelets add 0440 and the group: mpzmq.keys.load() takes that of root's, and no more.
    assert secret["defaultMode"] == 0o400
    assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsGroup"]
    assert "env" not in only
    assert "fsGroup" not in documents()[0]["spec"]["template"]["spec"]["securityContext"]
