"""The dashboard is that of the panels, and nobody asks for a metric that is not declared.

That the expressions are right is tested against a real Prometheus, in `tests/integration`.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

import infra.dashboards
from infra import metrics
from infra.dashboards.grafana import dashboard
from infra.dashboards.panels import Panel
from infra.dashboards.rows import ROWS

FOLDER = Path(infra.dashboards.__file__).parent
PANELS = [panel for row in ROWS for panel in row.panels]
SAMPLES = {sample: one.name for one in metrics.declared() for sample in one.samples()}
NAME = re.compile(r"\bdiffusion_\w+")
UNITS = {"short", "s", "bytes", "cps", "eps", "reqps", "rowsps", "recps"}
"""Of Grafana's, those that are used: base units, and numbers of something a second."""


def names(text: str) -> set[str]:
    return set(NAME.findall(text))


def rules() -> str:
    return (FOLDER / "rules.yml").read_text()


def test_the_file_is_the_generated_one() -> None:
    text = (FOLDER / "diffusion.json").read_text(encoding="utf-8")
    assert text == dashboard(), "run `python -m infra.dashboards`"


def test_grafana_is_given_every_panel_with_its_expressions() -> None:
    document: dict[str, Any] = orjson.loads(dashboard())
    shown = [panel for panel in document["panels"] if panel["type"] != "row"]
    assert [panel["title"] for panel in shown] == [panel.title for panel in PANELS]
    for panel, made in zip(PANELS, shown, strict=True):
        assert [one["expr"] for one in made["targets"]] == [one.expr for one in panel.queries]
        assert made["fieldConfig"]["defaults"]["unit"] == panel.unit
        assert made["description"] == panel.text
    found = Counter(panel["id"] for panel in document["panels"])
    assert set(found.values()) == {1}
    titles = [panel["title"] for panel in document["panels"] if panel["type"] == "row"]
    assert titles == [row.title for row in ROWS]
    assert titles[0].startswith("Diffusion volume")


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_a_panel_says_what_it_is(panel: Panel) -> None:
    assert panel.unit in UNITS
    assert panel.text.endswith(".")
    assert len(panel.text) > 40
    assert panel.queries
    assert all(query.legend for query in panel.queries)


def test_what_is_asked_for_is_declared() -> None:
    asked = names(rules()).union(*(names(one.expr) for panel in PANELS for one in panel.queries))
    assert asked <= SAMPLES.keys()


def test_every_metric_is_looked_at() -> None:
    shown = set().union(*(names(one.expr) for panel in PANELS for one in panel.queries))
    assert {one.name for one in metrics.declared()} == {SAMPLES[name] for name in shown}


def test_alerts_say_what_to_do() -> None:
    alerts = rules().count("- alert: ")
    assert alerts > 10
    for part in ("summary: ", "description: ", "severity: "):
        assert rules().count(part) == alerts


def test_no_alert_is_untested() -> None:
    tests = (FOLDER / "rules_test.yml").read_text()
    alerts = set(re.findall(r"- alert: (\w+)", rules()))
    assert alerts == set(re.findall(r'alertname(?:="|: )(\w+)', tests))
