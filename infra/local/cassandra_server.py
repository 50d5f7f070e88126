"""Cassandra 5 as one node: what is known of it, and the command that starts it. Touches nothing.

The configuration files are `cassandra_config`.
"""

from __future__ import annotations

import os

from infra.local.cassandra_config import NAME, render_logback, render_yaml
from infra.local.java import common_options
from infra.local.plan import Plan, Runtime, Server
from infra.local.probe import cassandra_answers
from infra.local.process import identity_options
from infra.local.settings import LocalSettings

_EXPORTS = (
    "java.base/java.lang.ref",
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.attach/sun.tools.attach",
    "jdk.unsupported/sun.misc",
)

_OPENS = (
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
)
# Both lists: conf/jvm17-server.options of the release, which the jars do not carry.


def cassandra_server(settings: LocalSettings) -> Server:
    """What is known of Cassandra without starting it."""
    return Server(
        name=NAME,
        title="Cassandra",
        data_dir=settings.data_dir,
        port=settings.cassandra_port,
        listeners={
            "cassandra_port": settings.cassandra_port,
            "cassandra_storage_port": settings.cassandra_storage_port,
        },
        answers=cassandra_answers,
        identity=identity_options(NAME, settings.data_dir),
    )


def cassandra_plan(runtime: Runtime) -> Plan:
    """How to start it."""
    settings = runtime.settings
    server = cassandra_server(settings)
    config = settings.data_dir / "config"
    yaml, logback = config / "cassandra.yaml", config / "cassandra-logback.xml"
    command = (
        str(runtime.java),
        *_jvm_options(runtime, server),
        f"-Dcassandra.config={yaml.as_uri()}",
        f"-Dcassandra.storagedir={server.folder}",
        f"-Dlogback.configurationFile={logback.as_uri()}",
        *server.marks,
        "-cp",
        os.pathsep.join(map(str, runtime.class_path)),
        "org.apache.cassandra.service.CassandraDaemon",
    )
    return Plan(
        server=server,
        files={yaml: render_yaml(settings), logback: render_logback()},
        command=command,
    )


def _jvm_options(runtime: Runtime, server: Server) -> list[str]:
    agent = next(path for path in runtime.class_path if path.name.startswith("jamm-"))
    settings = runtime.settings
    return [
        *common_options(
            heap_mb=settings.cassandra_heap_mb,
            temporary=server.temporary,
            crash_file=settings.logs_dir / "cassandra-crash-%p.log",
        ),
        "-Xss256k",
        f"-javaagent:{agent}",  # measures objects, so that memtables know when they are full
        *(f"--add-exports={name}=ALL-UNNAMED" for name in _EXPORTS),
        *(f"--add-opens={name}=ALL-UNNAMED" for name in _OPENS),
        "-Djdk.attach.allowAttachSelf=true",
        "-Dio.netty.tryReflectionSetAccessible=true",
        "-Dchronicle.announcer.disable=true",
        "-Dchronicle.analytics.disable=true",
        "-Dcassandra-foreground=yes",
        # No JMX: with neither a local nor a remote port given, none is opened.
        # One node has nobody to wait for, and an empty role table may be filled at once.
        "-Dcassandra.skip_wait_for_gossip_to_settle=0",
        "-Dcassandra.ring_delay_ms=100",
        "-Dcassandra.shutdown_announce_in_ms=0",
        "-Dcassandra.superuser_setup_delay_ms=0",
    ]
