"""What a person sees: sentences and progress on standard error. Results go to standard output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


class Console:
    """Sentences always; moving progress only on a terminal, else a line when a step is done."""

    def __init__(self) -> None:
        self._rich = RichConsole(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """Print a sentence."""
        self._rich.print(text, markup=False)

    def server(self, name: str, what: str) -> None:
        """Print what a server is doing."""
        self._rich.print(f"{name}: {what}", markup=False)

    @contextmanager
    def progress(self, label: str, total: int | None = None) -> Iterator[Callable[..., None]]:
        """A bar for one step; what is yielded takes `advance=` or `completed=`, `total=`."""
        bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._rich,
            # Many updates a second cost more than the work they tell of.
            refresh_per_second=4,
        )
        with bar:
            task = bar.add_task(label, total=total)

            def update(**change: float | None) -> None:
                bar.update(task, **change)  # type: ignore[arg-type]

            yield update
