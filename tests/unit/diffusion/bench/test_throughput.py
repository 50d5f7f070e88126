"""What the throughput benchmark sums up, and which answers it takes for right."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from diffusion.bench.raw_http import Answer
from diffusion.bench.throughput import (
    Rounds,
    Throughput,
    coding_of,
    held,
    raw_request,
    throughput_of,
    wrong_in,
)
from schemas.encoding import Coding, Format, compress, encode
from schemas.protocol import ConversationEntry, SyncResponse

ROUNDS = Rounds(
    api=(900.0, 800.0, 1_000.0),
    bare=(1_000.0, 500.0, 1_200.0),
    bare_concurrent=(2_000.0, 1_800.0, 2_100.0),
    spent_ms=[1.0] * 90 + [9.0] * 10,
)
TOLD = frozenset({"sg_1", "sg_2"})


def answer(*conversation_ids: str, status: int = 200) -> Answer:
    told = SyncResponse(
        "delta", tuple(ConversationEntry(cid, 7, max_seq=1) for cid in conversation_ids)
    )
    return Answer(status, encode(told, Format.MSGPACK))


def found() -> Throughput:
    return throughput_of(20, 1, ROUNDS)


def test_ratios_are_those_of_medians_and_the_rounds_are_told() -> None:
    told = found().as_json()
    assert (told["changed"], told["reads"], told["requests_per_second"]) == (20, 1, 900.0)
    assert (told["bare_requests_per_second"], told["ratio"]) == (1_000.0, 0.9)
    assert told["bare_concurrent_requests_per_second"] == 2_000.0
    assert told["ratio_concurrent"] == 0.45
    assert (told["p50_ms"], told["p99_ms"]) == (1.0, 9.0)
    assert told["bare_rounds"] == (1_000.0, 500.0, 1_200.0)


def test_the_bound_is_on_the_plain_loop() -> None:
    assert held([found()]) == {"throughput_20_changed": True}
    assert held([replace(found(), ratio=0.7)])["throughput_20_changed"]
    assert not held([replace(found(), ratio=0.699)])["throughput_20_changed"]
    assert held([]) == {}


def test_an_answer_that_tells_exactly_what_changed_is_right() -> None:
    assert wrong_in(answer("sg_2", "sg_1"), TOLD) is None
    assert wrong_in(answer(), frozenset()) is None


def test_a_packed_answer_is_unpacked() -> None:
    plain = answer("sg_1", "sg_2")
    for coding in (Coding.ZSTD, Coding.GZIP, Coding.DEFLATE):
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding.token}".encode()
        assert coding_of(head) is coding
        packed = Answer(200, compress(plain.body, coding), head)
        assert wrong_in(packed, TOLD) is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (answer("sg_1", "sg_2", status=503), "status 503"),
        (answer("sg_1"), "1 entries"),
        (answer("sg_1", "sg_1"), "other conversations"),
        (answer("sg_1", "sg_3"), "other conversations"),
        (answer("sg_1", "sg_2", "sg_3"), "3 entries"),
        (Answer(200, b"\xc1"), "cannot be read"),
        (Answer(200, encode(SyncResponse("full"), Format.MSGPACK)), "full"),
    ],
)
def test_any_other_answer_is_wrong(wrong: Answer, said: str) -> None:
    told = wrong_in(wrong, TOLD)
    assert told is not None
    assert said in told


def test_a_request_is_written_as_it_would_travel() -> None:
    request = httpx.Request(
        "POST", "http://127.0.0.1:8/v1/sync", headers={"X-A": "b"}, content=b"\x80\r\n"
    )
    raw = raw_request(request)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert body == b"\x80\r\n"
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v1/sync HTTP/1.1"
    assert b"Content-Length: 3" in lines
    assert b"Host: 127.0.0.1:8" in lines
