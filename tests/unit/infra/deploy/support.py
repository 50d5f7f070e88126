"""The files of `infra/deploy`, read, and what they are held to."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[4]
DEPLOY = ROOT / "infra" / "deploy"
CLUSTER = DEPLOY / "kubernetes"
SETUP = CLUSTER / "setup"


class _Strict(yaml.SafeLoader):
    """YAML in which a key that stands twice in one mapping is an error, not the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: a key stands twice"
        return super().construct_mapping(node, deep)


def documents(path: Path) -> list[Any]:
    return list(yaml.load_all(path.read_text(), _Strict))


def document(path: Path) -> Any:
    (found,) = documents(path)
    return found


def schema(name: str) -> Any:
    folder = ROOT / "tests" / "data" / "schemas"
    return json.loads(gzip.decompress((folder / f"{name}.json.gz").read_bytes()))


def kustomization(folder: Path) -> Any:
    return document(folder / "kustomization.yaml")


def resources() -> list[Any]:
    """All that is applied to a cluster, as it stands in the files."""
    return [
        found
        for folder in (SETUP, CLUSTER)
        for name in kustomization(folder)["resources"]
        for found in documents(folder / name)
    ]


def of_kind(kind: str) -> dict[str, Any]:
    """By name."""
    return {one["metadata"]["name"]: one for one in resources() if one["kind"] == kind}


def pods() -> dict[str, Any]:
    """Pod of each program, by the name of what makes it."""
    made = of_kind("Deployment") | of_kind("Job")
    return {name: one["spec"]["template"] for name, one in made.items()}


def env_file() -> dict[str, str]:
    lines = (SETUP / "diffusion.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
