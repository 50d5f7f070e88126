"""An import that is killed, at any event, and resumed, as often as that: nothing is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.importing import plan, progress
from diffusion.importing.run import Rejection, rejected_path, run
from diffusion.oracle import Oracle, compare
from schemas.errors import PermanentError
from schemas.events import Read, WriteEvent
from schemas.imports import LINE_BYTES_MAX, ImportLine, UserLine
from tests.imports import encode, expected, world

USERS = ["ann", "bob", "eve", "joe", "kim"]
LINES = world(12, 4, USERS, "")
BAD = b"nonsense\n"


class Killed(Exception):
    """The process is gone."""


class Log:
    """Kafka and the producer: what is sent waits, and a kill loses what the draw says of it."""

    def __init__(self) -> None:
        self.delivered: list[WriteEvent] = []
        self.waiting: list[WriteEvent] = []
        self.steps_left: int | None = None

    def send(self, event: WriteEvent) -> None:
        self._step()
        self.waiting.append(event)

    def flush(self) -> None:
        self._step()
        self.delivered += self.waiting
        self.waiting.clear()

    def lose(self, kept: int) -> None:
        self.delivered += self.waiting[:kept]
        self.waiting.clear()

    def _step(self) -> None:
        if self.steps_left is not None:
            if not self.steps_left:
                raise Killed
            self.steps_left -= 1


def do(
    file: Path, log: Log, *, resume: bool = False, on_rejected: Callable[..., None] = lambda _: None
) -> progress.Progress:
    start = progress.start(file, resume=resume)
    return run(file, log, start, on_rejected=on_rejected, checkpoint_events=5)


def mixed(lines: list[ImportLine], every: int) -> bytes:
    """The lines, with a bad one before each so many."""
    texts = encode(lines).splitlines(keepends=True)
    return b"".join(BAD + text if not number % every else text for number, text in enumerate(texts))


def assert_exact(log: Log) -> None:
    oracle = Oracle()
    oracle.replay(log.delivered)
    for user, states in expected(LINES).items():
        assert compare(states, oracle.states(user)) == []


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 10)), max_size=6), st.integers(1, 9))
def test_any_number_of_kills_anywhere_ends_exact(kills: list[tuple[int, int]], every: int) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "all.ndjson"
        file.write_bytes(mixed(LINES, every))
        log, resume = Log(), False
        for steps, kept in kills:
            log.steps_left = steps
            try:
                do(file, log, resume=resume)
            except Killed:
                log.lose(kept)
            resume = True
        log.steps_left = None
        done = do(file, log, resume=resume)
        bad = -(-len(LINES) // every)
        assert (done.rejected, done.lines) == (bad, len(LINES) + bad)
        assert rejected_path(file).read_bytes() == BAD * bad, "each of them once"
        assert done.offset == file.stat().st_size
        assert done.events == sum(len(list(plan.events(line))) for line in LINES)
    assert_exact(log)


def test_what_comes_again_is_at_most_what_was_not_noted(tmp_path: Path) -> None:
    file = tmp_path / "all.ndjson"
    reads = [UserLine("ann", f"sg_{number}", read_seq=1) for number in range(23)]
    file.write_bytes(encode(reads))
    log = Log()
    log.steps_left = 5 + 1 + 4
    with pytest.raises(Killed):
        do(file, log)
    log.lose(4)
    log.steps_left = None
    do(file, log, resume=True)
    again = [f"sg_{number}" for number in [*range(9), *range(5, 23)]]
    assert log.delivered == [Read("ann", room, 1) for room in again]


def test_bad_lines_are_numbered_and_kept_as_they_are(tmp_path: Path) -> None:
    file, log, found = tmp_path / "all.ndjson", Log(), list[Rejection]()
    long = b"[" + b"1," * LINE_BYTES_MAX + b"1]\n"
    good = encode([UserLine("ann", "sg_1", read_seq=1)])
    file.write_bytes(good + BAD + b"\n" + long + good + b"{}")
    done = do(file, log, on_rejected=found.append)
    assert [one.line for one in found] == [2, 4, 6]
    assert "several lines" in found[1].reason
    assert (done.lines, done.rejected, len(log.delivered)) == (6, 3, 2)
    assert rejected_path(file).read_bytes() == BAD + long + b"{}\n"


def test_a_file_without_bad_lines_leaves_no_file_of_them(tmp_path: Path) -> None:
    file = tmp_path / "all.ndjson"
    file.write_bytes(encode(LINES))
    do(file, Log())
    assert not rejected_path(file).exists()


def test_what_was_begun_is_not_begun_again_unasked(tmp_path: Path) -> None:
    file, log = tmp_path / "all.ndjson", Log()
    file.write_bytes(encode(LINES))
    do(file, log)
    count = len(log.delivered)
    with pytest.raises(PermanentError, match="--resume"):
        do(file, log)
    do(file, log, resume=True)
    assert len(log.delivered) == count, "nothing was left to do"


def test_bad_lines_that_are_being_mended_are_left_alone(tmp_path: Path) -> None:
    file, log = tmp_path / "all.ndjson", Log()
    file.write_bytes(BAD + encode(LINES))
    do(file, log)
    mended = encode([UserLine("ann", "sg_1", read_seq=1)])
    rejected_path(file).write_bytes(mended)
    assert do(file, log, resume=True).rejected == 1
    assert rejected_path(file).read_bytes() == mended


def test_a_place_that_cannot_be_noted_is_a_sentence(tmp_path: Path) -> None:
    file, log = tmp_path / "all.ndjson", Log()
    file.write_bytes(encode(LINES))
    (tmp_path / "all.ndjson.progress.new").mkdir()
    with pytest.raises(PermanentError, match="folder can be written to"):
        do(file, log)
    assert not log.delivered


def test_another_file_is_not_resumed(tmp_path: Path) -> None:
    file = tmp_path / "all.ndjson"
    file.write_bytes(encode(LINES))
    do(file, Log())
    file.write_bytes(encode(LINES[1:]))
    with pytest.raises(PermanentError, match="not the file"):
        do(file, Log(), resume=True)


def test_a_damaged_place_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "all.ndjson"
    file.write_bytes(encode(LINES))
    progress.path_of(file).write_bytes(b"{}")
    with pytest.raises(PermanentError, match="Delete it"):
        do(file, Log(), resume=True)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="cannot be read"):
        progress.start(tmp_path / "none.ndjson", resume=False)


def test_a_file_that_changes_meanwhile_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "all.ndjson"
    file.write_bytes(encode(LINES))

    class Growing(Log):
        def flush(self) -> None:
            super().flush()
            with file.open("ab") as opened:
                opened.write(b"\n")

    with pytest.raises(PermanentError, match="was changed"):
        do(file, Growing())
