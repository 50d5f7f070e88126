"""`python -m syncapi.document`: rewrite `docs/openapi.json`, what a running API serves at
`/schema/openapi.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec

from infra.cassandra.session import Session
from infra.settings import Settings
from syncapi.app import build

FILE = Path(__file__).parents[1] / "docs" / "openapi.json"


def document() -> bytes:
    """Build the document: pretty-printed JSON, whatever the settings are."""
    # Described, not served: nothing asks the session.
    app = build(Settings(), cast("Session", None))
    schema: dict[str, Any] = app.openapi_schema.to_schema()
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n"


def main() -> None:
    """Write the file of this checkout."""
    FILE.write_bytes(document())


if __name__ == "__main__":
    main()
