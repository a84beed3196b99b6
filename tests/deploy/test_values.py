"""What the chart can be given: its schema says so, and helm, where it is here, does what the values say."""

import json
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from streams.settings import FIELDS, variable_of
from tests.deploy.chart import CHART, EXAMPLE, NEWEST, OPERATOR, Manifest, files, helm, kept, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
GIVEN = yaml.safe_load(EXAMPLE.read_text("utf-8"))
# What helm itself adds.
OF_HELM = {"global"}
# Left to Kubernetes or to whoever gives them.
FREE = {"env", "resources", "annotations", "labels", "pod"}


def merged(values: Any, over: Any) -> Any:
    if not isinstance(values, dict) or not isinstance(over, dict):
        return over
    return values | {name: merged(values.get(name), value) for name, value in over.items()}


def leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        if isinstance(value, dict) and name not in FREE:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def described(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in schema["properties"].items():
        if "properties" in value and name not in FREE:
            yield from described(value, (*path, name))
        else:
            assert value.keys() & {"description", "$ref", "allOf"}, name
            yield (*path, name)


def is_valid(values: Any) -> bool:
    return bool(jsonschema.Draft7Validator(SCHEMA).is_valid(values))


def test_the_schema_describes_every_value_and_no_other() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert {path for path in described(SCHEMA) if path[0] not in OF_HELM} == set(leaves(VALUES))


def test_the_example_is_valid_and_the_values_alone_lack_what_has_no_default() -> None:
    assert is_valid(merged(VALUES, GIVEN))
    missing = sorted(error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(VALUES))
    required = ("bootstrap_servers", "app_url", "robot_url")
    assert missing == [f"{variable_of(name)!r} is a required property" for name in required]


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if "SecretStr" in str(field.annotation)])
@pytest.mark.parametrize("program", ["worker", "bridge", "console", "topics", None])
def test_a_secret_among_the_settings_is_refused(name: str, program: str | None) -> None:
    """It would be in the release, in the pods' specifications, and in who looks at either."""
    env: dict[str, Any] = {"env": {variable_of(name): "a-secret"}}
    assert not is_valid(merged(merged(VALUES, GIVEN), {program: env} if program else env))


def test_what_the_chart_depends_on_cannot_be_given() -> None:
    given = {**GIVEN["env"], **GIVEN["worker"]["env"]}
    own = {name for manifest in kept() if manifest.pod for name in manifest.settings} - set(given)
    refused = SCHEMA["definitions"]["settings"]["propertyNames"]["not"]["enum"]
    assert own <= set(refused)
    assert set(refused) - own == {
        variable_of(name) for name, field in FIELDS.items() if "SecretStr" in str(field.annotation)
    }


@pytest.fixture
def program() -> str:
    """Return helm, which is no package of Debian: where it is not, the kept manifests are all that is looked at."""
    path = shutil.which("helm")
    if path is None:
        pytest.skip("helm is not here (with Go: go install helm.sh/helm/v3/cmd/helm@v3.22.0)")
    return path


def test_helm_renders_what_is_kept(program: str) -> None:
    assert sorted((m.content for m in render(program)), key=str) == sorted((m.content for m in kept()), key=str)
    assert files(render(program)).keys() == {"monitoring.yaml", "robot-orchestrator.yaml", "topics.yaml"}


def test_helm_has_nothing_against_the_chart(program: str) -> None:
    found = helm(program, "lint", str(CHART), "--strict")
    assert found.returncode == 0, found.stdout


OTHERWISE = (
    "--set-string=worker.env.ROBOT_ORCHESTRATOR_DRAIN_SECONDS=90.5",
    "--set-string=bridge.env.ROBOT_ORCHESTRATOR_BRIDGE_HOLD_SECONDS=20",
    "--set-string=worker.env.ROBOT_COORDINADORA_URL=http://robot.internal:8443",
    "--set=bridge.ingress.enabled=false,console.allowActions=true,console.storage.persistent=true",
    "--set=console.secretName=of-the-console,pod.serviceAccountName=somebody,topics.create=false",
    "--set=networkPolicy.morePorts={4318},networkPolicy.from.worker[0].podSelector.matchLabels.app=prometheus",
    f"--set=image.digest=sha256:{'0' * 64}",
)


def only(manifests: list[Manifest], kind: str, component: str) -> Any:
    (found,) = (m.content for m in manifests if (m.kind, m.component) == (kind, component))
    return found["spec"]


def test_values_are_followed(program: str) -> None:
    manifests = render(program, *OTHERWISE)
    for manifest in manifests:
        if manifest.content["apiVersion"] != OPERATOR:
            kubernetes_validate.validate(manifest.content, NEWEST, strict=True)
    pods = {m.component: m.pod for m in manifests if m.pod}
    assert pods.keys() == {"worker", "bridge", "console"}
    assert "Ingress" not in {m.kind for m in manifests}
    assert pods["worker"]["terminationGracePeriodSeconds"] == 126
    assert pods["bridge"]["terminationGracePeriodSeconds"] == 60
    assert pods["console"]["containers"][0]["args"] == ["console", "--allow-actions"]
    secrets = {name: volume["secret"]["secretName"] for name, pod in pods.items() for volume in pod["volumes"][-1:]}
    assert secrets == {"worker": "robot-orchestrator", "bridge": "robot-orchestrator", "console": "of-the-console"}
    (volume, _) = pods["console"]["volumes"]
    claim = only(manifests, "PersistentVolumeClaim", "console")
    assert (volume["persistentVolumeClaim"]["claimName"], claim["accessModes"]) == (
        "robot-orchestrator-console",
        ["ReadWriteOnce"],
    )
    for pod in pods.values():
        assert pod["serviceAccountName"] == "somebody"
        assert pod["containers"][0]["image"] == f"registry.example/robot-orchestrator@sha256:{'0' * 64}"
    policy = only(manifests, "NetworkPolicy", "worker")
    assert {port["port"] for port in policy["egress"][0]["ports"]} == {53, 8443, 9092, 4318}
    assert policy["ingress"][0]["from"] == [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]


@pytest.mark.parametrize("part", ["bridge", "console"])
def test_a_program_that_is_not_wanted_leaves_nothing(part: str, program: str) -> None:
    before, after = render(program), render(program, f"--set={part}.enabled=false")
    assert part not in {m.component for m in after}
    assert sorted((m.content for m in after), key=str) == sorted(
        (m.content for m in before if m.component != part), key=str
    )


def test_without_a_secret_no_pod_has_a_folder_of_secrets(program: str) -> None:
    for manifest in render(program, "--set=secretName="):
        if manifest.pod:
            assert "ROBOT_ORCHESTRATOR_SECRETS_DIR" not in manifest.settings
            assert [v["name"] for v in manifest.pod["volumes"] or ()] == ["data"] * (manifest.component == "console")


def test_helm_refuses_a_secret_among_the_settings(program: str) -> None:
    refused = helm(program, "template", "a-release", str(CHART), "--set-string=env.ROBOT_CALLBACK_SECRET=a-secret")
    assert refused.returncode != 0
    assert "ROBOT_CALLBACK_SECRET" in refused.stderr
