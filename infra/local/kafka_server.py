"""Kafka 4 as one process that is broker and controller (KRaft): its settings, files and command.

Renders and decides; touches nothing but to look whether the storage was formatted. Formatting
fills a folder of its own, which is renamed when done: storage that was half formatted when the
machine went down is never taken for storage.
"""

from __future__ import annotations

import base64
import os
import uuid
from pathlib import Path

from infra.local.errors import DataDirError
from infra.local.java import common_options
from infra.local.plan import FORMATTING, Plan, Runtime, Server
from infra.local.probe import kafka_answers
from infra.local.process import identity_options
from infra.local.settings import LOG_BYTES_MAX, LOG_FILES_KEPT, LOOPBACK, MIB, LocalSettings

NAME = "kafka"

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
# A fixed voter: its address is taken from here at each start, so the ports may change.
controller.quorum.voters=1@{host}:{controller_port}
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=BROKER://{host}:{advertised_port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
# Relative to the working folder, which is the data directory: no path needs escaping here.
log.dirs={log_dir}
# One node: there is nobody to copy to.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
auto.create.topics.enable=false
# A dead worker is noticed in 10 s instead of 45 s, and a first group does not wait for company.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=10000
group.consumer.min.session.timeout.ms=6000
group.consumer.heartbeat.interval.ms=3000
group.consumer.min.heartbeat.interval.ms=1000
# After a SIGKILL the controller waits for the dead broker's session before it lets the new one in.
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=4000
# Small: the defaults are for a machine of its own. The cleaner alone would take 128 MiB of heap.
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size={cleaner_bytes}
"""

_CLEANER_BYTES = 8 * MIB

_LOG4J = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR">
  <Appenders>
    <RollingFile name="file" fileName="logs/{name}.log" filePattern="logs/{name}.log.%i">
      <PatternLayout pattern="%d{{ISO8601}} %-5p [%t] %c{{1}} - %m%n"/>
      <Policies><SizeBasedTriggeringPolicy size="{bytes_max}"/></Policies>
      <DefaultRolloverStrategy max="{kept}"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <!-- It prints all of its 400 settings several times at each start. -->
    <Logger name="org.apache.kafka.common.config.AbstractConfig" level="WARN"/>
    <Root level="INFO"><AppenderRef ref="file"/></Root>
  </Loggers>
</Configuration>
"""


def kafka_server(settings: LocalSettings) -> Server:
    """What is known of Kafka without starting it."""
    return Server(
        name=NAME,
        title="Kafka",
        data_dir=settings.data_dir,
        port=settings.kafka_port,
        listeners={
            "kafka_port": settings.kafka_port,
            "kafka_controller_port": settings.kafka_controller_port,
        },
        answers=kafka_answers,
        identity=identity_options(NAME, settings.data_dir),
    )


def kafka_plan(runtime: Runtime) -> Plan:
    """How to start it."""
    settings = runtime.settings
    server = kafka_server(settings)
    config = settings.data_dir / "config"
    properties, log4j = config / "kafka.properties", config / "kafka-log4j2.xml"
    # Under tmp/, which is on the same file system. Of this attempt only: the tool of a start that
    # was killed may still be at work.
    target = settings.data_dir / "tmp" / f"{FORMATTING}{uuid.uuid4().hex[:8]}"
    format_properties = target.with_suffix(".properties")
    java = [str(runtime.java), "-cp", os.pathsep.join(map(str, runtime.class_path))]
    logging = [f"-Dlog4j2.configurationFile={log4j.as_uri()}"]
    options = common_options(
        heap_mb=settings.kafka_heap_mb,
        temporary=server.temporary,
        crash_file=settings.logs_dir / "kafka-crash-%p.log",
    )
    # The compiler for long runs would only cost time in a program that runs for half a second.
    format_options = [
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        f"-Djava.io.tmpdir={server.temporary}",
        *logging,
    ]
    format_arguments = ["format", "-t", new_cluster_id(), "-c", str(format_properties)]
    return Plan(
        server=server,
        files={
            properties: render_properties(settings, log_dir=NAME),
            format_properties: render_properties(settings, log_dir=f"tmp/{target.name}"),
            log4j: _LOG4J.format(name=NAME, bytes_max=LOG_BYTES_MAX, kept=LOG_FILES_KEPT),
        },
        command=(*java, *options, *logging, *server.marks, "kafka.Kafka", str(properties)),
        format_command=(*java, *format_options, "kafka.tools.StorageTool", *format_arguments),
        format_target=target,
        is_formatted=lambda: is_formatted(server.folder),
    )


def render_properties(settings: LocalSettings, *, log_dir: str) -> str:
    """The broker's settings; `log_dir` is relative to the data directory."""
    return _PROPERTIES.format(
        host=LOOPBACK,
        port=settings.kafka_port,
        advertised_port=settings.kafka_advertised_port or settings.kafka_port,
        controller_port=settings.kafka_controller_port,
        log_dir=log_dir,
        cleaner_bytes=_CLEANER_BYTES,
    )


def is_formatted(folder: Path) -> bool:
    """Whether the storage is usable. Raises DataDirError when it holds data but is not."""
    if not folder.exists():
        return False
    if (folder / "meta.properties").exists():
        return True
    partitions = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    if partitions:
        raise DataDirError(
            f"{folder} holds partitions ({partitions[0]}, for instance) but no meta.properties, so "
            "Kafka cannot read them; bring that file back, or start with --fresh and lose the data."
        )
    return False


def new_cluster_id() -> str:
    """A random id as Kafka writes them: 16 bytes in URL-safe base64 without padding."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):  # the tool would take it for an option
            return text
