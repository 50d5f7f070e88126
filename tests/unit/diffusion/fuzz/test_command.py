"""`diffusion fuzz` prints what it found, and ends with 1 if a law was broken."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from diffusion.fuzz_commands import run
from schemas import codec


def test_what_was_found_is_one_object(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    run(records=300, seed=5, json=True)
    told = orjson.loads(capsysbinary.readouterr().out)
    assert told["seed"] == 5
    assert told["records"]["records"] == 300
    assert told["records"]["held"] is True
    assert told["records"]["accepted"] > 0
    assert "requests" not in told


def test_a_person_reads_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    run(records=100)
    assert "100 records" in capsys.readouterr().out


def test_a_broken_law_ends_with_1_and_leaves_the_record(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(codec, "_by_shape", lambda value: None)
    with pytest.raises(SystemExit) as ended:
        run(records=1_000, failures=tmp_path, json=True)
    assert ended.value.code == 1
    output = capsysbinary.readouterr()
    first = orjson.loads(output.out)["records"]["failures"][0]
    assert first["law"] == "accounted"
    assert (tmp_path / f"record-1-{first['number']}.json").exists()
    assert b"--first NUMBER" in output.err
