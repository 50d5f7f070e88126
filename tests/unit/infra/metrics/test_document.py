"""The page of metrics is that of the declarations."""

from __future__ import annotations

from infra import metrics
from infra.metrics.__main__ import PAGE
from infra.metrics.document import document


def test_the_page_is_the_generated_one() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), "run `python -m infra.metrics`"


def test_every_metric_has_its_line_with_what_its_labels_can_say() -> None:
    lines = {line.split("`")[1]: line for line in document().splitlines() if line[:3] == "| `"}
    assert list(lines) == [one.name for one in metrics.declared()]
    for one in metrics.declared():
        assert one.help in lines[one.name]
        for label, values in one.labels.items():
            assert f"`{label}`: `{values[0]}`" in lines[one.name]
            assert all(f"`{value}`" in lines[one.name] for value in values)
