"""Makes the lock of the jars anew: `python -m infra.local.lock`, and `--check` to compare only.

The versions of the servers are pinned here. Everything they need is resolved, downloaded into a
folder that is deleted afterwards, hashed and written to `jars.lock`; review the difference before
committing it, since from then on these hashes are what is trusted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from infra.local.errors import LocalServerError
from infra.local.jar_lock import LOCK_PATH, Jar, Lock, parse_lock, render_lock
from infra.local.jars import sha256_of
from infra.local.maven import MavenRepository

ROOTS: dict[str, tuple[str, ...]] = {
    "kafka": (
        "org.apache.kafka:kafka_2.13:4.1.2",
        # Kafka brings slf4j 1.7 and log4j 2.25 but no bridge between them; this one rolls files.
        "org.apache.logging.log4j:log4j-slf4j-impl:2.25.3",
    ),
    "cassandra": ("org.apache.cassandra:cassandra-all:5.0.9",),
}


def resolve(roots: dict[str, tuple[str, ...]], folder: Path) -> Lock:
    """The lock of `roots`, with the files in `folder`. Raises JarDownloadError."""
    repository = MavenRepository(folder)
    return {
        name: tuple(
            Jar(group, artifact, version, classifier, sha256_of(path))
            for group, artifact, version, classifier, path in repository.closure(coordinates)
        )
        for name, coordinates in roots.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code is 1 when the lock cannot be made or, with --check, differs."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.lock", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="jars-") as folder:
        try:
            lock = resolve(ROOTS, Path(folder))
        except LocalServerError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    if options.check:
        same = LOCK_PATH.exists() and parse_lock(LOCK_PATH.read_text(encoding="utf-8")) == lock
        sys.stdout.write("The lock is up to date.\n" if same else "The lock differs.\n")
        return 0 if same else 1
    LOCK_PATH.write_text(render_lock(lock), encoding="utf-8")
    sys.stdout.write(f"{LOCK_PATH.name}: {sum(map(len, lock.values()))} jars\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
