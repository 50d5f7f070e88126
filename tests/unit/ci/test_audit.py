"""The audit fails for what is known, and says so where nothing can be known. No network: pip-audit is
one of the test's own.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest

ROOT = Path(__file__).parents[3]
LOCK = "good==1.0 \\\n    --hash=sha256:00\nweak==2.0 ; python_version < '4' \\\n    --hash=sha256:11\n"
GOOD = {"name": "good", "version": "1.0", "vulns": []}
WEAK = {"name": "weak", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "good", "skip_reason": "not found"}


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class PipAudit:
    """What `python -m pip_audit` does: a report, or words on standard error."""

    def __init__(self, *reports: list[dict[str, Any]] | str) -> None:
        self._reports = list(reports)
        self.asked: list[list[str]] = []

    def run(self, command: list[str], **_: Any) -> Any:
        self.asked.append(command)
        report = self._reports.pop(0)
        done = Done()
        if isinstance(report, str):
            done.returncode, done.stderr = 1, report
        else:
            file = Path(command[command.index("--output") + 1])
            file.write_bytes(orjson.dumps({"dependencies": report, "fixes": []}))
        return done


class Done:
    returncode = 0
    stderr = ""


def run(
    tool: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    pip_audit: PipAudit,
    leave_out: list[str],
) -> int:
    monkeypatch.setattr(tool.subprocess, "run", pip_audit.run)
    lock = tmp_path / "requirements.lock"
    lock.write_text(LOCK)
    return int(tool.audit(lock, leave_out))


NO_NETWORK = "Traceback ...\nrequests.exceptions.ConnectionError: no such name"


@pytest.mark.parametrize(
    ("reports", "code", "words"),
    [
        (([GOOD], [GOOD]), 0, "0 known weaknesses in 1 locked packages"),
        (([GOOD], [GOOD, WEAK]), 1, "weak 2.0: PYSEC-1, mended in 2.1"),
        (([GOOD], [UNKNOWN, WEAK]), 1, "NOT AUDITED, because PyPI does not know them: good"),
        (([UNKNOWN],), 0, "NOT AUDITED: PyPI's advisories are not to be had from here"),
        ((NO_NETWORK,), 0, "NOT AUDITED: PyPI's advisories are not to be had from here"),
        (([GOOD], NO_NETWORK), 0, "NOT AUDITED"),
    ],
)
def test_what_is_known_fails_and_what_is_not_is_said(
    tool: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    reports: tuple[Any, ...],
    code: int,
    words: str,
) -> None:
    assert run(tool, monkeypatch, tmp_path, PipAudit(*reports), []) == code
    assert words in capsys.readouterr().out


def test_another_failure_is_one(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="no such option"):
        run(tool, monkeypatch, tmp_path, PipAudit("pip-audit: no such option"), [])


def test_what_may_stay_is_not_asked_about(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pip_audit = PipAudit([GOOD], [GOOD])
    run(tool, monkeypatch, tmp_path, pip_audit, ["PYSEC-1", "PYSEC-2"])
    command = pip_audit.asked[-1]
    at = command.index("--ignore-vuln")
    assert command[at : at + 4] == ["--ignore-vuln", "PYSEC-1", "--ignore-vuln", "PYSEC-2"]
    assert "--require-hashes" in command


def test_the_list_of_what_may_stay_has_ids_and_reasons(tool: ModuleType) -> None:
    text = (ROOT / ".ci" / "audit-ignore").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(len(line.split()) > 3 for line in lines), "an id alone is no reason"
    assert tool.ignored(text) == [line.split()[0] for line in lines]
    assert tool.ignored("# PYSEC-0 no\n\nPYSEC-1 never called here\n") == ["PYSEC-1"]
