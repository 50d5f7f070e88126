"""The tree of errors is the one that its module draws, each in one branch only."""

from __future__ import annotations

import inspect
import re

from schemas import errors
from schemas.errors import DiffusionError, InputError, PermanentError, RetryableError

BRANCHES = (InputError, RetryableError, PermanentError)


def kinds() -> list[type[DiffusionError]]:
    return [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, DiffusionError)
    ]


def test_every_error_is_drawn() -> None:
    assert set(re.findall(r"\w+Error", errors.__doc__ or "")) == {kind.__name__ for kind in kinds()}


def test_every_error_is_in_one_branch() -> None:
    for kind in set(kinds()) - {DiffusionError}:
        assert sum(issubclass(kind, branch) for branch in BRANCHES) == 1
