"""`diffusion targets`: where the processes of this machine serve their metrics, for Prometheus.

Each process has a port of its own, also of those that one command started (`diffusion.fleet`), and
Prometheus asks each. A parent that gathered the numbers of its children could only add them up: the
age of the oldest change, or which process holds all the memory, would be lost, as would the numbers
of all when it ends. Adding up is what Prometheus does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diffusion.output import print_json
from infra.figures.targets import JOBS
from schemas.errors import PermanentError

if TYPE_CHECKING:
    from infra.settings import Settings


def targets(
    *, stream_workers: int = 1, materializers: int = 1, api: bool = True, openim_tap: bool = False
) -> None:
    """Print the addresses of /metrics as Prometheus reads them from a file (`file_sd_configs`).

    Parameters
    ----------
    stream_workers
        As many as `diffusion stream-worker --processes` is given; 0 for none here.
    materializers
        Likewise.
    api
        Whether an API process runs here.
    openim_tap
        Whether a tap of OpenIM does.

    """
    from infra.settings import load

    counts = {"stream-worker": stream_workers, "materializer": materializers}
    settings = load()
    found = addresses(settings, counts, api=api, openim_tap=openim_tap)
    print_json(listed(found, api_tls=settings.api.tls_cert_file is not None))


def addresses(
    settings: Settings, counts: Mapping[str, int], *, api: bool, openim_tap: bool = False
) -> dict[str, list[str]]:
    """Program -> `host:port` of each of its processes, by the settings and how many there are.

    Raises `PermanentError` for a count that makes no sense, where a port is not set, or one is
    given to two processes.
    """
    from diffusion import fleet
    from diffusion.processes import bracketed

    found: dict[str, list[str]] = {}
    for kind, count in counts.items():
        if not 0 <= count <= fleet.PROCESSES_MAX:
            raise PermanentError(
                f"--{kind}s is {count}: give a number from 0 to {fleet.PROCESSES_MAX}."
            )
        children = fleet.children(kind, count, settings)
        if not all(child.metrics_url for child in children):
            section = "stream" if kind == "stream-worker" else kind
            raise PermanentError(
                f"{section}.metrics_port is not set, so a {kind} serves no metrics: set "
                f"DIFFUSION_{section.upper()}_METRICS_PORT."
            )
        found[kind] = [address_of(child.metrics_url) for child in children]
    if api:
        found["api"] = [f"{bracketed(settings.api.host)}:{settings.api.port}"]
    if openim_tap:
        tap = settings.openim
        if not tap.metrics_port:
            raise PermanentError(
                "openim.metrics_port is not set, so the tap serves no metrics: set "
                "DIFFUSION_OPENIM_METRICS_PORT."
            )
        found["openim-tap"] = [f"{bracketed(tap.metrics_host)}:{tap.metrics_port}"]
    taken = Counter(address for some in found.values() for address in some)
    address, times = max(taken.items(), key=lambda item: item[1], default=("", 0))
    if times > 1:
        raise PermanentError(
            f"{address} is the port of {times} processes: set stream.metrics_port and "
            "materializer.metrics_port further apart."
        )
    return found


def address_of(metrics_url: str) -> str:
    """`host:port` of an address that ends in /metrics."""
    return metrics_url.removeprefix("http://").removesuffix("/metrics")


def listed(found: Mapping[str, Sequence[str]], *, api_tls: bool = False) -> list[dict[str, Any]]:
    """As Prometheus reads it: the job of each, and whether it is asked over TLS, are said here and
    not in its settings.
    """
    secure = {"api": {"__scheme__": "https"}} if api_tls else {}
    return [
        {"targets": list(some), "labels": {"job": JOBS[kind], **secure.get(kind, {})}}
        for kind, some in found.items()
        if some
    ]
