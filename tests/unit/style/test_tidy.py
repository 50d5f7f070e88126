"""Properties of the code itself, checked like any other behaviour."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("schemas", "infra", "streams", "consumers", "syncapi", "sdk", "diffusion")
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 400
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

PURE_EXTERNALS = frozenset(
    {
        "__future__", "base64", "binascii", "collections", "dataclasses", "enum", "functools",
        "bisect", "hashlib", "hmac", "itertools", "math", "msgspec", "operator", "orjson", "re", "struct",
        "types", "typing", "zlib", "zstandard",
    }
)  # fmt: skip
PURE = ("schemas", "streams.policy", "streams.activity", "streams.diffusion", "streams.effects", "streams.origins", "consumers.coalesce",
        "consumers.openim.records", "consumers.openim.content_types", "consumers.openim.notices", "consumers.openim.mapping",
        "syncapi.planner", "syncapi.delta", "syncapi.modules", "syncapi.snapshot", "syncapi.correction",
        "syncapi.room", "syncapi.negotiation", "syncapi.framing", "syncapi.poke_book",
        "syncapi.limiter", "syncapi.overload",
        "sdk.client.course", "sdk.client.answers", "sdk.client.correction", "sdk.client.session",
        "sdk.client.life", "sdk.client.steps", "sdk.client.schedule", "sdk.client.wishes", "sdk.client.pauses",
        "sdk.client.backoff", "sdk.client.events", "sdk.client.report", "sdk.client.traffic",
        "sdk.client.metrics")  # fmt: skip
IMPURE = frozenset({"schemas.__main__"})

FORBIDDEN_WORDS = re.compile(
    # The product speaks of itself only, and lives on no particular machine.
    r"/root/|/home/\w|/work/|pypi\.org|files\.pythonhosted|repo1?\.maven|repo\.maven\.apache",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_and_stays_small(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "every module begins with what it is"
    assert len(text.splitlines()) <= MODULE_LINES_MAX
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES_MAX, node.name


def test_pure_modules_import_only_what_is_listed() -> None:
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)
    found = []
    for name in PURE:
        for module in ({name} | graph.find_descendants(name)) - IMPURE:
            for imported in graph.find_modules_directly_imported_by(module):
                ours = any(imported == one or imported.startswith(f"{one}.") for one in PURE)
                own = imported.startswith("sdk.client.") and module.startswith("sdk.client.")
                if not (ours or own or imported.split(".")[0] in PURE_EXTERNALS):
                    found.append(f"{module} -> {imported}")
    assert found == []


def test_every_contract_module_has_a_unit_test_of_its_name() -> None:
    missing = [
        path.name
        for path in (ROOT / "schemas").glob("[a-z]*.py")
        if not (ROOT / "tests/unit/schemas" / f"test_{path.name}").exists()
        and path.name not in {"limits.py", "errors.py", "topics.py", "rows.py", "heads.py"}
    ]
    assert missing == []


def test_a_device_pulls_no_server_package() -> None:
    program = "import sys, sdk.client; print(*sys.modules)"
    names = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"confluent_kafka", "cassandra", "faust", "litestar", "prometheus_client", "infra"}
    assert heavy.isdisjoint(names)


def test_the_kafka_door_does_not_pull_cassandra() -> None:
    program = "import sys, infra.kafka.admin, infra.kafka.delivery; print(*sys.modules)"
    names = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "cassandra" not in names


def test_no_file_names_a_machine_or_a_package_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    found = []
    for name in filter(None, listed):
        path = ROOT / name
        if path.suffix in {".gz", ".png"} or path == Path(__file__) or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if FORBIDDEN_WORDS.search(line):
                found.append(f"{name}:{number}: {line.strip()[:80]}")
    assert found == []
