"""The kept manifests are what the chart renders; Kubernetes takes them, and programs start with what they are given."""

import json
import os
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from streams.settings import (
    FIELDS,
    SECRETS_DIR_VARIABLE,
    BridgeSettings,
    ConsoleSettings,
    KafkaSettings,
    WorkerSettings,
    load_settings,
    unknown_variables,
    variable_of,
)
from streams.version import version
from streams.wire.callback import CALLBACK_PATH
from tests.deploy.chart import MANIFESTS, NEWEST, OLDEST, OPERATOR, Manifest, kept, sources_hash
from tests.support.documents import OPERATING, ROOT
from tests.telemetry.deployed import ALERTS, DASHBOARD, PROMETHEUS

KEPT = kept()
PODS = {manifest.component: manifest for manifest in KEPT if manifest.pod is not None}
KIND_OF: dict[str, type[KafkaSettings]] = {
    "worker": WorkerSettings,
    "bridge": BridgeSettings,
    "console": ConsoleSettings,
    "topics": KafkaSettings,
}
# Made up.
SECRETS = {"ROBOT_CALLBACK_SECRET": "callback-s3cret", "ROBOT_ORCHESTRATOR_CONSOLE_TOKEN": "a-token-of-an-example"}


def named(manifest: Manifest) -> str:
    return f"{manifest.kind}: {manifest.content['metadata']['name']}"


def of_kind(kind: str, component: str | None = None) -> list[Any]:
    return [m.content for m in KEPT if m.kind == kind and component in (None, m.component)]


def test_the_kept_manifests_are_of_the_chart_as_it_is() -> None:
    """`make manifests` renders them anew; what is kept says of which sources it is."""
    heads = {path.name: path.read_text("utf-8").splitlines()[0] for path in MANIFESTS.glob("*.yaml")}
    assert heads.keys() == {"monitoring.yaml", "robot-orchestrator.yaml", "topics.yaml"}
    for head in heads.values():
        assert head.endswith(f"sha256:{sources_hash()}")


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
@pytest.mark.parametrize("manifest", [m for m in KEPT if m.content["apiVersion"] != OPERATOR], ids=named)
def test_kubernetes_knows_every_field(manifest: Manifest, kubernetes: str) -> None:
    kubernetes_validate.validate(manifest.content, kubernetes, strict=True)


def test_an_unknown_field_is_found() -> None:
    content = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"port": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(content, NEWEST, strict=True)


def test_every_program_that_runs_until_it_is_stopped_is_there() -> None:
    assert PODS.keys() == KIND_OF.keys()


@pytest.mark.parametrize("program", PODS)
def test_every_variable_is_a_setting(program: str) -> None:
    assert PODS[program].settings.keys() <= {SECRETS_DIR_VARIABLE, *map(variable_of, FIELDS)}


@pytest.mark.parametrize("program", PODS)
def test_a_program_takes_the_settings_that_its_container_has(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the Secret's keys as files; where the folder is, is a mount of the container."""
    settings, pod = PODS[program].settings, PODS[program].pod
    assert pod is not None
    (mount,) = (mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "secrets")
    assert mount == {"name": "secrets", "mountPath": settings[SECRETS_DIR_VARIABLE], "readOnly": True}
    for name in [name for name in os.environ if name.startswith(("ROBOT_", "KAFKA_", "NEXT_"))]:
        monkeypatch.delenv(name)
    for name, value in (settings | {SECRETS_DIR_VARIABLE: str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(value)
    loaded = load_settings(KIND_OF[program])
    assert unknown_variables() is None
    if isinstance(loaded, ConsoleSettings):
        assert not loaded.console_is_open
        (data,) = (mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "data")
        assert str(loaded.console_file.parent) == data["mountPath"]


@pytest.mark.parametrize("program", PODS)
def test_no_container_has_more_rights_than_it_needs(program: str) -> None:
    pod = PODS[program].pod
    assert pod is not None
    assert pod["enableServiceLinks"] is pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"memory"}


@pytest.mark.parametrize(("program", "field"), [("worker", "probe"), ("bridge", "bridge"), ("console", "console")])
def test_probes_ask_where_the_program_listens(program: str, field: str) -> None:
    manifest = PODS[program]
    assert manifest.pod is not None
    (container,) = manifest.pod["containers"]
    (port,) = container["ports"]
    assert manifest.settings[variable_of(f"{field}_port")] == str(port["containerPort"])
    assert manifest.settings[variable_of(f"{field}_host")] == "0.0.0.0"
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    paths = {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    assert asked == {name: {"path": path, "port": port["name"]} for name, path in paths.items()}


def test_a_pod_has_the_time_to_stop_that_the_document_asks_for() -> None:
    text = " ".join(OPERATING.text.split())
    worker, bridge = PODS["worker"].pod, PODS["bridge"].pod
    assert worker is not None
    assert bridge is not None
    robot_timeout, hold = (FIELDS[name].default for name in ("robot_timeout_seconds", "bridge_hold_seconds"))
    (drain_margin,) = re.findall(r"\| `ROBOT_TIMEOUT_SECONDS` \+ (\d+) \|", OPERATING.text)
    (after_drain,) = re.findall(r"the container `DRAIN_SECONDS` \+ (\d+) s", text)
    (after_hold,) = re.findall(r"the container `BRIDGE_HOLD_SECONDS` \+ (\d+) s", text)
    assert worker["terminationGracePeriodSeconds"] == robot_timeout + int(drain_margin) + int(after_drain)
    leaving = bridge["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert leaving[0] == "sleep"
    assert bridge["terminationGracePeriodSeconds"] == hold + int(after_hold) + int(leaving[1])


@pytest.mark.parametrize("program", ["worker", "bridge"])
def test_of_several_one_is_taken_at_a_time_and_each_is_on_a_node_of_its_own(program: str) -> None:
    (budget,) = of_kind("PodDisruptionBudget", program)
    (deployment,) = of_kind("Deployment", program)
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    (spread,) = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["labelSelector"]) == (
        "kubernetes.io/hostname",
        deployment["spec"]["selector"],
    )


def test_every_selector_finds_the_pods_of_its_program() -> None:
    selectors = {
        named(m): (m.component, selector.get("matchLabels", selector))
        for m in KEPT
        if (selector := m.content.get("spec", {}).get("selector", m.content.get("spec", {}).get("podSelector")))
    }
    assert len(selectors) == 13
    for component, selector in selectors.values():
        pod = PODS[component].content["spec"]["template"]["metadata"]["labels"]
        assert selector.items() <= pod.items()
        assert selector["app.kubernetes.io/component"] == component


def test_the_robot_reaches_the_bridges_and_nothing_else_of_them() -> None:
    (ingress,) = of_kind("Ingress")
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["path"] == CALLBACK_PATH
    (service,) = of_kind("Service", "bridge")
    assert path["backend"]["service"]["name"] == service["metadata"]["name"]
    called = PODS["worker"].settings[variable_of("callback_template")]
    assert called.startswith(f"https://{rule['host']}{CALLBACK_PATH}/")
    (waits,) = (value for name, value in ingress["metadata"]["annotations"].items() if name.endswith("read-timeout"))
    assert int(waits) > FIELDS["bridge_hold_seconds"].default


@pytest.mark.parametrize(
    ("program", "ports"), [("worker", {53, 443, 9092}), ("bridge", {53, 9092}), ("console", {53, 9092})]
)
def test_a_pod_reaches_name_servers_kafka_and_a_worker_the_robot(program: str, ports: set[int]) -> None:
    (policy,) = of_kind("NetworkPolicy", program)
    (egress,) = policy["spec"]["egress"]
    assert {port["port"] for port in egress["ports"]} == ports
    (ingress,) = policy["spec"]["ingress"]
    assert ingress == {"ports": [{"protocol": "TCP", "port": "http"}]}


def test_prometheus_and_grafana_are_given_what_is_kept_for_them() -> None:
    (rule,) = of_kind("PrometheusRule")
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text("utf-8"))
    (dashboard,) = of_kind("ConfigMap", "dashboard")
    assert json.loads(dashboard["data"]["robot-orchestrator.json"]) == json.loads(DASHBOARD.read_text("utf-8"))


def test_the_jobs_of_prometheus_have_the_names_that_the_alerts_go_by() -> None:
    jobs = {job["job_name"] for job in yaml.safe_load(PROMETHEUS.read_text("utf-8"))["scrape_configs"]}
    endpoints = [monitor["spec"]["podMetricsEndpoints"] for monitor in of_kind("PodMonitor")]
    assert {relabeling["replacement"] for (endpoint,) in endpoints for relabeling in endpoint["relabelings"]} == jobs
    assert {(endpoint["port"], endpoint["path"]) for (endpoint,) in endpoints} == {("http", "/metrics")}


def test_chart_and_image_have_the_projects_version() -> None:
    chart = yaml.safe_load((ROOT / "deploy/helm/robot-orchestrator/Chart.yaml").read_text("utf-8"))
    assert chart["version"] == chart["appVersion"] == version()
    dockerfile = (ROOT / "deploy/Dockerfile").read_text("utf-8")
    assert f'org.opencontainers.image.version="{version()}"' in dockerfile
    assert set(re.findall(r"\b(ROBOT_ORCHESTRATOR_\w+)=", dockerfile)) <= set(map(variable_of, FIELDS))
    assert {m.pod["containers"][0]["image"] for m in PODS.values() if m.pod} == {
        f"registry.example/robot-orchestrator:{version()}"
    }
