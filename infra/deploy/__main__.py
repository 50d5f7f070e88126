"""`python -m infra.deploy`: rewrite what is made of other files."""

from __future__ import annotations

from pathlib import Path

from infra.deploy.generate import write


def main() -> None:
    """Write the files of this checkout."""
    write(Path(__file__).parents[2])


if __name__ == "__main__":
    main()
