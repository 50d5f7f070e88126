"""`docs/metrics.md`, made of the declarations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from infra.metrics.declare import Declared, declared

_HEAD: Final = """# Metrics

Made by `python -m infra.metrics` from `infra/metrics/__init__.py`: change it there.

Each process serves its own at `/metrics`, in Prometheus' text format: a stream worker at port
`stream.metrics_port`, a materializer at `materializer.metrics_port`, a tap of OpenIM at
`openim.metrics_port`, an API process at `api.port`.
With `--processes N` the workers have the N ports from that one on; `diffusion targets` lists them
for Prometheus. Units are seconds and bytes.
Labels say one of the values that stand here, and begin at 0; no metric is labelled with an id.

What the numbers mean together, and which are alarming, is in `infra/dashboards/`.
"""

_PARTS: Final = {
    "stream": ("Stream worker", "Write events in, change records out."),
    "materializer": ("Materializer", "Change records in, rows out."),
    "api": ("Sync API", "Syncs, persistent connections and pokes."),
    "openim": ("OpenIM tap", "Records of an OpenIM deployment in, write events out."),
    "store": ("Cassandra", "As each of the programs sees it."),
    "process": ("Process", "Of each of the programs, beside what the library exports."),
}


def document() -> str:
    """The whole page."""
    found = list(declared())
    sections = [
        "\n".join(_section(title, text, [one for one in found if one.part == part]))
        for part, (title, text) in _PARTS.items()
    ]
    return _HEAD + "\n" + "\n".join(sections)


def _section(title: str, text: str, metrics: Iterable[Declared]) -> Iterable[str]:
    yield f"## {title}\n\n{text}\n"
    yield "| metric | kind | what it says | labels |\n|---|---|---|---|"
    for one in metrics:
        yield f"| `{one.name}` | {one.kind} | {one.help}{_bounds(one)} | {_labels(one)} |"
    yield ""


def _labels(one: Declared) -> str:
    return "; ".join(
        f"`{label}`: {', '.join(f'`{value}`' for value in values)}"
        for label, values in one.labels.items()
    )


def _bounds(one: Declared) -> str:
    if not one.buckets:
        return ""
    return f" Buckets from {one.buckets[0]:,.10g} to {one.buckets[-1]:,.10g}."
