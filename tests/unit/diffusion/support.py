"""The real traces, as the tests of this folder find them."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parents[2] / "data"
PRIVATE = DATA / "private_messages.csv.gz"
GROUPS = DATA / "group_messages.csv.gz"
