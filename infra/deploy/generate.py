"""What is made of other files: the image's lock of the project's, the cluster's rules of
Prometheus'.

The lock of the image is not solved anew: it is those lines of `requirements.lock` that the extras
`server` and `tracing` reach, so the image runs what the tests run. What is reached is asked of the
packages that are installed; pip refuses to install the image's lock if one is missing in it.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS: Final = ("server", "tracing")
"""Tracing is in the image so that a variable is enough to turn it on."""

IMAGE: Final = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.14",
    "python_version": "3.11",
    "sys_platform": "linux",
}
"""What the image is, for markers: whoever writes the lock may have another machine."""

_ENTRY: Final = re.compile(r"^([A-Za-z0-9._-]+)(?=[=\[@ ])")

_LOCK_HEAD: Final = (
    f"# Of requirements.lock, what {' and '.join(EXTRAS)} need: `python -m infra.deploy`.\n"
)

_RULES_HEAD: Final = """\
# infra/dashboards/rules.yml, as the operator of Prometheus takes it: `python -m infra.deploy`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: write-diffusion
  labels:
    app.kubernetes.io/part-of: write-diffusion
spec:
"""


def server_lock(lock: str, project: str) -> str:
    """Return the entries of a lock file, with their hashes, that the server programs need by the
    project's `pyproject.toml`.
    """
    tables = tomllib.loads(project)["project"]
    extras = tables["optional-dependencies"]
    asked = [*tables["dependencies"], *(one for name in EXTRAS for one in extras[name])]
    wanted = _reached([Requirement(text) for text in asked])
    return _LOCK_HEAD + "".join(entry for name, entry in _entries(lock) if name in wanted)


def prometheus_rule(rules: str) -> str:
    """Wrap a file of rules, indented as it is, into a resource of the operator of Prometheus."""
    body = rules[rules.index("groups:\n") :]
    lines = (f"  {line}" if line else "" for line in body.splitlines())
    return _RULES_HEAD + "\n".join(lines) + "\n"


def write(root: Path) -> None:
    """Rewrite both files; `root` is the folder of the project."""
    deploy = root / "infra" / "deploy"
    lock = (root / "requirements.lock").read_text(encoding="utf-8")
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    (deploy / "requirements.lock").write_text(server_lock(lock, project), encoding="utf-8")
    rules = (root / "infra" / "dashboards" / "rules.yml").read_text(encoding="utf-8")
    written = prometheus_rule(rules)
    (deploy / "kubernetes" / "rules.yaml").write_text(written, encoding="utf-8")


def _entries(lock: str) -> list[tuple[str, str]]:
    """Name and text of each entry: a line that begins with a name, and the lines of its hashes."""
    found: list[tuple[str, str]] = []
    for line in lock.splitlines(keepends=True):
        begins = _ENTRY.match(line)
        if begins:
            found.append((canonicalize_name(begins[1]), line))
        elif found and line[:1].isspace():
            name, text = found[-1]
            found[-1] = (name, text + line)
    return found


def _reached(asked: list[Requirement]) -> set[str]:
    """Names of all packages that these need in the image, and of themselves."""
    names: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(one, "") for one in asked]
    while waiting:
        one, extra = waiting.pop()
        if one.marker is not None and not one.marker.evaluate({**IMAGE, "extra": extra}):
            continue
        name = canonicalize_name(one.name)
        names.add(name)
        for wanted in {"", *one.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting.extend((needed, wanted) for needed in _requirements(name))
    return names


def _requirements(name: str) -> list[Requirement]:
    try:
        return [Requirement(text) for text in requires(name) or ()]
    except PackageNotFoundError:  # of another platform than this one
        return []
