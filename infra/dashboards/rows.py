"""All rows of the dashboard, in their order: what it is for comes first."""

from __future__ import annotations

from typing import Final

from infra.dashboards.health import HEALTH
from infra.dashboards.serving import SYNC
from infra.dashboards.tapping import TAP
from infra.dashboards.writing import POLICY, VOLUME

ROWS: Final = (VOLUME, POLICY, SYNC, HEALTH, TAP)
