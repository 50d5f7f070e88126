"""What a person sees of findings."""

from __future__ import annotations

import pytest

from diffusion.doctor.judge import Finding
from diffusion.doctor_command import _show


def test_a_finding_is_shown_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    _show([Finding("disk", "ok", "[1] GB"), Finding("schema", "wrong", "It is old.", "Migrate.")])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["ok", "disk", "[1]", "GB"] in lines
    assert ["wrong", "schema", "It", "is", "old."] in lines
    assert ["Migrate."] in lines
