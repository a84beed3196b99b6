"""What the chart can be given: its schema says so, and helm, where it is here, does what the values say."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from streams.settings import FIELDS, SECRETS_DIR_VARIABLE, KafkaSettings, RuleSettings, variable_of
from tests.deploy.chart import (
    CHART,
    EXAMPLE,
    NEWEST,
    NO_HELM,
    OPERATOR,
    Manifest,
    files,
    helm,
    helm_program,
    kept,
    render,
)
from tests.support.tools import found

SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
GIVEN = yaml.safe_load(EXAMPLE.read_text("utf-8"))
PROGRAMS = ("worker", "bridge", "console", "topics")
SECRETS = [variable_of(name) for name, field in FIELDS.items() if "SecretStr" in str(field.annotation)]
# What helm itself adds.
OF_HELM = {"global"}
# Left to Kubernetes or to whoever gives them.
FREE = {"env", "resources", "annotations", "labels", "pod", "podAnnotations", "podLabels"}


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


def given_to(program: str | None, name: str, value: str) -> Any:
    """Return the example's values with one setting more, of one program or of all."""
    env: dict[str, Any] = {"env": {name: value}}
    return merged(merged(VALUES, GIVEN), {program: env} if program else env)


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("program", [*PROGRAMS, None])
def test_a_secret_among_the_settings_is_refused(name: str, program: str | None) -> None:
    """It would be in the release, in the pods' specifications, and in who looks at either."""
    assert not is_valid(given_to(program, name, "a-secret"))


def test_every_setting_can_be_given_but_secrets_and_what_the_chart_depends_on() -> None:
    given = {**GIVEN["env"], **GIVEN["worker"]["env"]}
    own = {name for manifest in kept() if manifest.pod for name in manifest.settings} - set(given)
    allowed = SCHEMA["definitions"]["settings"]["propertyNames"]["then"]["enum"]
    known = {*map(variable_of, FIELDS), SECRETS_DIR_VARIABLE}
    assert set(allowed) == known - own - set(SECRETS)
    assert is_valid(given_to(None, "OTEL_SERVICE_NAME", "robot-orchestrator"))


@pytest.mark.parametrize(
    "name", ["KAFKA_BOOTSTRAP_SERVER", "ROBOT_COORDINADORA_URI", "ROBOT_ORCHESTRATOR_JOBS_PER_WORKSPACES", "patience"]
)
@pytest.mark.parametrize("program", [*PROGRAMS, None])
def test_a_setting_that_there_is_not_is_refused(name: str, program: str | None) -> None:
    assert not is_valid(given_to(program, name, "1"))


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_all_programs_must_have_alike_is_not_taken_for_one_of_them(program: str) -> None:
    rules = RuleSettings.model_fields.keys() - KafkaSettings.model_fields.keys()
    alike = {variable_of(field) for field in (*rules, "app_id", "topic_prefix", "retention_seconds")}
    assert set(SCHEMA["definitions"]["ownSettings"]["propertyNames"]["not"]["enum"]) == alike
    for name in alike:
        value = "staging." if name == variable_of("topic_prefix") else "1"
        assert is_valid(given_to(None, name, value))
        assert not is_valid(given_to(program, name, value))


@pytest.mark.parametrize(
    ("program", "name", "values"),
    [
        (None, "KAFKA_BOOTSTRAP_SERVERS", ("kafka-1", "kafka-1:", "kafka-1:9092;kafka-2:9092", "")),
        (None, "KAFKA_SASL_OAUTH_TOKEN_URL", ("id.example/token", "http://id.example/token")),
        (None, "KAFKA_SECURITY_PROTOCOL", ("SASL_TLS", "ssl")),
        (None, "KAFKA_SASL_MECHANISM", ("SCRAM",)),
        (None, "ROBOT_ORCHESTRATOR_TOPIC_PREFIX", ("staging", "two words.")),
        ("worker", "ROBOT_COORDINADORA_URL", ("robot.internal:8000", "ftp://robot.internal")),
        ("worker", "ROBOT_ORCHESTRATOR_CALLBACK_URL", ("https://bridge.example", "https://bridge.example/{jobId}")),
        ("worker", "ROBOT_ORCHESTRATOR_DRAIN_SECONDS", ("a minute", "60s")),
        ("bridge", "ROBOT_ORCHESTRATOR_BRIDGE_HOLD_SECONDS", ("-1",)),
    ],
)
def test_what_programs_would_refuse_and_what_the_chart_reckons_with_must_be_well_formed(
    program: str | None, name: str, values: tuple[str, ...]
) -> None:
    """Else a pod would not start, be cut off from what it needs, or be killed too soon."""
    for value in values:
        assert not is_valid(given_to(program, name, value))


@pytest.mark.parametrize(
    "values",
    [
        {"topics": {"replicationFactor": 2}},
        {"bridge": {"ingress": {"host": "https://bridge.example"}}},
        {"bridge": {"ingress": {"host": "*bridge.example"}}},
        {"bridge": {"ingress": {"enabled": True, "host": ""}}},
    ],
)
def test_what_cannot_work_is_refused(values: Any) -> None:
    assert not is_valid(merged(merged(VALUES, GIVEN), values))


@pytest.mark.parametrize(
    "name",
    [
        "KAFKA_SASL_MECHANISM",
        "KAFKA_SECURITY_PROTOCOL",
        "ROBOT_ORCHESTRATOR_TOPIC_PREFIX",
        "ROBOT_ORCHESTRATOR_CALLBACK_URL",
        "ROBOT_ORCHESTRATOR_DRAIN_SECONDS",
    ],
)
def test_what_is_empty_is_as_not_given(name: str) -> None:
    """As to the programs: who shares values between environments may take back what the others have."""
    assert is_valid(given_to(None, name, ""))


@pytest.fixture
def program() -> str:
    """Return helm; where it is not, the kept manifests are all that is looked at, and in CI that fails."""
    return found(helm_program(), NO_HELM)


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
    "--set-string=podAnnotations.mesh\\.example/inject=false,podLabels.team=logistics",
    "--set=worker.envFrom[0].secretRef.name=of-the-traces",
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
        assert ("envFrom" in pod["containers"][0]) is (pod is pods["worker"])
        assert pod["containers"][0]["image"] == f"registry.example/robot-orchestrator@sha256:{'0' * 64}"
    for component in pods:
        metadata = only(manifests, "Deployment", component)["template"]["metadata"]
        assert metadata["annotations"] == {"mesh.example/inject": "false"}
        assert metadata["labels"]["team"] == "logistics"
        assert metadata["labels"]["app.kubernetes.io/component"] == component
    assert pods["worker"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "of-the-traces"}}]
    policy = only(manifests, "NetworkPolicy", "worker")
    assert {port["port"] for port in policy["egress"][0]["ports"]} == {53, 8443, 9092, 4318}
    assert policy["ingress"][0]["from"] == [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]


@pytest.mark.parametrize(
    ("options", "more"),
    [
        (
            (
                "--set-string=env.KAFKA_SASL_MECHANISM=OAUTHBEARER",
                "--set-string=env.KAFKA_SASL_OAUTH_TOKEN_URL=https://id.example:8443/token",
            ),
            {8443},
        ),
        (("--set-string=env.KAFKA_SASL_OAUTH_TOKEN_URL=https://id.example/token",), {443}),
        (("--set-string=env.KAFKA_SASL_MECHANISM=AWS_MSK_IAM",), {443}),
    ],
)
def test_whoever_logs_in_with_a_token_reaches_who_gives_it(
    options: tuple[str, ...], more: set[int], program: str
) -> None:
    policies = {m.component: m.content["spec"] for m in render(program, *options) if m.kind == "NetworkPolicy"}
    reached = {
        component: {port["port"] for port in policy["egress"][0]["ports"]} for component, policy in policies.items()
    }
    assert reached == {name: {53, 9092, *more, *([443] if name == "worker" else [])} for name in PROGRAMS}


@pytest.mark.parametrize(
    ("options", "seconds"), [((), "90"), (("bridge.env.ROBOT_ORCHESTRATOR_BRIDGE_HOLD_SECONDS=120",), "150")]
)
def test_an_ingress_waits_longer_than_a_bridge_holds_a_report(
    options: tuple[str, ...], seconds: str, program: str
) -> None:
    (ingress,) = (
        m.content for m in render(program, *(f"--set-string={option}" for option in options)) if m.kind == "Ingress"
    )
    timeout = "nginx.ingress.kubernetes.io/proxy-read-timeout"
    assert ingress["metadata"]["annotations"] == {timeout: seconds}
    given = f"--set-string=bridge.ingress.annotations.{timeout.replace('.', chr(92) + '.')}=200"
    (ingress,) = (m.content for m in render(program, given) if m.kind == "Ingress")
    assert ingress["metadata"]["annotations"] == {timeout: "200"}


def test_a_host_may_be_any_below_another_and_what_is_null_is_nothing(program: str) -> None:
    options = (
        "--set-string=bridge.ingress.host=*.bridge.example",
        "--set=podLabels=null,bridge.ingress.annotations=null",
    )
    (ingress,) = (m.content for m in render(program, *options) if m.kind == "Ingress")
    assert ingress["spec"]["rules"][0]["host"] == "*.bridge.example"


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


@pytest.mark.parametrize(
    "given",
    [
        "env.ROBOT_CALLBACK_SECRET=a-secret",
        "env.KAFKA_BOOTSTRAP_SERVERS=kafka-1",
        "env.KAFKA_BOOTSTRAP_SERVER=kafka-1:9092",
        "worker.env.ROBOT_ORCHESTRATOR_TOPIC_PREFIX=staging.",
    ],
)
def test_helm_refuses_what_the_schema_refuses_and_names_it(given: str, program: str) -> None:
    refused = helm(program, "template", "a-release", str(CHART), f"--set-string={given}")
    assert refused.returncode != 0
    assert given.partition("=")[0].rpartition(".")[2] in refused.stderr
