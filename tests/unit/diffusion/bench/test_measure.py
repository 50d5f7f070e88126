"""Quantiles, repetitions, and a transport that rehearses what it is then told to send."""

from __future__ import annotations

import os

import httpx
import pytest

from diffusion.bench import measure
from diffusion.bench.measure import (
    REPETITIONS_MIN,
    WARM_UP,
    RehearsingTransport,
    cpu_ms,
    quantile,
    repeated,
    times_of,
)
from schemas.encoding import Format, encode
from schemas.protocol import SyncRequest, SyncResponse
from sdk.client import HttpTransport


def test_quantiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert quantile(values, 0.5) == 50
    assert quantile(values, 0.99) == 99
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3
    assert quantile([7.0], 0.5) == 7


def test_cpu_time_is_shared_out_over_the_repetitions() -> None:
    assert times_of([1.0, 2.0, 9.0, 3.0], 20.0) == measure.Times(4, 2.0, 9.0, 5.0)


def test_cpu_time_of_a_process_grows_with_its_work() -> None:
    before = cpu_ms(os.getpid())
    sum(number * number for number in range(2_000_000))
    assert cpu_ms(os.getpid()) > before


def test_repetitions_are_bounded_by_number_and_by_time() -> None:
    calls: list[int] = []
    assert len(repeated(lambda: calls.append(1), most=5, seconds=60)) == len(calls) == 5
    assert len(repeated(lambda: None, most=5, seconds=0)) == REPETITIONS_MIN


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Bodies that were sent, over every transport; the answer is always the same."""
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.read())
        return httpx.Response(
            200,
            stream=httpx.ByteStream(encode(SyncResponse("delta"), Format.MSGPACK)),
            headers={"Content-Type": "application/msgpack"},
        )

    monkeypatch.setattr(
        measure,
        "HttpTransport",
        lambda url, token: HttpTransport(url, token, wire=httpx.MockTransport(answer)),
    )
    return sent


def test_only_the_request_it_was_prepared_for_is_rehearsed(
    answered: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = RehearsingTransport("http://127.0.0.1:1", "token", os.getpid())
    first, second = SyncRequest("phone"), SyncRequest("phone", cursor="c")
    transport.send(first)
    assert len(answered) == 1
    assert transport.rehearsed is None
    monkeypatch.setattr(measure, "ROUND", 2)
    transport.prepare(5)
    assert transport.send(second).path == "delta"
    assert len(answered) == 1 + WARM_UP + 5 + 1
    assert set(answered[1:]) == {encode(second, Format.MSGPACK)}
    found = transport.rehearsed
    assert found is not None
    assert (found.round_trips, found.bytes_up) == (1, len(answered[-1]))
    assert found.bytes_down == len(encode(SyncResponse("delta"), Format.MSGPACK))
    assert found.times.count == 5
    assert transport.traffic.round_trips == 2, "rehearsals are not traffic of the device"
    transport.send(first)
    assert len(answered) == 1 + WARM_UP + 5 + 2
    transport.close()
