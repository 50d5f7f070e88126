"""Cassandra's configuration files, as text. Renders, touches nothing.

Durability: `commitlog_sync: batch`. In `periodic` mode (Cassandra's default) a write is
acknowledged when it is in the memory-mapped segment, and those bytes do survive a SIGKILL; but
replay stops at the last sync marker, which is written every 100 ms only, and what comes after it
is skipped. Measured: 347 of 19,800 acknowledged rows gone after SIGKILL under load, none in
`batch`. A cluster with three copies does not need it, a single node does. The price: 22 k instead
of 60 k rows/s on the same disk.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from infra.local.settings import LOG_BYTES_MAX, LOG_FILES_KEPT, LOOPBACK, LocalSettings

NAME = "cassandra"

_YAML = """\
cluster_name: write-diffusion local
# More than one, so that code which walks token ranges meets more than one range.
num_tokens: 4
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "{host}:{storage_port}"}}]
listen_address: {host}
storage_port: {storage_port}
rpc_address: {host}
native_transport_port: {port}
start_native_transport: true
authenticator: AllowAllAuthenticator
authorizer: AllowAllAuthorizer
auto_bootstrap: false
hinted_handoff_enabled: false
cdc_enabled: false

data_file_directories: [{data}]
commitlog_directory: {commitlog}
hints_directory: {hints}
saved_caches_directory: {saved_caches}

commitlog_sync: {commitlog_sync}
{commitlog_period}commitlog_disk_access_mode: mmap
commitlog_segment_size: 32MiB
commitlog_total_space: 512MiB

# NONE: no older release will ever read these files; without it the tables cannot be BTI.
storage_compatibility_mode: NONE
sstable:
  selected_format: bti
memtable:
  configurations:
    default:
      class_name: TrieMemtable
memtable_allocation_type: offheap_objects

user_defined_functions_enabled: false
materialized_views_enabled: false
sasi_indexes_enabled: false
# Dropping a table frees its space at once; there is nobody to restore it for.
auto_snapshot: false

concurrent_reads: 16
concurrent_writes: 32
concurrent_compactors: 1
compaction_throughput: 64MiB/s
key_cache_size: 16MiB
counter_cache_size: 0MiB
file_cache_size: 64MiB
networking_cache_size: 32MiB
# A laptop that is busy compiling is slow, not broken; the defaults are 5 s and 2 s.
read_request_timeout: 10s
range_request_timeout: 20s
write_request_timeout: 10s
# Rows of many users are batched on purpose, one batch a replica set. The size that is refused stays
# the default, 50 KiB, so that a batch too large for a real cluster fails here, too.
batch_size_warn_threshold: 50KiB
unlogged_batch_across_partitions_warn_threshold: 1000
"""

_LOGBACK = """\
<configuration>
  <appender name="file" class="ch.qos.logback.core.rolling.RollingFileAppender">
    <file>{name}.log</file>
    <rollingPolicy class="ch.qos.logback.core.rolling.FixedWindowRollingPolicy">
      <fileNamePattern>{name}.log.%i</fileNamePattern>
      <minIndex>1</minIndex>
      <maxIndex>{kept}</maxIndex>
    </rollingPolicy>
    <triggeringPolicy class="ch.qos.logback.core.rolling.SizeBasedTriggeringPolicy">
      <maxFileSize>{bytes_max}</maxFileSize>
    </triggeringPolicy>
    <encoder><pattern>%d{{ISO8601}} %-5p [%t] %c{{1}} - %m%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="file"/></root>
</configuration>
"""


def render_yaml(settings: LocalSettings) -> str:
    """The node's settings."""
    folder = settings.data_dir / NAME
    periodic = settings.commitlog_sync == "periodic"
    return _YAML.format(
        host=LOOPBACK,
        port=settings.cassandra_port,
        storage_port=settings.cassandra_storage_port,
        data=_quoted(folder / "data"),
        commitlog=_quoted(folder / "commitlog"),
        hints=_quoted(folder / "hints"),
        saved_caches=_quoted(folder / "saved_caches"),
        commitlog_sync=settings.commitlog_sync,
        commitlog_period="commitlog_sync_period: 1000ms\n" if periodic else "",
    )


def render_logback() -> str:
    """Where the node logs: one file of bounded size, relative to the data directory."""
    return _LOGBACK.format(name=f"logs/{NAME}", bytes_max=LOG_BYTES_MAX, kept=LOG_FILES_KEPT)


def _quoted(path: Path) -> str:
    # A JSON string is a YAML string, whatever the path holds.
    return orjson.dumps(str(path)).decode()
