"""Every setting: where it is set, and what it is; of a secret, only whether it is set."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.settings import PREFIX, Settings

PIPE_WIDTH: Final = 200
"""Characters of a line that nobody's terminal bounds: cut at 80, the names would be lost."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: `name` under `[section]` in the file, or a variable in the environment."""

    section: str
    name: str
    variable: str
    value: Any
    """As JSON has it; of a secret, `set` or `not set`."""
    default: bool
    """Whether it is what it would be if nobody had set it."""


def listed(settings: Settings) -> list[Setting]:
    """All settings, section by section."""
    found: list[Setting] = []
    for section in type(settings).model_fields:
        values = getattr(settings, section)
        for name, field in type(values).model_fields.items():
            value = getattr(values, name)
            default = value == field.get_default(call_default_factory=True)
            variable = f"{PREFIX}{section}_{name}".upper()
            found.append(Setting(section, name, variable, _shown(value, default=default), default))
    return found


def as_json(found: list[Setting]) -> dict[str, dict[str, Any]]:
    """Plain values for JSON, by section and name."""
    sections: dict[str, dict[str, Any]] = {}
    for one in found:
        told = {"value": one.value, "default": one.default, "variable": one.variable}
        sections.setdefault(one.section, {})[one.name] = told
    return sections


def show(found: list[Setting]) -> None:
    """Print a table."""
    table = Table(box=None, pad_edge=False)
    for title in ("setting", "value", "", "variable"):
        table.add_column(title)
    for one in found:
        value = Text("" if one.value is None else str(one.value))
        origin = "" if one.default else "not the default"
        table.add_row(f"{one.section}.{one.name}", value, origin, one.variable)
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


def _shown(value: Any, *, default: bool) -> Any:
    if isinstance(value, SecretStr):
        # One that is a default is known to everybody.
        return "not set" if default or not value.get_secret_value() else "set"
    return str(value) if isinstance(value, Path) else value
