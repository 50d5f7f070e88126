"""The manifests fit the schemas of those who take them, and say of us what is so.

No cluster takes them here: `docs/deploy.md` says what was not tried.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from jsonschema import Draft202012Validator

from diffusion.cli import app
from diffusion.targets import JOBS
from infra.kafka.admin import wanted_topics
from infra.probes import PROBE_TIMEOUT_S
from infra.settings import PREFIX, Settings, load
from schemas.topics import CHANGES, CONVERSATION_WRITES, USER_WRITES, WRITE_TOPICS
from syncapi.sockets import CLOSE_GRACE_S
from tests.unit.infra.deploy.support import (
    CLUSTER,
    DEPLOY,
    SETUP,
    document,
    env_file,
    kustomization,
    of_kind,
    pods,
    resources,
    schema,
)

OTLP_PORT = 4318
"""Where a collector takes OTLP over HTTP, if nobody says otherwise."""

RESOURCES = resources()
DEFINED = schema("crds")
NATIVE = [one for one in RESOURCES if "{apiVersion}/{kind}".format(**one) not in DEFINED]
CUSTOM = [one for one in RESOURCES if "{apiVersion}/{kind}".format(**one) in DEFINED]
PODS = pods()
PROGRAMS = {name: pod for name, pod in PODS.items() if name != "diffusion-migrate"}
VERSIONS = ("1.30", "1.37")
"""The oldest that knows `preStop.sleep`, and the newest that there are schemas of."""

NAME = "app.kubernetes.io/component"


def label(resource: Any) -> str:
    return "{kind} {metadata[name]}".format(**resource)


def strict(described: Any) -> Any:
    """The same schema, which refuses a field that it does not name, as the API server's strict
    validation does.
    """
    if isinstance(described, list):
        return [strict(one) for one in described]
    if not isinstance(described, dict):
        return described
    made = {key: strict(value) for key, value in described.items()}
    free = {"additionalProperties", "x-kubernetes-preserve-unknown-fields"} & made.keys()
    if isinstance(made.get("properties"), dict) and made.get("type") == "object" and not free:
        made["additionalProperties"] = False
    return made


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("resource", NATIVE, ids=label)
def test_a_resource_fits_kubernetes(resource: Any, version: str) -> None:
    kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("resource", CUSTOM, ids=label)
def test_a_custom_resource_fits_its_definition(resource: Any) -> None:
    definition = strict(DEFINED["{apiVersion}/{kind}".format(**resource)])
    Draft202012Validator(definition).validate(resource)


def test_the_schemas_would_find_a_wrong_name() -> None:
    scaled = of_kind("ScaledObject")["materializer"]
    definition = Draft202012Validator(strict(DEFINED["keda.sh/v1alpha1/ScaledObject"]))
    assert not definition.is_valid(scaled | {"spec": scaled["spec"] | {"maxReplicas": 3}})
    service = of_kind("Service")["api"]
    wrong = service | {"spec": service["spec"] | {"selectors": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_every_kind_was_held_to_something() -> None:
    assert {one["kind"] for one in CUSTOM} == {name.split("/")[-1] for name in DEFINED}
    assert len(NATIVE) == 11


@pytest.mark.parametrize("folder", [SETUP, CLUSTER], ids=lambda folder: folder.name)
def test_every_file_is_applied(folder: Path) -> None:
    listed = set(kustomization(folder)["resources"])
    assert listed == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    (made,) = kustomization(folder)["configMapGenerator"]
    assert (folder / made["envs"][0]).resolve() == SETUP / "diffusion.env"


def test_all_is_of_one_image_that_has_a_version() -> None:
    (image,) = {repr(kustomization(folder)["images"]) for folder in (SETUP, CLUSTER)}
    assert re.search(r"'newTag': '?\d+\.\d+\.\d+'?", image)
    images = {one["image"] for pod in PODS.values() for one in pod["spec"]["containers"]}
    assert images == {"write-diffusion"}
    tag = kustomization(CLUSTER)["images"][0]["newTag"]
    compose = document(DEPLOY / "compose.yaml")
    assert compose["services"]["api"]["image"] == f"write-diffusion:{tag}"


def environment(pod: Any) -> dict[str, str]:
    """What the container is given; secrets are made up."""
    (container,) = pod["spec"]["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": "diffusion"}}]
    found = env_file()
    for one in container["env"]:
        secret = one.get("valueFrom", {}).get("secretKeyRef")
        found[one["name"]] = "x" * 32 if secret else one["value"]
    return found


def settings_of(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    for variable, value in environment(PODS[name]).items():
        monkeypatch.setenv(variable, value)
    mounts = PODS[name]["spec"]["containers"][0]["volumeMounts"]
    mounted = next(one for one in mounts if one["name"] == "kafka-ca")
    named = env_file()[f"{PREFIX}KAFKA_CA_FILE"]
    assert named == f"{mounted['mountPath']}/ca.crt"
    (tmp_path / "ca.crt").touch()
    monkeypatch.setenv(f"{PREFIX}KAFKA_CA_FILE", str(tmp_path / "ca.crt"))
    return load()


@pytest.mark.parametrize("name", PODS)
def test_its_settings_are_settings(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = settings_of(name, monkeypatch, tmp_path)
    assert settings.kafka.tls
    assert settings.kafka.sasl
    assert settings.kafka.replication_factor == settings.cassandra.replication_factor == 3
    assert (settings.api.host == "0.0.0.0") == (name == "api")
    assert not settings.stream.instance_id, "no names of their own: a Deployment has none to give"


@pytest.mark.parametrize("name", PODS)
def test_a_pod_may_do_nothing_that_it_need_not(name: str) -> None:
    spec = PODS[name]["spec"]
    (container,) = spec["containers"]
    assert container["args"][0] in app
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] == 10001, "the user of the Dockerfile"
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = [one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")]
    assert writable == ["/tmp"]
    assert container["resources"]["limits"].keys() == {"memory"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_probes_ask_where_the_program_answers(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = settings_of(name, monkeypatch, tmp_path)
    answers = {
        "stream-worker": (settings.stream.metrics_port, settings.stream.metrics_host),
        "materializer": (settings.materializer.metrics_port, settings.materializer.metrics_host),
        "api": (settings.api.port, settings.api.host),
    }
    (container,) = PROGRAMS[name]["spec"]["containers"]
    (port,) = container["ports"]
    assert (port["containerPort"], "0.0.0.0") == answers[name]
    paths = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for probe, path in paths.items():
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}
    assert container["readinessProbe"]["timeoutSeconds"] > 2 * PROBE_TIMEOUT_S


def test_the_api_ends_before_it_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    api = settings_of("api", monkeypatch, tmp_path).api
    spec = PROGRAMS["api"]["spec"]
    asleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] >= asleep + api.drain_s + CLOSE_GRACE_S + 20
    deployment = of_kind("Deployment")["api"]["spec"]
    assert deployment["minReadySeconds"] >= api.reconnect_spread_s


@pytest.mark.parametrize("kind", ["Deployment", "PodDisruptionBudget"])
def test_every_program_is_there_by_the_name_of_its_job(kind: str) -> None:
    found = of_kind(kind)
    assert set(found) == set(JOBS) - {"openim-tap"}
    for name, one in found.items():
        assert one["spec"]["selector"]["matchLabels"][NAME] == JOBS[name]
        assert one["metadata"]["labels"][NAME] == JOBS[name]
        assert PROGRAMS[name]["metadata"]["labels"] == one["spec"]["selector"]["matchLabels"]
    assert of_kind("PodMonitor")["write-diffusion"]["spec"]["jobLabel"] == NAME


def test_whoever_scales_says_how_many_there_are() -> None:
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in of_kind("ScaledObject").values()}
    scaled |= {
        one["spec"]["scaleTargetRef"]["name"] for one in of_kind("HorizontalPodAutoscaler").values()
    }
    assert scaled == set(of_kind("Deployment"))
    assert not any("replicas" in one["spec"] for one in of_kind("Deployment").values())


def test_workers_are_scaled_by_the_lag_of_their_groups(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kafka = settings_of("stream-worker", monkeypatch, tmp_path).kafka
    expected = {
        "stream-worker": (
            kafka.stream_group,
            {CONVERSATION_WRITES.name, USER_WRITES.name},
            kafka.write_partitions,
        ),
        "materializer": (kafka.materializer_group, {CHANGES.name}, kafka.change_partitions),
    }
    for name, (group, topics, partitions) in expected.items():
        spec = of_kind("ScaledObject")[name]["spec"]
        triggers = [one["metadata"] for one in spec["triggers"]]
        assert {one["topic"] for one in triggers} == topics
        assert {one["consumerGroup"] for one in triggers} == {group}
        assert {one["bootstrapServers"] for one in triggers} == {kafka.bootstrap_servers}
        assert {one["version"] for one in triggers} == {"2.1.0"}, "Kafka 4 speaks none older"
        assert spec["maxReplicaCount"] == partitions


def test_topics_are_those_that_migrate_makes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = settings_of("diffusion-migrate", monkeypatch, tmp_path)
    declared = {
        name: (
            one["spec"]["partitions"],
            one["spec"]["replicas"],
            {key: str(value).lower() for key, value in one["spec"]["config"].items()},
        )
        for name, one in of_kind("KafkaTopic").items()
    }
    made = {
        name: (
            layout.partitions,
            layout.replicas,
            {key: value.lower() for key, value in layout.config.items()},
        )
        for name, layout in wanted_topics(settings).items()
    }
    assert declared == made


def test_users_may_use_the_topics_that_they_use() -> None:
    ours, backend = (
        {
            (one["resource"]["type"], one["resource"]["name"]): set(one["operations"])
            for one in of_kind("KafkaUser")[name]["spec"]["authorization"]["acls"]
        }
        for name in (env_file()[f"{PREFIX}KAFKA_SASL_USERNAME"], "im-backend")
    )
    for topic in of_kind("KafkaTopic"):
        allowed = [
            what
            for (kind, name), what in ours.items()
            if kind == "topic" and topic.startswith(name)
        ]
        assert allowed == [{"Read", "Write", "Create", "Describe"}]
    assert backend == {("topic", one.name): {"Write", "Describe"} for one in WRITE_TOPICS}


def test_the_network_lets_through_what_is_needed() -> None:
    policies = of_kind("NetworkPolicy")
    ports = {
        one["port"]
        for rule in policies["write-diffusion"]["spec"]["egress"]
        for one in rule["ports"]
    }
    servers = {
        env_file()[f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS"].rsplit(":", 1)[1],
        env_file()[f"{PREFIX}CASSANDRA_PORT"],
    }
    assert ports == {53, OTLP_PORT, *map(int, servers)}
    named = {
        one["name"] for pod in PROGRAMS.values() for one in pod["spec"]["containers"][0]["ports"]
    }
    (rule,) = policies["write-diffusion"]["spec"]["ingress"]
    assert {one["port"] for one in rule["ports"]} == named
    monitored = of_kind("PodMonitor")["write-diffusion"]["spec"]["podMetricsEndpoints"]
    assert {one["port"] for one in monitored} == named


@pytest.mark.parametrize(
    "path",
    [*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.env"), DEPLOY / "Dockerfile"],
    ids=lambda path: path.name,
)
def test_every_variable_that_is_named_is_one_of_ours(path: Path) -> None:
    known = {
        f"{PREFIX}{section}_{name}".upper()
        for section, field in Settings.model_fields.items()
        for name in field.annotation.model_fields
    }
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", path.read_text())) <= known
