"""`python -m schemas`: rewrite `schemas/json/` and `schemas/asyncapi.json` from the types."""

from __future__ import annotations

from pathlib import Path

from schemas.asyncapi import document
from schemas.json_schema import schemas


def main() -> None:
    """Write every file beside this module."""
    here = Path(__file__).parent
    (here / "asyncapi.json").write_bytes(document())
    folder = here / "json"
    folder.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_bytes(text)


if __name__ == "__main__":
    main()
