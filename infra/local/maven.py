"""The one place that talks to a Maven repository, through the package `jgo`.

`jgo` is used at its lowest layer only: it resolves coordinates and fetches files. Its
environments, which sort jars into `modules/` and `jars/` and need a second JDK to do so, are not:
both kinds would go on the class path again. Which host is asked is its business and that of its
user's configuration file (`[repositories]`), so that a mirror works; whether a file is right is
decided by the lock.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.local.errors import JarDownloadError, JavaMissingError
from infra.local.jar_lock import Jar

TIMEOUT_S = 60
"""For one answer of the repository; longer than any pause of a slow but working connection."""


class MavenRepository:
    """Fetches files into `folder`, which holds what a Maven repository holds.

    `fetch` may be called by several threads for different jars.
    """

    def __init__(self, folder: Path) -> None:
        maven = _jgo("jgo.maven")
        repositories = _jgo("jgo.config").GlobalSettings.load().repositories
        # None stands for the repository that jgo knows; a configured one is asked first.
        default = maven.MavenContext(repo_cache=folder).remote_repos
        self._context: Any = maven.MavenContext(
            repo_cache=folder,
            remote_repos={**repositories, **default},
            timeout=TIMEOUT_S,
        )

    def fetch(self, jar: Jar) -> Path:
        """The file, downloaded if it is not in the folder. Raises JarDownloadError."""
        return self._resolved(self._artifact(jar), jar.coordinate)

    def forget(self, jar: Jar) -> None:
        """Delete what there is of the file, so that `fetch` downloads it again."""
        path: Path = self._artifact(jar).cached_path
        path.unlink(missing_ok=True)

    def closure(self, roots: Sequence[str]) -> list[tuple[str, str, str, str, Path]]:
        """All run-time files of `roots` (`group:artifact:version`), the roots first.

        Rows of group, artifact, version, classifier, file. Raises JarDownloadError.
        """
        try:
            # `!`: a root must not manage the versions of another. Log4j's binding would otherwise
            # put kafka-clients 3.9 beside Kafka 4.1, as its build happens to name that version.
            dependencies = [self._context.create_dependency(f"{root}!") for root in roots]
            inputs, transitive = self._context.resolver.resolve(dependencies)
        except Exception as error:
            raise JarDownloadError(", ".join(roots), _reason(error)) from error
        rows = []
        for dependency in [*inputs, *transitive]:
            if dependency.scope not in {None, "compile", "runtime"}:
                continue
            artifact = dependency.artifact
            names = (artifact.groupId, artifact.artifactId, artifact.version, artifact.classifier)
            rows.append((*names, self._resolved(artifact, ":".join(names).rstrip(":"))))
        return rows

    def _artifact(self, jar: Jar) -> Any:  # jgo's own class
        component = self._context.project(jar.group, jar.artifact).at_version(jar.version)
        return component.artifact(jar.classifier, "jar")

    @staticmethod
    def _resolved(artifact: Any, coordinate: str) -> Path:  # jgo's own class
        try:
            path: Path = artifact.resolve()
        except Exception as error:  # jgo lets every exception of its HTTP client through
            raise JarDownloadError(coordinate, _reason(error)) from error
        return path


def _jgo(name: str) -> Any:  # a module; loaded late, it takes a quarter of a second
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise JavaMissingError("jgo", "The resolver of Maven coordinates") from error


def _reason(error: Exception) -> str:
    """A cause that fits into a sentence: the innermost, without addresses and parentheses."""
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    text = str(cause).splitlines()[0] if str(cause) else ""
    return f"{type(cause).__name__}: {text[:160]}" if text else type(cause).__name__
