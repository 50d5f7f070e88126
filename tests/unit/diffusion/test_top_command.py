"""`diffusion top` where nothing runs, and where one process does."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from diffusion.top_command import top
from infra import metrics
from infra.local.ports import free_ports
from schemas.errors import PermanentError
from tests.unit.infra.figures.test_scrape import exported, served


def listed(path: Path, address: str) -> str:
    groups = [{"targets": [address], "labels": {"job": "diffusion-materializer"}}]
    path.write_bytes(orjson.dumps(groups))
    return str(path)


def test_once_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(body=exported(metrics.Program.MATERIALIZER)) as address:
        top(once=True, interval=0.5, targets=listed(tmp_path / "targets.json", address))
    text = capsys.readouterr().out
    assert "1 of 1 processes work" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_where_the_output_is_no_terminal_it_ends_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(body=exported(metrics.Program.MATERIALIZER)) as address:
        top(interval=0.5, targets=listed(tmp_path / "targets.json", address))
    assert "DIFFUSION VOLUME" in capsys.readouterr().out


def test_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(body=exported(metrics.Program.MATERIALIZER)) as address:
        top(json=True, interval=0.5, targets=listed(tmp_path / "targets.json", address))
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    found = orjson.loads(text)
    assert found["volume"]["rows_per_s"] is not None
    assert found["volume"]["events_per_s"] is None
    assert [one["state"] for one in found["processes"]] == ["up"]


def test_when_nobody_answers_the_exit_code_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (port,) = free_ports(1)
    with pytest.raises(SystemExit) as ended:
        top(once=True, interval=0.5, targets=listed(tmp_path / "t.json", f"127.0.0.1:{port}"))
    told = capsys.readouterr()
    assert ended.value.code == 1
    assert "No process answers." in told.err
    assert "`diffusion materializer`" in " ".join(told.out.split())


def test_when_nobody_is_listed_it_says_what_to_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        top(once=True, interval=0.5, targets=str(tmp_path / "*.json"))
    assert "`diffusion up`" in capsys.readouterr().out


@pytest.mark.parametrize("interval", [0.1, 61, float("nan")])
def test_an_interval_that_makes_no_sense(interval: float) -> None:
    with pytest.raises(PermanentError, match="give seconds from"):
        top(interval=interval)


def test_authorities_that_cannot_be_used(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    with pytest.raises(PermanentError, match=r"ca\.pem, which cannot be used \(No such file"):
        top(ca_file=ca_file)
    ca_file.write_text("no certificate")
    with pytest.raises(PermanentError, match="name a file of certificates in PEM"):
        top(ca_file=ca_file)
