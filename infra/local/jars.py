"""The jars of a server in the cache: there, and the files that the lock names.

What is cached is hashed at every start (0.2 s for all 114 MiB), so that a torn or exchanged file
is found and fetched again. A download goes to a staging folder first and is moved into the cache
when its hash is right: whatever is in the cache was right once. One process at a time does that,
under a file lock; a process that finds everything there takes no lock, no network and does not
load jgo.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from infra.local.data_dir import check_free_space
from infra.local.errors import JarDownloadError, JarMismatchError
from infra.local.file_lock import file_lock
from infra.local.jar_lock import Jar
from infra.local.maven import MavenRepository
from infra.local.settings import FREE_CACHE_BYTES_MIN, LOCK_WAIT_S

PARALLEL_DOWNLOADS = 6
"""What a browser opens to one host; most of the time of a small jar is its round trips."""


DOWNLOAD_ATTEMPTS = 3
DOWNLOAD_PAUSE_S = 1.0
"""For a connection that breaks now and then; who is offline learns it after two pauses."""


def sha256_of(path: Path) -> str:
    """The hash of a file, in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def class_path(
    jars: Sequence[Jar], cache_dir: Path, *, on_progress: Callable[[str], None] = lambda _: None
) -> tuple[Path, ...]:
    """The files of `jars` in their order, downloaded where the cache does not have them.

    Raises JarDownloadError, JarMismatchError, JavaMissingError, DiskFullError, BusyError.
    """
    jars_dir = cache_dir / "jars"
    if _missing(jars, jars_dir):
        with file_lock(
            cache_dir / "lock",
            wait_s=LOCK_WAIT_S,
            on_wait=lambda: on_progress("waiting for another process that downloads"),
        ):
            # Looked at again under the lock: the process waited for may have brought them all.
            missing = _missing(jars, jars_dir)
            if missing:
                _download(missing, cache_dir, on_progress)
    return tuple(jar.path_in(jars_dir) for jar in jars)


def verify(jar: Jar, path: Path) -> None:
    """Raises JarMismatchError unless `path` holds the file that the lock names."""
    found = sha256_of(path)
    if found != jar.sha256:
        raise JarMismatchError(jar.coordinate, jar.sha256, found)


def _is_right(jar: Jar, path: Path) -> bool:
    try:
        return sha256_of(path) == jar.sha256
    except FileNotFoundError:
        return False


def _missing(jars: Sequence[Jar], jars_dir: Path) -> list[Jar]:
    return [jar for jar in jars if not _is_right(jar, jar.path_in(jars_dir))]


def _download(jars: Sequence[Jar], cache_dir: Path, on_progress: Callable[[str], None]) -> None:
    check_free_space(cache_dir, FREE_CACHE_BYTES_MIN)
    for leftover in cache_dir.glob("staging-*"):  # of a process that was killed; we hold the lock
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="staging-") as staging:
        repository = MavenRepository(Path(staging))
        on_progress(f"downloading {len(jars)} jars (once)")
        with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
            futures = [
                pool.submit(_download_one, repository, jar, cache_dir / "jars") for jar in jars
            ]
            try:
                for done, future in enumerate(as_completed(futures), start=1):
                    future.result()
                    on_progress(f"downloaded {done} of {len(jars)} jars")
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _download_one(repository: MavenRepository, jar: Jar, jars_dir: Path) -> None:
    fetched = _fetch_verified(repository, jar)
    target = jar.path_in(jars_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    fetched.replace(target)


def _fetch_verified(repository: MavenRepository, jar: Jar) -> Path:
    for left in reversed(range(DOWNLOAD_ATTEMPTS)):
        try:
            fetched = repository.fetch(jar)
            verify(jar, fetched)
        except (JarDownloadError, JarMismatchError):
            if not left:
                raise
            # Half a file would be taken for the file by the next attempt.
            repository.forget(jar)
            time.sleep(DOWNLOAD_PAUSE_S)
        else:
            return fetched
    raise AssertionError("unreachable: the last attempt returns or raises")
