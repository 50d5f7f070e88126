"""`python -m infra.dashboards`: rewrite `diffusion.json` from the panels."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from infra.dashboards.grafana import dashboard

FOLDER: Final = Path(__file__).parent


def main() -> None:
    """Write the file beside this module."""
    (FOLDER / "diffusion.json").write_text(dashboard(), encoding="utf-8")


if __name__ == "__main__":
    main()
