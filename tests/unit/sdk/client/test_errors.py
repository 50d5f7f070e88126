"""The tree of errors is the one that its module draws."""

from __future__ import annotations

import inspect
import re

from schemas.errors import DiffusionError, RetryableError
from sdk.client import errors
from sdk.client.errors import ClientError


def drawn() -> dict[str, tuple[str, bool]]:
    """Read the drawing: error to its parent, and whether it has a star."""
    found: dict[str, tuple[str, bool]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"( {4}[│├└─ ]*)(\w+Error)( \*)?", line):
            depth = (len(match[1]) - 4) // 4
            path[depth:] = [match[2]]
            found[match[2]] = (path[depth - 1] if depth else "DiffusionError", bool(match[3]))
    return found


def test_the_drawing_is_the_tree() -> None:
    kinds = {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, ClientError)
    }
    assert drawn() == {
        name: (kind.__bases__[0].__name__, issubclass(kind, RetryableError))
        for name, kind in kinds.items()
    }


def test_the_root_is_that_of_the_distribution() -> None:
    assert issubclass(ClientError, DiffusionError)
