"""How a tap ends: what may be mended by starting it again has an exit code of its own."""

from __future__ import annotations

import pytest

from consumers.openim import __main__ as program
from diffusion.openim_commands import EXIT_RESTART, openim_tap
from infra.settings import Settings
from schemas.errors import PermanentError, RetryableError


def ends_with(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    def main(_settings: Settings) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(program, "main", main)
    monkeypatch.setenv("DIFFUSION_LOCAL_MANAGE", "false")
    openim_tap()


def test_a_kafka_that_is_away_asks_for_a_restart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        ends_with(monkeypatch, RetryableError("Kafka is away."))
    assert ended.value.code == EXIT_RESTART == 75
    assert capsys.readouterr().err == "Kafka is away.\n"


def test_what_a_person_has_to_mend_is_left_to_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(PermanentError):
        ends_with(monkeypatch, PermanentError("No such topic."))


def test_a_tap_that_was_stopped_just_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ends_with(monkeypatch, None)
