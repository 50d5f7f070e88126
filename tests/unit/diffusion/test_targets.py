"""Where Prometheus finds the processes that one command starts."""

from __future__ import annotations

import pytest

from diffusion import fleet
from diffusion.targets import JOBS, addresses, listed
from infra.settings import ApiSettings, MaterializerSettings, Settings, StreamSettings
from schemas.errors import PermanentError

SETTINGS = Settings(
    stream=StreamSettings(metrics_port=9100),
    materializer=MaterializerSettings(metrics_port=9110),
    api=ApiSettings(port=9000),
)


def test_every_process_of_a_command_is_listed_where_it_serves() -> None:
    found = addresses(SETTINGS, {"stream-worker": 3, "materializer": 2}, api=True)
    assert found == {
        "stream-worker": ["127.0.0.1:9100", "127.0.0.1:9101", "127.0.0.1:9102"],
        "materializer": ["127.0.0.1:9110", "127.0.0.1:9111"],
        "api": ["127.0.0.1:9000"],
    }
    served = [child.metrics_url for child in fleet.children("stream-worker", 3, SETTINGS)]
    assert served == [f"http://{address}/metrics" for address in found["stream-worker"]]


def test_each_kind_has_its_job_and_none_that_does_not_run() -> None:
    assert listed(addresses(SETTINGS, {"stream-worker": 1, "materializer": 0}, api=True)) == [
        {"targets": ["127.0.0.1:9100"], "labels": {"job": "diffusion-stream"}},
        {"targets": ["127.0.0.1:9000"], "labels": {"job": "diffusion-api"}},
    ]
    assert len(set(JOBS.values())) == len(JOBS)


def test_workers_are_asked_where_their_settings_have_them_serve() -> None:
    stream = StreamSettings(metrics_host="10.0.0.5", metrics_port=9100)
    materializer = MaterializerSettings(metrics_host="fd00::5", metrics_port=9110)
    found = addresses(
        Settings(stream=stream, materializer=materializer),
        {"stream-worker": 1, "materializer": 1},
        api=False,
    )
    assert found == {"stream-worker": ["10.0.0.5:9100"], "materializer": ["[fd00::5]:9110"]}


def test_an_api_that_speaks_tls_is_asked_so() -> None:
    stream, api = listed(addresses(SETTINGS, {"stream-worker": 1}, api=True), api_tls=True)
    assert stream["labels"] == {"job": "diffusion-stream"}
    assert api["labels"] == {"job": "diffusion-api", "__scheme__": "https"}


def test_a_port_that_is_not_set_is_a_sentence() -> None:
    with pytest.raises(PermanentError, match="DIFFUSION_MATERIALIZER_METRICS_PORT"):
        addresses(Settings(stream=SETTINGS.stream), {"materializer": 1}, api=False)


def test_ports_that_overlap_are_a_sentence() -> None:
    with pytest.raises(PermanentError, match=r"127\.0\.0\.1:9110 is the port of 2 processes"):
        addresses(SETTINGS, {"stream-worker": 11, "materializer": 1}, api=True)


@pytest.mark.parametrize("count", [-1, 257])
def test_a_count_without_sense_is_a_sentence(count: int) -> None:
    with pytest.raises(PermanentError, match="--stream-workers is"):
        addresses(SETTINGS, {"stream-worker": count}, api=True)


def test_an_address_of_ipv6_has_brackets() -> None:
    settings = SETTINGS.model_copy(update={"api": ApiSettings(host="::1", port=9000)})
    assert addresses(settings, {}, api=True) == {"api": ["[::1]:9000"]}
