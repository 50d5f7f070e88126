"""What a program says of itself, set up in one call when it starts: its log, and its spans."""

from __future__ import annotations

from infra import logs
from infra.settings import Settings, SettingsError


def begin(program: str, settings: Settings) -> None:
    """Log, and trace if that is wanted, as `program`; raises `SettingsError` where OpenTelemetry is
    wanted and is not installed.
    """
    logs.begin(program, settings.log.format, settings.log.level)
    if not settings.tracing.enabled:
        return
    try:
        from infra import otel
    except ModuleNotFoundError as error:
        raise SettingsError(
            "DIFFUSION_TRACING_ENABLED is set, and OpenTelemetry is not installed: install "
            f"write-diffusion[tracing]. ({error})"
        ) from error
    otel.begin(program, settings.tracing)
