"""How each command of the documents is tested: the table that `tests/unit/documents` holds complete.

A new command in a document needs a line here. `Run` is run by `tests/integration/test_documents.py`
as it stands, by bash; `Reduced` by the command line itself, in the size that the line says;
`Elsewhere` names the test that runs it; `Unrun` says why nothing here can, and what is checked
instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from diffusion.bench.latency_load import Mix
from diffusion.bench.worlds import World, real


@dataclass(frozen=True)
class Run:
    """Run as it stands. `code` is its exit code, `says` what it prints somewhere."""

    says: str = ""
    code: int = 0


@dataclass(frozen=True)
class Reduced:
    """Run with these arguments in place of its own, and with these constants of modules smaller.

    `servers`: on a pair of its own, because it fills logs and tables that others would read.
    `here`: parts that have processes of their own run in this one, or would not see the constants.
    """

    arguments: str
    constants: dict[str, Any] = field(default_factory=dict)
    servers: bool = False
    here: bool = False


@dataclass(frozen=True)
class Elsewhere:
    """Run by another test: `file::function`, or a file, which has all of these words."""

    test: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Unrun:
    """Not run: why. `check` is a function of `tests/unit/documents/checks.py`."""

    reason: str
    check: str


@dataclass(frozen=True)
class Started:
    """Started, and ended by SIGTERM when each of so many processes says that it is ready. `port` is
    the setting of the first one's metrics.
    """

    processes: int
    port: str


def two_worlds(data: Path, seed: int, sync_rate: float) -> list[World]:
    """The two of traces, which are small here; the made ones take minutes."""
    return [
        real(name, data / f"{name}_messages.csv.gz", sync_rate) for name in ("private", "group")
    ]


How: TypeAlias = Run | Started | Reduced | Elsewhere | Unrun

COMMAND_LINE = (
    "tests/integration/test_command_line.py::test_from_nothing_to_a_synced_device_and_down_again"
)

PROGRAMS = Elsewhere(
    COMMAND_LINE, ('"stream-worker", "materializer", "api"', "processes.start(Child(kind, (kind,)")
)
TRACE = Elsewhere(
    "tests/integration/test_tracing.py", ('"-m", "diffusion", "trace", *arguments', '"--at"')
)
NO_DOCKER = "needs a Docker engine, which the machines of the tests have not"
NO_CLUSTER = "needs a cluster with Strimzi, k8ssandra and KEDA"

TABLE: dict[str, How] = {
    # README: two commands
    "./dev demo": Reduced("demo --groups 1 --data {traces}", {"diffusion.demo.TAIL_EVENTS": 40}),
    "./dev test": Elsewhere(".ci/run", ("./dev test",)),
    # README: run it
    "./dev up": Elsewhere(COMMAND_LINE, ('shell.run("up")',)),
    "./dev status": Run("kafka"),
    "./dev stream-worker": PROGRAMS,
    "./dev materializer": PROGRAMS,
    "./dev api": PROGRAMS,
    "./dev replay tests/data/private_messages.csv.gz": Run("of them messages"),
    "./dev sync 1000000009": Run("conversations"),
    "./dev down": Elsewhere(COMMAND_LINE, ('shell.run("down")',)),
    "./dev migrate": Run(),
    "./dev targets --stream-workers 4 --materializers 2 > /etc/prometheus/targets.json": Run(),
    "cp infra/dashboards/prometheus.yml infra/dashboards/rules.yml /etc/prometheus/": Run(),
    "source <(./dev completion bash)": Run(),
    # benchmarks: every figure of the documents has the command that prints it beside it
    "./dev bench policy": Reduced(
        "bench policy --data {traces}", {"diffusion.bench.policy.worlds": two_worlds}
    ),
    "./dev bench sync": Reduced(
        "bench sync --conversations 200",
        {
            "diffusion.bench.chats.FIRST_USER": 1_100_000_001,
            "diffusion.bench.sync.REPETITIONS": {0: 20, 20: 20},
            "diffusion.bench.sync.FRESH_REPETITIONS_MAX": 3,
            "diffusion.bench.throughput.USERS": 8,
            "diffusion.bench.throughput.LAYERS": 24,
            "diffusion.bench.throughput.ROUNDS": 1,
            "diffusion.bench.throughput.ROUND_S": 0.5,
            "diffusion.bench.throughput.WARM_UP_S": 0.2,
        },
    ),
    "./dev bench correction": Reduced(
        "bench correction --conversations 200",
        {
            "diffusion.bench.chats.FIRST_USER": 1_200_000_001,
            "diffusion.bench.correction.DIFFERING": (0, 1, 10),
            "diffusion.bench.correction.REPETITIONS": 1,
        },
    ),
    "./dev bench recovery": Reduced(
        "bench recovery --conversations 300",
        {
            "diffusion.bench.chats.FIRST_USER": 1_300_000_001,
            "diffusion.bench.recovery.AWAY": (0, 20),
            "diffusion.bench.recovery.CUTS": 1,
            "diffusion.bench.recovery.DRAWS": 1,
            "diffusion.bench.bad_line.RECONNECTS": 1,
        },
    ),
    "./dev bench storm": Reduced(
        "bench storm --users 40 --seconds 1 --writes 5 --conversations 100",
        {
            "diffusion.bench.chats.FIRST_USER": 1_400_000_001,
            "diffusion.bench.storm_world.FIRST_USER": 1_400_000_001,
            "diffusion.bench.storm_world.GROUP_ROUNDS": 2,
            "diffusion.bench.storm_world.CHAT_ROUNDS": 2,
            "diffusion.bench.storm_world.GROUP_MEMBERS": (10, 20),
            "diffusion.bench.storm_world.LARGE_BEYOND": 5,
            "diffusion.bench.storm.LEAD_S": 2.0,
        },
    ),
    "./dev bench connect": Reduced(
        "bench connect --connections 40 --seconds 2 --writes 20",
        {"diffusion.bench.connect.WARM_UP_S": 1.0},
    ),
    "./dev bench soak": Reduced(
        "bench soak --minutes 0.1 --conversations 300",
        {
            "diffusion.bench.soak.SAMPLE_S": 1.0,
            "diffusion.bench.soak_load.USERS_FROM": 1_500_000_000,
            "diffusion.bench.soak_load.USERS_MIN": 50,
            "diffusion.bench.soak_load.GROUPS": 5,
        },
    ),
    "./dev bench latency": Reduced(
        "bench latency --seconds 2",
        {
            "diffusion.bench.latency_load.USER_ID_FIRST": 1_600_000_000,
            "diffusion.bench.latency.Mix": partial(Mix, chats=200, groups=10, probes=10),
            "diffusion.bench.latency_writer.WARM_UP_S": 0.5,
            "diffusion.bench.latency_writer.PACED_WARM_UP_S": 0.5,
            "diffusion.bench.latency_writer.FULL_SPEED_S": 0.5,
            "diffusion.bench.latency_writer.STEPS": 2,
            "diffusion.bench.latency_writer.STEP_S": 1.0,
            "diffusion.bench.latency_writer.SETTLE_S": 0.5,
        },
        here=True,
    ),
    "./dev bench write": Reduced(
        "bench write --messages 300",
        {
            "diffusion.bench.write.ROUNDS": 1,
            "diffusion.bench.write.ROWS": 24_000,
            "diffusion.bench.write.STREAM_EVENTS": 24_000,
            "diffusion.bench.write.STOCK_EVENTS": 300,
            "diffusion.bench.write.NAIVE_SECONDS": 1.0,
            "diffusion.bench.write.USERS_CHECKED": 20,
        },
        servers=True,
    ),
    # One series of four, without the page and its picture, which need all: those are made of kept
    # figures by tests/unit/diffusion/bench/test_growth.py.
    "./dev bench growth --page docs/growth.md": Reduced(
        "bench growth",
        {
            "diffusion.bench.chats.FIRST_USER": 1_700_000_001,
            "diffusion.bench.growth.NAMES": ("conversations",),
            "diffusion.bench.growth_conversations.SIZES": (50, 200),
            "diffusion.bench.growth_cost.PASSES": 2,
            "diffusion.bench.growth_cost.CALM_WAIT_S": 0.5,
            "diffusion.bench.growth_partition.ROWS": 4_000,
            "diffusion.bench.growth_partition.ROUNDS": 1,
        },
    ),
    "./dev bench tracing": Reduced(
        "bench tracing --rounds 1",
        {
            "diffusion.bench.tracing.EVENTS": 24_000,
            "diffusion.bench.tracing.USERS": 4,
            "diffusion.bench.tracing.CHATS": 3,
        },
        servers=True,
    ),
    # proof
    "./dev simulate --seeds 10000": Reduced("simulate --seeds 3"),
    "./dev fuzz --records 1000000 --requests 100000": Reduced("fuzz --records 2000"),
    "./dev chaos --minutes 20": Elsewhere(
        "tests/integration/test_chaos.py::test_nothing_is_lost_whatever_is_killed",
        ("run(settings, minutes=MINUTES",),
    ),
    # README: watch it; docs/tracing.md
    "./dev top": Run("rows written"),
    "./dev top --targets /etc/prometheus/targets.json": Run("Nothing answers"),
    "./dev trace USER CONVERSATION": TRACE,
    "diffusion trace bob sg_42": TRACE,
    "pip install 'write-diffusion[tracing]'": Unrun(
        "its packages come with the lock already, and this one is not published", "extra"
    ),
    "./dev trace --at 3/1234": TRACE,
    # docs/start.md
    ".venv/bin/python first.py": Run(),
    "./dev doctor": Run("kafka", code=0),
    "./dev sync ann --store ann.db": Run("conversations"),
    "./dev explain sg_hikers": Run("sg_hikers"),
    # docs/operate.md
    "./dev stream-worker --processes 4": Started(4, "DIFFUSION_STREAM_METRICS_PORT"),
    "./dev materializer --processes 2": Started(2, "DIFFUSION_MATERIALIZER_METRICS_PORT"),
    "./dev settings": Run("kafka.bootstrap_servers"),
    "./dev dlq list": Run("conversation-writes"),
    "./dev dlq list user-writes --limit 100": Run("user-writes"),
    "./dev dlq show conversation-writes 17": Run('"reason"'),
    "./dev dlq replay conversation-writes --upto 17": Run("written to"),
    "./dev dlq drop user-writes --upto 3": Run("dropped"),
    "./dev explain sg_42": Run("sg_42"),
    "./dev sync ann --devices": Run(),
    "./dev sync ann --verify": Run("conversations"),
    "./dev token ann --hours 1": Run("."),
    # docs/import.md, docs/openim.md
    "./dev import conversations.ndjson": Run("memberships are written"),
    "./dev import conversations.ndjson --resume": Run("memberships are written"),
    "./dev openim-tap": Elsewhere("tests/integration/test_openim.py", ('NAME = "openim-tap"', "(NAME,)")),
    # docs/deploy.md
    "docker build -f infra/deploy/Dockerfile -t write-diffusion:0.1.0 .": Unrun(NO_DOCKER, "image"),
    "docker compose -f infra/deploy/compose.yaml up --build --wait": Unrun(NO_DOCKER, "compose"),
    "docker compose -f infra/deploy/compose.yaml exec api python -m diffusion token ann": Unrun(
        NO_DOCKER, "compose"
    ),
    'kubectl -n im create secret generic diffusion-api --from-literal=jwt-secret="$(openssl rand -hex 32)"': Unrun(
        NO_CLUSTER, "secret"
    ),
    "kubectl apply -k infra/deploy/kubernetes/setup": Unrun(NO_CLUSTER, "kustomization"),
    "kubectl -n im wait kafkatopic --all --for=condition=Ready --timeout=300s": Unrun(
        NO_CLUSTER, "waited_for"
    ),
    "kubectl -n im wait job/diffusion-migrate --for=condition=complete --timeout=600s": Unrun(
        NO_CLUSTER, "waited_for"
    ),
    "kubectl apply -k infra/deploy/kubernetes": Unrun(NO_CLUSTER, "kustomization"),
    "for kind in materializer stream api; do\n"
    "kubectl apply -k infra/deploy/kubernetes -l app.kubernetes.io/component=diffusion-$kind\n"
    "kubectl -n im rollout status deployment -l app.kubernetes.io/component=diffusion-$kind\n"
    "done": Unrun(NO_CLUSTER, "rollout"),
}  # fmt: skip
"""A command as it stands in a block, without the comment behind it and the `&` -> how it is tested.
What only stands in the text is held to the command line's own words by the unit test, and is one of
these, too. `export` is run with the commands of its block.
"""

DEV_WORDS: dict[str, Elsewhere] = {
    "test": Elsewhere(".ci/run", ("./dev test",)),
    "check": Elsewhere(".ci/run", ("./dev check",)),
    "audit": Elsewhere(".ci/run", ("./dev audit",)),
    "docs": Elsewhere("tests/unit/infra/site/test_hook.py", ("build(load_config",)),
}
"""Words of `./dev` that are none of the command line's."""

MODULES: dict[str, str] = {
    "infra.dashboards": "tests/unit/infra/dashboards/test_dashboards.py",
    "infra.deploy": "tests/unit/infra/deploy/test_image.py",
    "infra.metrics": "tests/unit/infra/metrics/test_document.py",
    "schemas": "tests/unit/schemas/test_json_schema.py",
    "syncapi.document": "tests/unit/syncapi/test_document.py",
}
"""`python -m` of what writes generated files -> the test that holds the files to it."""

CODE: dict[str, str] = {
    "README.md: from sdk.backend import WriteProducer": "run",
    "README.md: from sdk.client import SyncClient": "tests/unit/sdk/client/test_examples.py",
    'sdk/README.md: async with SyncClient("https://sync.example.com", token=token, store="im.db") as client:': (
        "tests/unit/sdk/client/test_examples.py"
    ),
    "docs/feed.md: with WriteProducer(servers) as writes:": "run",
    "docs/start.md: import time": "run",
    "docs/tracing.md: from sdk.backend import WriteProducer, correlated": "run",
}
"""Python block, by its document and first line -> `run` by the integration test, or by that test."""
