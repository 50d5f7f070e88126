"""`python -m schemas`: rewrite `schemas/json/` from the types."""

from __future__ import annotations

from pathlib import Path

from schemas.json_schema import schemas


def main() -> None:
    """Write every schema file beside this module."""
    folder = Path(__file__).parent / "json"
    folder.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_bytes(text)


if __name__ == "__main__":
    main()
