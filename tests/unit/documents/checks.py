"""What can be checked of commands that nothing here can run: whether what they name is there."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

from diffusion.cli import app

ROOT = Path(__file__).parents[3]
SETUP = ROOT / "infra/deploy/kubernetes/setup"


def kustomization(folder: Path) -> list[dict[str, Any]]:
    """The resources of a folder that `kubectl apply -k` takes; all its files must be there."""
    told = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found: list[dict[str, Any]] = []
    for name in told["resources"]:
        path = folder / name
        found += (
            kustomization(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
        )
    return [one for one in found if one]


@cache
def resources() -> list[dict[str, Any]]:
    return kustomization(SETUP) + kustomization(SETUP.parent)


def after(command: str, option: str) -> str:
    words = shlex.split(command)
    return words[words.index(option) + 1]


def image(command: str) -> None:
    words = shlex.split(command)
    assert words[:2] == ["docker", "build"]
    dockerfile = ROOT / after(command, "-f")
    assert dockerfile.read_text().lstrip("# ").strip()
    assert (ROOT / words[-1]).is_dir()
    tag = after(command, "-t")
    images = {one["image"] for one in compose(ROOT / "infra/deploy/compose.yaml").values()}
    assert tag in images, "the image that the compose file names"


def compose(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())["services"]


def compose_file(command: str) -> None:
    words = shlex.split(command)
    assert words[:2] == ["docker", "compose"]
    services = compose(ROOT / after(command, "-f"))
    if "exec" not in words:
        return
    service, *rest = words[words.index("exec") + 1 :]
    assert service in services
    assert rest[:3] == ["python", "-m", "diffusion"]
    app.parse_args(rest[3:], exit_on_error=False, print_error=False)


def secret(command: str) -> None:
    words = shlex.split(command)
    name = words[words.index("generic") + 1]
    key = re.search(r"--from-literal=([\w-]+)=", command)
    assert key is not None
    text = repr(resources())
    assert f"'name': '{name}'" in text
    assert f"'key': '{key[1]}'" in text


def applied(command: str) -> None:
    folder = ROOT / after(command, "-k")
    assert kustomization(folder)


def waited_for(command: str) -> None:
    words = shlex.split(command)
    what = words[words.index("wait") + 1]
    kind, _, name = what.partition("/")
    found = [one for one in resources() if one["kind"].lower() == kind]
    assert found
    assert not name or name in {one["metadata"]["name"] for one in found}


def rollout(command: str) -> None:
    kinds = re.match(r"for kind in (.*); do", command)
    label = re.search(r"-l (\S+)=(\S+)\$kind", command)
    assert kinds is not None
    assert label is not None
    for kind in kinds[1].split():
        labelled = [
            one["kind"]
            for one in resources()
            if one["metadata"].get("labels", {}).get(label[1]) == f"{label[2]}{kind}"
        ]
        assert "Deployment" in labelled, kind
    for line in command.splitlines():
        if "-k" in line.split():
            applied(line)


def extra(command: str) -> None:
    words = shlex.split(command)
    assert words[:2] == ["pip", "install"]
    asked = Requirement(words[2])
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert asked.name == told["name"]
    assert asked.extras
    assert asked.extras <= told["optional-dependencies"].keys()


CHECKS: dict[str, Callable[[str], None]] = {
    "extra": extra,
    "image": image,
    "compose": compose_file,
    "secret": secret,
    "kustomization": applied,
    "waited_for": waited_for,
    "rollout": rollout,
}
