"""A short run of `diffusion chaos`: faults on real servers and programs, and everybody agrees."""

from __future__ import annotations

from pathlib import Path

from diffusion.chaos.run import run
from diffusion.console import Console
from infra.settings import Settings

MINUTES = 0.5
FAULTS_MIN = 3


def test_nothing_is_lost_whatever_is_killed(tmp_path: Path) -> None:
    settings = Settings()
    local = settings.local.model_copy(update={"data_dir": tmp_path})
    settings = settings.model_copy(update={"local": local})
    outcome = run(settings, minutes=MINUTES, seed=2, console=Console())
    assert outcome.differences == ()
    assert outcome.good, outcome
    assert outcome.faults >= FAULTS_MIN
    assert outcome.users > 0
    assert outcome.devices > outcome.users
