"""`python -m infra.metrics`: rewrite `docs/metrics.md` from the declarations."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from infra.metrics.document import document

PAGE: Final = Path(__file__).parents[2] / "docs" / "metrics.md"


def main() -> None:
    """Write the page."""
    PAGE.write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main()
