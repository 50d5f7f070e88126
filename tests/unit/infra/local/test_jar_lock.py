"""The lock: what is written is read back, and what is wrong in it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.errors import LockFormatError
from infra.local.jar_lock import LOCK_PATH, Jar, parse_lock, read_lock, render_lock
from infra.local.lock import ROOTS

HASH = "0" * 64
PLAIN = Jar("org.example", "server", "1.0", "", HASH)
NATIVE = Jar("org.example", "native", "1.0", "linux-x86_64", HASH)


def test_what_is_rendered_is_parsed() -> None:
    lock = {"kafka": (PLAIN, NATIVE), "cassandra": (PLAIN,)}
    assert parse_lock(render_lock(lock)) == lock


def test_names_follow_maven() -> None:
    assert NATIVE.coordinate == "org.example:native:1.0:linux-x86_64"
    assert NATIVE.path_in(Path("jars")) == Path("jars/org.example/native-1.0-linux-x86_64.jar")
    assert PLAIN.path_in(Path("jars")) == Path("jars/org.example/server-1.0.jar")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (f"org.example:server:1.0 {HASH}", 1, "before the first"),
        (f"[kafka]\n# comment\norg.example:server {HASH}", 3, "not a"),
        ("[kafka]\norg.example:server:1.0 abc", 2, "not a"),
        ("[kafka]\norg.example:server:1.0", 2, "not a"),
    ],
)
def test_a_broken_line_is_named(text: str, line: int, words: str) -> None:
    with pytest.raises(LockFormatError, match=rf"line {line}: .*{words}"):
        parse_lock(text)


def test_a_missing_lock_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LockFormatError, match="the file is missing"):
        read_lock(tmp_path / "jars.lock")


def test_the_committed_lock_starts_with_the_pinned_servers() -> None:
    lock = read_lock()
    assert list(lock) == list(ROOTS)
    for name, roots in ROOTS.items():
        assert [jar.coordinate for jar in lock[name][: len(roots)]] == list(roots)
        files = [jar.path_in(Path()) for jar in lock[name]]
        assert len(files) == len(set(files))


def test_the_committed_lock_names_no_host() -> None:
    assert "//" not in LOCK_PATH.read_text(encoding="utf-8")
