"""`./dev audit`: known weaknesses of the packages in `requirements.lock`, by PyPI's advisories.

Exit code 1 for any that `.ci/audit-ignore` does not name. Where the advisories cannot be reached
nothing is known, which is said, and is no fault of the change that is looked at. An index that
passes packages on but no advisories answers "not found" for each; one question tells.
"""

# ruff: noqa: INP001  # a script

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
IGNORED = ROOT / ".ci" / "audit-ignore"

_PIN = re.compile(r"^[A-Za-z0-9][^ ;\\]*==[^ ;\\]+", re.MULTILINE)
_NO_NETWORK = re.compile(r"requests\.exceptions\.|Could not connect")


class NotReachedError(Exception):
    """The advisories did not answer; the text says how."""


def ask(requirements: Path, *options: str) -> list[dict[str, Any]]:
    """What pip-audit reports of each package. Raises `NotReachedError`, and `SystemExit` with its
    own words for any other failure.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = ["--requirement", str(requirements), "--disable-pip", "--progress-spinner", "off"]
        done = subprocess.run(  # noqa: S603  # our own command
            [
                *(sys.executable, "-m", "pip_audit", *command, *options),
                *("--format", "json", "--output", str(report)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        # Written when all were asked about, and only then.
        if report.exists():
            found: list[dict[str, Any]] = orjson.loads(report.read_bytes())["dependencies"]
            return found
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    if _NO_NETWORK.search(done.stderr):
        raise NotReachedError(lines[-1][:200])
    raise SystemExit("\n".join(["pip-audit failed:", *lines[-15:]]))


def ignored(text: str) -> list[str]:
    """Ids that the file leaves out: the first word of each line that is no comment."""
    lines = (line.split() for line in text.splitlines())
    return [words[0] for words in lines if words and not words[0].startswith("#")]


def audit(lock: Path, leave_out: list[str]) -> int:
    """Ask, and say what was found; the exit code."""
    began_s = time.monotonic()
    pins = _PIN.findall(lock.read_text())
    try:
        _try_one(pins[0])
        options = [word for name in leave_out for word in ("--ignore-vuln", name)]
        packages = ask(lock, "--require-hashes", *options)
    except NotReachedError as error:
        _say(f"NOT AUDITED: PyPI's advisories are not to be had from here ({error}).")
        return 0
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    weak = [(one, known) for one in packages for known in one.get("vulns", ())]
    for one, known in weak:
        mended = ", ".join(known["fix_versions"]) or "no release"
        _say(f"{one['name']} {one['version']}: {known['id']}, mended in {mended}")
    if skipped:
        _say(f"NOT AUDITED, because PyPI does not know them: {', '.join(skipped)}")
    asked, seconds = len(packages) - len(skipped), time.monotonic() - began_s
    _say(f"{len(weak)} known weaknesses in {asked} locked packages ({seconds:.0f} s)")
    if weak:
        _say("Lock what mends them, or name them in .ci/audit-ignore with the reason.")
    return 1 if weak else 0


def _try_one(pin: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "first.txt"
        first.write_text(pin)
        if any("skip_reason" in one for one in ask(first, "--no-deps")):
            raise NotReachedError(f"the index here knows nothing of {pin}")


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")


if __name__ == "__main__":
    sys.exit(audit(LOCK, ignored(IGNORED.read_text())))
