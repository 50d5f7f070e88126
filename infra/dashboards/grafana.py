"""The dashboard as Grafana imports it, made of `rows` by Grafana Labs' own library."""

from __future__ import annotations

from itertools import count
from typing import Final

from grafana_foundation_sdk.builders.common import StackingConfig, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable
from grafana_foundation_sdk.builders.dashboard import Row as RowBuilder
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from infra.dashboards.panels import Panel
from infra.dashboards.rows import ROWS

UID: Final = "write-diffusion"
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
"""Whichever Prometheus is chosen at the top of the dashboard."""

SPAN: Final = 8
"""Three panels side by side, of Grafana's 24 columns."""

HEIGHT: Final = 8


def dashboard() -> str:
    """The dashboard as JSON."""
    builder = (
        Dashboard("Write-diffusion sync")
        .uid(UID)
        .description("What is written for each event, what devices get, and whether it keeps up.")
        .tags(["write-diffusion"])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    ids = count(1)
    for row in ROWS:
        builder = builder.with_row(RowBuilder(row.title).id(next(ids)))
        for panel in row.panels:
            builder = builder.with_panel(_panel(panel).id(next(ids)))
    return JSONEncoder(sort_keys=True, indent=2).encode(builder.build()) + "\n"


def _panel(panel: Panel) -> Timeseries:
    made = (
        Timeseries()
        .title(panel.title)
        .description(panel.text)
        .datasource(SOURCE)
        .unit(panel.unit)
        .min(0)
        .span(SPAN)
        .height(HEIGHT)
        .fill_opacity(20 if panel.stacked else 0)
        .show_points(VisibilityMode.NEVER)
        .legend(
            VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)  # noqa: FBT003  # the library's own signature
        )
    )
    if panel.stacked:
        made = made.stacking(StackingConfig().mode(StackingMode.NORMAL))
    for number, query in enumerate(panel.queries):
        made = made.with_target(
            Dataquery().ref_id(chr(ord("A") + number)).expr(query.expr).legend_format(query.legend)
        )
    return made
