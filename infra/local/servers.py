"""Kafka and Cassandra on this machine: up, down, status. The door of this package.

    servers = LocalServers(LocalSettings(data_dir=..., kafka_port=...))
    servers.up()        # both answer real requests when this returns; a second `up` finds them
    servers.down()

The servers outlive the program that started them; who they are is written in the data directory.
One process at a time changes anything there (`up`, `down`, `start`, `stop`, under a file lock);
`status` and `kill` ask nobody. What goes wrong is a LocalServerError, whose text is for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Lock

from infra.local import data_dir, lifecycle, ports
from infra.local.cassandra_server import cassandra_plan, cassandra_server
from infra.local.errors import DataDirError
from infra.local.file_lock import file_lock
from infra.local.jar_lock import read_lock
from infra.local.jars import class_path
from infra.local.java import java_executable
from infra.local.kafka_server import kafka_plan, kafka_server
from infra.local.plan import Plan, Runtime, Server
from infra.local.settings import LOCK_WAIT_S, LocalSettings
from infra.local.status import ServerStatus, State, status_of

__all__ = ["LocalServers", "LocalSettings", "ServerStatus", "State"]

Progress = Callable[[str, str], None]
"""Called with a server's name and what is happening with it; never by two threads at once."""

_PLANS: dict[str, Callable[[Runtime], Plan]] = {"kafka": kafka_plan, "cassandra": cassandra_plan}


class LocalServers:
    """The two servers of one data directory."""

    def __init__(
        self, settings: LocalSettings, *, on_progress: Progress = lambda _name, _what: None
    ) -> None:
        # The directory is part of a server's identity: one spelling only.
        self.settings = replace(
            settings,
            data_dir=settings.data_dir.expanduser().resolve(),
            cache_dir=settings.cache_dir.expanduser().resolve(),
        )
        both = (kafka_server(self.settings), cassandra_server(self.settings))
        self._servers = {server.name: server for server in both}
        self._on_progress = on_progress
        self._progress_lock = Lock()

    def up(self, *, fresh: bool = False) -> tuple[ServerStatus, ...]:
        """Start what is not running; return when both answer.

        `fresh` stops both first and deletes their data. When one cannot be started, the one that
        this call started beside it is stopped again. Raises LocalServerError.
        """
        with self._exclusive():
            if fresh:
                self._in_parallel(list(self._servers.values()), self._stop_one)
                data_dir.empty(self.settings.data_dir)
            self._start_missing(list(self._servers.values()))
        return self.status()

    def down(self) -> tuple[ServerStatus, ...]:
        """Stop both: SIGTERM, and SIGKILL for one that does not go. Raises LocalServerError."""
        if self.settings.data_dir.exists():
            with self._exclusive():
                self._in_parallel(list(self._servers.values()), self._stop_one)
        return self.status()

    def status(self) -> tuple[ServerStatus, ...]:
        """How both are now; asks each a real question, which takes some ten milliseconds."""
        return tuple(status_of(server) for server in self._servers.values())

    def holders(self) -> dict[str, tuple[int, str | None]]:
        """Each listener by the name of its setting: its port, and who else has it; None if it is
        free, or its server runs.
        """
        found: dict[str, tuple[int, str | None]] = {}
        for server in self._servers.values():
            running = lifecycle.find(server) is not None
            for setting, port in server.listeners.items():
                taken = not running and not ports.is_free(port)
                who = (ports.describe_holder(port) or "Another program") if taken else None
                found[setting] = (port, who)
        return found

    def start(self, name: str) -> None:
        """Start one server and wait for its answer. Raises LocalServerError, KeyError."""
        with self._exclusive():
            self._start_missing([self._servers[name]])

    def stop(self, name: str) -> None:
        """Stop one server with SIGTERM. Raises LocalServerError, KeyError."""
        with self._exclusive():
            self._stop_one(self._servers[name])

    def kill(self, name: str) -> None:
        """SIGKILL one server, whatever else is going on. Raises LocalServerError, KeyError."""
        lifecycle.stop(self._servers[name], patience_s=0)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Work in the data directory alone; what the system refuses there becomes a sentence."""

        def on_wait() -> None:
            for name in self._servers:
                self._report(name, "waiting for another process in the same data directory")

        folder = self.settings.data_dir
        data_dir.prepare(folder)
        try:
            with file_lock(folder / data_dir.LOCK, wait_s=LOCK_WAIT_S, on_wait=on_wait):
                yield
        except OSError as error:
            raise DataDirError(
                f"The servers could not be changed: {error}; check the permissions and the free "
                "space there, and run the command again."
            ) from error

    def _start_missing(self, servers: list[Server]) -> None:
        running = {server.name: lifecycle.find(server, thorough=True) for server in servers}
        missing = [server for server in servers if running[server.name] is None]
        # All that can be known is checked before anything is downloaded or started.
        for server in servers:
            if (found := running[server.name]) is None:
                lifecycle.check_can_start(server)
            else:
                lifecycle.check_same_port(server, found)
        plans = {server.name: self._plan(server) for server in missing}
        cancelled = Event()

        def start_one(server: Server) -> None:
            context = lifecycle.StartContext(
                timeout_s=self.settings.start_timeout_s,
                progress=lambda what: self._report(server.name, what),
                cancelled=cancelled,
            )
            if server.name in plans:
                lifecycle.start(plans[server.name], context)
            elif (found := running[server.name]) is not None:
                context.progress("is running already")
                lifecycle.await_answer(server, found, context)

        try:
            self._in_parallel(servers, start_one, on_failure=cancelled.set)
        except BaseException:
            for server in missing:  # all or nothing of what this call started
                lifecycle.stop(server)
            raise

    def _plan(self, server: Server) -> Plan:
        java = java_executable()
        jars = class_path(
            read_lock()[server.name],
            self.settings.cache_dir,
            on_progress=lambda what: self._report(server.name, what),
        )
        return _PLANS[server.name](Runtime(self.settings, java, jars))

    def _stop_one(self, server: Server) -> None:
        self._report(server.name, "stopping")
        stopped = lifecycle.stop(server)
        self._report(server.name, "stopped" if stopped else "was not running")

    def _in_parallel(
        self,
        servers: list[Server],
        work: Callable[[Server], None],
        *,
        on_failure: Callable[[], object] = lambda: None,
    ) -> None:
        """Do `work` for each at once; raise the first failure when all are done."""
        with ThreadPoolExecutor(len(servers), thread_name_prefix="local-servers") as pool:
            futures = [pool.submit(work, server) for server in servers]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                if any(future.exception() for future in done):
                    on_failure()
                wait(futures)
            except BaseException:  # Ctrl-C in the waiting thread
                on_failure()
                raise
        _raise_first(futures)

    def _report(self, name: str, what: str) -> None:
        with self._progress_lock:
            self._on_progress(name, what)


def _raise_first(futures: list[Future[None]]) -> None:
    errors = [error for future in futures if (error := future.exception()) is not None]
    # A cancelled start is the consequence, never the reason.
    errors.sort(key=lambda error: isinstance(error, lifecycle.StartCancelled))
    if errors:
        raise errors[0]
