"""What a worker tells those who look after it."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from infra import probes
from infra.local.ports import free_ports
from infra.local.settings import LOOPBACK
from infra.metrics import Program
from schemas.errors import PermanentError, RetryableError


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_readiness_and_metrics() -> None:
    (port,) = free_ports(1)
    away = True

    def kafka() -> None:
        if away:
            raise RetryableError("nobody answers")

    checks: dict[str, probes.Check] = {"kafka": kafka, "cassandra": lambda: None}
    probes.serve(Program.STREAM, LOOPBACK, port, checks)
    assert ask(port, "/healthz") == (200, "ok\n")
    assert ask(port, "/readyz") == (503, "kafka: nobody answers\n")
    away = False
    assert ask(port, "/readyz") == (200, "ok\n")
    status, text = ask(port, "/metrics")
    assert status == 200
    for own in ("diffusion_stream_events_total", "diffusion_process_peak_resident_bytes"):
        assert own in text
    assert "diffusion_materializer" not in text
    with pytest.raises(PermanentError, match=f"{port} for /metrics cannot be had"):
        probes.serve(Program.STREAM, LOOPBACK, port, {})


def test_port_0_serves_nothing() -> None:
    probes.serve(Program.STREAM, LOOPBACK, 0, {})
