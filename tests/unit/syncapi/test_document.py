"""`docs/openapi.json` is what an API serves, and OpenAPI 3.1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from syncapi.document import FILE, document, main


def test_the_file_is_the_generated_one() -> None:
    assert FILE.read_bytes() == document(), "run `python -m syncapi.document`"


def test_it_is_openapi() -> None:
    described = json.loads(document())
    assert described["openapi"] == "3.1.0"
    assert "/v1/sync" in described["paths"]
    assert not list(OpenAPIV31SpecValidator(described).iter_errors())
    assert list(OpenAPIV31SpecValidator(described | {"paths": []}).iter_errors())


def test_settings_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFUSION_API_PORT", "9")
    monkeypatch.setenv("DIFFUSION_API_POKES", "false")
    assert FILE.read_bytes() == document()


def test_the_command_writes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncapi.document.FILE", tmp_path / "openapi.json")
    main()
    assert (tmp_path / "openapi.json").read_bytes() == document()
