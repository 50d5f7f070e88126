"""A worker that stands on purpose says so, and does not say it of itself before."""

from __future__ import annotations

import logging

import pytest

from infra import metrics
from infra.standing import Standing
from schemas.errors import PermanentError


def test_who_stands_says_why_and_is_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    standing = Standing()
    assert not standing
    standing.check()
    with caplog.at_level(logging.CRITICAL):
        standing.begin(PermanentError("nothing can be read."))
    try:
        assert standing
        assert caplog.messages == ["This worker stops. nothing can be read."]
        with pytest.raises(PermanentError, match="nothing can be read"):
            standing.check()
        assert metrics.registry_of(metrics.Program.STREAM).get_sample_value(
            "diffusion_process_stopped"
        )
    finally:
        metrics.process_stopped.set(0)
