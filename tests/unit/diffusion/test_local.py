"""Whose the servers are: ours on this machine, or somebody else's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from diffusion.local import managed
from diffusion.system import running
from infra.settings import Settings
from schemas.errors import PermanentError

FILE = Path(__file__)
SASL = {"security_protocol": "SASL_SSL", "sasl_username": "me", "sasl_password": "hunter2"}


@pytest.mark.parametrize(
    ("settings", "ours"),
    [
        ({}, True),
        ({"local": {"manage": False}}, False),
        ({"kafka": {"bootstrap_servers": "kafka-1:9092"}}, False),
        ({"cassandra": {"contact_points": "10.0.0.5"}}, False),
        ({"kafka": SASL}, False),
        ({"kafka": {"security_protocol": "SSL"}}, False),
        ({"cassandra": {"tls": True}}, False),
    ],
)
def test_servers_that_ours_cannot_be_are_somebody_elses(
    settings: dict[str, Any], *, ours: bool
) -> None:
    assert (managed(Settings(**settings)) is not None) == ours


def test_a_demonstration_over_tls_is_refused_before_anything_begins(tmp_path: Path) -> None:
    settings = Settings(api={"tls_cert_file": FILE, "tls_key_file": FILE})
    arguments: dict[str, Any] = {"logs": tmp_path, "stream_workers": 1, "materializers": 1}
    with (
        pytest.raises(PermanentError, match=r"unset api\.tls_cert_file"),
        running(settings, **arguments, report=print),
    ):
        raise AssertionError
