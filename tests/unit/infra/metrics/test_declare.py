"""The rules of metrics, and that the declarations keep them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from infra import metrics
from infra.metrics.declare import Declared, Program, counter, declared, gauge, histogram
from syncapi.connections import Close
from syncapi.problems import PROBLEMS

ROOT = Path(__file__).parents[4]
ALL = list(declared())


def exported(program: Program) -> dict[str, list[tuple[str, dict[str, str]]]]:
    """Family -> its samples, as a process of the program exports them."""
    text = generate_latest(metrics.registry_of(program)).decode()
    return {
        family.name: [(sample.name, sample.labels) for sample in family.samples]
        for family in text_string_to_metric_families(text)
    }


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_a_declaration_says_what_it_is(one: Declared) -> None:
    assert one.help.endswith(".")
    assert one.help[0].isupper() or one.help[0].isdigit()
    assert one.name.endswith("_total") == (one.kind == "counter")
    assert not re.search(r"_(seconds|bytes)_(?!total)", one.name), "the unit comes last"
    if re.match(r"(Time from|Age of)\b", one.help):
        assert one.name.endswith("_seconds")


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_a_metric_is_set_somewhere(one: Declared) -> None:
    """By the name of its variable: `metrics.<name>`, or imported from here."""
    names = [name for name, value in vars(metrics).items() if value is one.metric]
    sources = [
        path.read_text()
        for package in ("infra", "streams", "consumers", "syncapi")
        for path in (ROOT / package).rglob("*.py")
    ]
    assert len(names) == 1
    uses = sum(len(re.findall(rf"\b{names[0]}\b", source)) for source in sources)
    assert uses > 1, "it is declared only"


def test_every_declaration_is_made_by_the_functions_that_check_it() -> None:
    tree = ast.parse((ROOT / "infra/metrics/__init__.py").read_text())
    made = [
        node.value.func.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id in {"counter", "gauge", "histogram"}
    ]
    assert len(made) == len(ALL)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("stream_things", {}),
        ("diffusion_device_things", {}),
        ("diffusion_stream_wait_ms", {}),
        ("diffusion_stream_size_kb", {}),
        ("diffusion_stream_things_total", {}),
        ("diffusion_stream_things", {"user": ("ann",)}),
        ("diffusion_stream_things", {"conversation_id": ("sg_1",)}),
        ("diffusion_stream_things", {"kind": ()}),
        ("diffusion_stream_things", {"kind": [str(number) for number in range(65)]}),
    ],
)
def test_what_breaks_a_rule_is_not_declared(name: str, labels: dict[str, tuple[str, ...]]) -> None:
    before = list(declared())
    with pytest.raises(AssertionError):
        gauge(name, "Something.", **labels)
    assert list(declared()) == before


def test_a_counter_ends_in_total_and_buckets_rise() -> None:
    with pytest.raises(AssertionError):
        counter("diffusion_stream_things", "Something.")
    with pytest.raises(AssertionError):
        histogram("diffusion_stream_things_seconds", "Something.", (1, 0.5))


def test_every_combination_of_labels_is_there_from_the_beginning() -> None:
    families = exported(Program.API)
    samples = families["diffusion_api_syncs"]
    assert len(samples) == len(metrics.PATHS) * len(metrics.REASONS)
    assert ("diffusion_api_syncs_total", {"path": "full", "reason": "fresh"}) in samples


def test_a_program_exports_its_own_and_what_is_common() -> None:
    for program in Program:
        parts = {name.split("_")[1] for name in exported(program) if name.startswith("diffusion_")}
        assert parts == {program.value, "store", "process"}
        assert "process_start_time_seconds" in exported(program)
    assert not [name for name in exported(Program.API) if name.endswith("_created")]


def test_labels_can_say_what_the_code_says() -> None:
    labels = {one.name: one.labels for one in ALL}
    statuses = labels["diffusion_api_errors_total"]["status"]
    assert {str(status) for status, _ in PROBLEMS.values()} <= set(statuses)
    reasons = labels["diffusion_api_closes_total"]["reason"]
    assert {close.label for close in Close} | {"gone"} == set(reasons)


def test_an_exporter_of_a_program_is_its_own_registry() -> None:
    assert isinstance(metrics.registry_of(Program.STREAM), CollectorRegistry)
    assert metrics.registry_of(Program.STREAM) is not metrics.registry_of(Program.STREAM)
