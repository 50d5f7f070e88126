"""Completion in a real bash, and scripts that the shells can read."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from diffusion.cli import app
from diffusion.completion_command import DEV, script

BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script of bash, as the command prints it."""
    done = subprocess.run(
        [sys.executable, "-m", "diffusion", "completion", "bash"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.decode() == script(app, "bash")
    path = tmp_path_factory.mktemp("completion") / "diffusion"
    path.write_bytes(done.stdout)
    return path


def completed(written: Path, line: str, folder: Path) -> list[str]:
    """What bash offers when Tab is pressed at the end of the line.

    It is asked as readline asks it: which function is registered for the first word, and that
    function with the words so far.
    """
    assert BASH is not None
    program = r"""
        source "$1"
        line=$2
        read -r -a COMP_WORDS <<<"$line"
        [[ $line == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
        COMP_LINE=$line COMP_POINT=${#line}
        registered=$(complete -p "${COMP_WORDS[0]}") || exit 3
        [[ $registered =~ -F\ ([^ ]+) ]] || exit 4
        "${BASH_REMATCH[1]}" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        [BASH, "--norc", "-c", program, "bash", str(written), line],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.skipif(BASH is None, reason="no bash here")
@pytest.mark.parametrize(
    ("line", "offered", "not_offered"),
    [
        ("diffusion ", {"up", "sync", "bench", "dlq", "completion"}, {"growth", "--help"}),
        ("diffusion st", {"status", "stream-worker"}, {"up"}),
        ("./dev st", {"status", "stream-worker"}, {"up"}),
        ("diffusion bench ", {"sync", "growth", "policy"}, {"status"}),
        ("diffusion bench growth --p", {"--plot", "--page"}, {"--seed"}),
        ("diffusion dlq replay --", {"--topic", "--upto"}, {"--limit"}),
        ("diffusion completion ", {"bash", "zsh", "fish"}, set()),
        ("diffusion import conv", {"conversations.ndjson"}, set()),
    ],
)
def test_bash_completes(
    written: Path, tmp_path: Path, line: str, offered: set[str], not_offered: set[str]
) -> None:
    (tmp_path / "conversations.ndjson").touch()
    found = set(completed(written, line, tmp_path))
    assert offered <= found
    assert not_offered.isdisjoint(found)


@pytest.mark.skipif(BASH is None, reason="no bash here")
def test_tab_on_a_terminal_completes_what_is_typed(written: Path, tmp_path: Path) -> None:
    """A real bash that reads what is typed on a terminal, Tabs included."""
    assert BASH is not None
    typed = (
        f'source {written}; diffusion() {{ echo "ran <$*>"; }}\n'
        "diffusion ben\tgro\t --pl\tx.png\n"
        "exit\n"
    )
    ours, theirs = pty.openpty()
    try:
        shell = subprocess.Popen(
            [BASH, "--norc", "--noprofile", "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=tmp_path,
            start_new_session=True,
            env={**os.environ, "TERM": "dumb", "INPUTRC": os.devnull},
        )
        os.close(theirs)
        os.write(ours, typed.encode())
        said = b""
        while True:
            try:
                part = os.read(ours, 4_096)
            except OSError:  # the last one that held the terminal has ended
                break
            if not part:
                break
            said += part
        assert shell.wait(timeout=60) == 0
    finally:
        os.close(ours)
    assert b"ran <bench growth --plot x.png>" in said


@pytest.mark.parametrize("shell", list(DEV))
def test_each_script_knows_every_command_and_completes_dev(shell: str) -> None:
    text = script(app, shell)  # type: ignore[arg-type]  # a shell of the table
    assert text.endswith(DEV[shell])  # type: ignore[index]  # likewise
    for name in app:
        if not name.startswith("-"):
            assert name in text
    program = shutil.which(shell)
    if program is not None:
        done = subprocess.run([program, "-n"], input=text, text=True, capture_output=True)
        assert (done.returncode, done.stderr) == (0, "")
