"""The HTTP shell: every request is answered, by a sync answer or by a problem document."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient

from diffusion.fuzz import hostile
from infra.cassandra.session import StoreRefused, StoreUnavailable
from infra.settings import Settings
from schemas.encoding import Coding, Format, compress, decode, decompress, encode
from schemas.frames import PROBLEM_TYPE
from schemas.limits import (
    ANSWER_BYTES_MAX,
    CHANGES_PER_ANSWER_MAX,
    CURSOR_CHARS_MAX,
    REQUEST_BYTES_MAX,
)
from schemas.protocol import SyncRequest, SyncResponse
from syncapi.app import build
from syncapi.auth import issue
from tests.unit.syncapi.support import Moody, run
from tests.unit.syncapi.test_service import joined, message

GOOD = {"device_id": "phone"}


@pytest.fixture(scope="module")
def store() -> Moody:
    store = Moody()
    store.add(*joined("sg_1", "sg_2"), message("sg_1", 4))
    return store


@pytest.fixture(scope="module")
def client(store: Moody) -> Iterator[TestClient[Any]]:
    with TestClient(build(Settings(), store), raise_server_exceptions=False) as client:
        yield client
    assert store.closed


def bearer(user: str = "ann") -> dict[str, str]:
    token = issue(Settings().api, user, now_ms=time.time_ns() // 1_000_000, lifetime_s=600)
    return {"Authorization": f"Bearer {token}"}


def post(client: TestClient[Any], body: Any, headers: dict[str, str] | None = None) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(
        "/v1/sync", content=content, headers=bearer() if headers is None else headers
    )


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith(PROBLEM_TYPE)
    found: dict[str, Any] = response.json()
    assert found["status"] == status
    assert found["title"]
    return found


# Answers.


def test_who_has_nothing_gets_everything_and_then_a_delta(client: TestClient[Any]) -> None:
    first = post(client, GOOD)
    assert first.status_code == 200
    told = first.json()
    assert (told["path"], told["reason"]) == ("full", "fresh")
    assert [entry["conversation_id"] for entry in told["conversations"]] == ["sg_1", "sg_2"]
    second = post(client, {**GOOD, "cursor": told["cursor"]}).json()
    assert second["path"] == "delta"
    assert "reason" not in second


def test_the_user_is_the_tokens_and_nobody_elses(client: TestClient[Any]) -> None:
    told = post(client, GOOD).json()
    refused = problem(post(client, {**GOOD, "cursor": told["cursor"]}, bearer("bob")), 400)
    assert refused["reason"] == "other_user"


def test_a_damaged_cursor_is_refused_with_a_reason(client: TestClient[Any]) -> None:
    for text in ("x", "é", "%%%", "A" * CURSOR_CHARS_MAX):
        for kind in ("cursor", "page"):
            refused = problem(post(client, {**GOOD, kind: text}), 400)
            assert refused["reason"] == "unreadable"
            assert refused["detail"]


def test_unknown_fields_are_ignored(client: TestClient[Any]) -> None:
    plain, more = post(client, GOOD), post(client, {**GOOD, "new": {"a": [None]}, "newer": 1})
    assert plain.status_code == more.status_code == 200
    assert more.json()["conversations"] == plain.json()["conversations"]


# Forms.


@pytest.mark.parametrize(("asked", "answered"), list(product(Format, Format)))
@pytest.mark.parametrize("coding", Coding)
def test_every_form_of_a_request_is_read_and_every_form_of_an_answer_written(
    client: TestClient[Any], asked: Format, answered: Format, coding: Coding
) -> None:
    response = client.post(
        "/v1/sync",
        content=compress(encode(SyncRequest("phone"), asked), coding),
        headers=bearer()
        | {"Content-Type": asked.value, "Content-Encoding": coding.token}
        | {"Accept": answered.value, "Accept-Encoding": "identity"},
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == answered.value
    assert "content-encoding" not in response.headers
    assert "vary" not in response.headers, "what answers a POST is kept by nobody"
    told = decode(response.content, SyncResponse, answered)
    assert [entry.conversation_id for entry in told.conversations] == ["sg_1", "sg_2"]


def test_an_answer_has_the_format_of_the_request_when_nothing_is_said(
    client: TestClient[Any],
) -> None:
    for form in Format:
        headers = bearer() | {"Content-Type": form.value, "Accept": "*/*"}
        response = post(client, encode(SyncRequest("phone"), form), headers)
        assert response.headers["content-type"] == form.value


def raw(client: TestClient[Any], headers: dict[str, str]) -> tuple[Any, bytes]:
    """An answer as it came: the test client would unpack it."""
    with client.stream("POST", "/v1/sync", content=encode(SyncRequest("phone"), Format.JSON), headers=headers) as answer:  # fmt: skip
        return answer.headers, b"".join(answer.iter_raw())


@pytest.mark.parametrize("coding", [Coding.ZSTD, Coding.DEFLATE, Coding.GZIP])
def test_a_long_answer_is_compressed_for_who_takes_it(
    store: Moody, client: TestClient[Any], coding: Coding
) -> None:
    store.add(*joined(*(f"sg_{n}" for n in range(40)), user="cid"))
    plain_headers, plain = raw(client, bearer("cid") | {"Accept-Encoding": "identity"})
    headers, packed = raw(client, bearer("cid") | {"Accept-Encoding": coding.token})
    assert "content-encoding" not in plain_headers
    assert headers["content-encoding"] == coding.token
    assert int(headers["content-length"]) == len(packed) < len(plain) / 2
    told, unpacked = (
        decode(body, SyncResponse, Format.JSON)
        for body in (plain, decompress(packed, coding, ANSWER_BYTES_MAX))
    )
    assert told.conversations == unpacked.conversations
    assert len(told.conversations) == 40


def test_a_short_answer_is_compressed_for_who_takes_nothing_else(client: TestClient[Any]) -> None:
    told = post(client, GOOD).json()
    body = {**GOOD, "cursor": told["cursor"]}
    for accepted, coding in (("gzip", None), ("gzip, identity;q=0", "gzip")):
        response = post(client, body, bearer() | {"Accept-Encoding": accepted})
        assert response.headers.get("content-encoding") == coding
        assert response.json()["path"] == "delta"


def test_what_cannot_be_negotiated_is_a_problem_in_json(client: TestClient[Any]) -> None:
    form = post(client, GOOD, bearer() | {"Content-Type": "application/x-www-form-urlencoded"})
    problem(form, 415)
    assert form.headers["accept"] == "application/json, application/msgpack"
    coding = post(client, GOOD, bearer() | {"Content-Encoding": "br"})
    problem(coding, 415)
    assert coding.headers["accept-encoding"] == "zstd, deflate, gzip, identity"
    problem(post(client, GOOD, bearer() | {"Accept": "text/html"}), 406)
    problem(post(client, GOOD, bearer() | {"Accept-Encoding": "identity;q=0"}), 406)
    problem(post(client, GOOD, bearer() | {"Accept": "a" * 2_000}), 431)
    problem(post(client, b"{", bearer() | {"Accept": "application/msgpack"}), 400)


# Requests that do not fit.


@pytest.mark.parametrize("form", Format)
def test_a_body_that_does_not_fit_is_a_problem(client: TestClient[Any], form: Format) -> None:
    headers = bearer() | {"Content-Type": form.value}
    for body in (*hostile.unreadable_bodies(form), *hostile.unfit_requests(form)):
        found = problem(post(client, body, headers), 400)
        assert 0 < len(found["detail"]) < 300, body[:60]


def test_the_problem_names_the_field(client: TestClient[Any]) -> None:
    assert "changes_max" in problem(post(client, {**GOOD, "changes_max": 0}), 400)["detail"]


@pytest.mark.parametrize("version", hostile.UNSUPPORTED)
def test_an_unknown_version_is_refused_with_the_known_ones(
    client: TestClient[Any], version: int
) -> None:
    found = problem(post(client, {**GOOD, "v": version}), 400)
    assert found["supported"] == [1]
    assert "update" in found["detail"]


@pytest.mark.parametrize("coding", [Coding.ZSTD, Coding.DEFLATE, Coding.GZIP])
def test_a_body_that_cannot_be_unpacked_is_a_problem(
    client: TestClient[Any], coding: Coding
) -> None:
    headers = bearer() | {"Content-Encoding": coding.token}
    packed = compress(json.dumps(GOOD).encode() * 9, coding)
    for body in (b"", b"{}", packed[:-1], packed + b"x", packed + packed):
        problem(post(client, body, headers), 400)
    for size in (REQUEST_BYTES_MAX + 1, 2**26, 2**30):
        problem(post(client, hostile.bomb(coding, size), headers), 413)


def test_a_client_that_goes_away_within_its_body_is_no_error_of_ours(
    client: TestClient[Any], caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Any] = []
    received = iter(
        [
            {"type": "http.request", "body": b'{"device', "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Any:
        return next(received)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/sync",
        "raw_path": b"/v1/sync",
        "query_string": b"",
        "headers": [(b"authorization", bearer()["Authorization"].encode())],
        "server": ("localhost", 80),
        "client": ("localhost", 1),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
    }
    run(client.app(scope, receive, send))
    assert sent[0]["status"] == 400
    assert caplog.records == []


def test_a_body_in_pieces_is_put_together(client: TestClient[Any]) -> None:
    body = json.dumps(GOOD).encode()

    def pieces() -> Iterator[bytes]:
        for place in range(len(body)):
            yield body[place : place + 1]

    whole = post(client, GOOD)
    cut = client.post("/v1/sync", content=pieces(), headers=bearer())
    assert cut.status_code == whole.status_code == 200
    assert cut.json()["conversations"] == whole.json()["conversations"]


def test_another_spelling_of_the_path_is_answered_alike(client: TestClient[Any]) -> None:
    plain, other = (
        client.post(path, content=json.dumps(GOOD).encode(), headers=bearer())
        for path in ("/v1/sync", "/v1/sync/")
    )
    assert other.status_code == 200
    assert other.json()["conversations"] == plain.json()["conversations"]
    assert other.headers["content-type"] == plain.headers["content-type"]
    problem(client.post("/v1/sync/", content=b"{", headers=bearer()), 400)
    problem(client.post("/v1/sync/", content=b"{", headers={}), 401)


def test_a_body_above_the_bound_is_refused_for_its_size(client: TestClient[Any]) -> None:
    body = json.dumps({**GOOD, "cursor": "x" * REQUEST_BYTES_MAX}).encode()
    problem(post(client, body), 413)


def test_a_body_above_the_bound_that_does_not_say_so_is_refused(client: TestClient[Any]) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(2 * REQUEST_BYTES_MAX // 1_024):
            yield b"x" * 1_024

    problem(client.post("/v1/sync", content=chunks(), headers=bearer()), 413)


def test_nobodys_body_is_not_looked_at(client: TestClient[Any]) -> None:
    problem(client.post("/v1/sync", content=b"x" * (2 * REQUEST_BYTES_MAX), headers={}), 401)


# Who asks.


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic YW5uOng="},
    ],
)
def test_a_request_of_nobody_is_a_problem(client: TestClient[Any], headers: dict[str, str]) -> None:
    response = post(client, GOOD, headers)
    problem(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"


def test_an_expired_token_says_so(client: TestClient[Any]) -> None:
    token = issue(Settings().api, "ann", now_ms=0, lifetime_s=60)
    assert (
        "expired"
        in problem(post(client, GOOD, {"Authorization": f"Bearer {token}"}), 401)["detail"]
    )


# Other places.


@pytest.mark.parametrize("path", ["/v1", "/v1/sync/x", "/v2/sync", "/..%2f", "/%ff"])
def test_an_unknown_place_is_a_problem(client: TestClient[Any], path: str) -> None:
    problem(client.post(path, content=b"{}", headers=bearer()), 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_a_problem(client: TestClient[Any], method: str) -> None:
    problem(client.request(method, "/v1/sync", headers=bearer()), 405)


# The store.


@pytest.fixture
def away(store: Moody) -> Iterator[Moody]:
    store.error = StoreUnavailable("Cassandra did not answer: node 10.0.0.7")
    # What the service believes for seconds would answer for the store.
    yield store
    store.error = None


def test_a_store_that_is_away_is_said_with_a_time_to_come_back(
    client: TestClient[Any], away: Moody
) -> None:
    response = post(client, GOOD)
    assert "10.0.0.7" not in response.text
    problem(response, 503)
    assert int(response.headers["retry-after"]) > 0


def test_readiness_follows_the_store_and_liveness_does_not(
    client: TestClient[Any], away: Moody
) -> None:
    problem(client.get("/readyz"), 503)
    assert client.get("/healthz").text == "ok"
    away.error = None
    assert client.get("/readyz").text == "ok"


def test_a_store_that_refuses_is_our_fault_and_no_detail(
    client: TestClient[Any], store: Moody
) -> None:
    store.error = StoreRefused("table diffusion.inbox")
    try:
        assert "detail" not in problem(post(client, GOOD), 500)
    finally:
        store.error = None


# What operators and client authors read.


def test_metrics_count_answers_and_refusals(client: TestClient[Any]) -> None:
    post(client, GOOD)
    post(client, GOOD, {})
    text = client.get("/metrics").text
    assert 'diffusion_api_syncs_total{path="full",reason="fresh"}' in text
    assert 'diffusion_api_errors_total{status="401"}' in text


def test_requests_and_answers_are_measured_as_they_were_on_the_wire(
    client: TestClient[Any],
) -> None:
    def sums() -> list[float]:
        text = client.get("/metrics").text
        names = (
            'diffusion_api_request_bytes_sum{transport="http"}',
            'diffusion_api_answer_bytes_sum{path="full"}',
        )
        lines = text.splitlines()
        return [float(line.split()[-1]) for name in names for line in lines if name in line]

    before = sums()
    answer = post(client, GOOD, bearer() | {"Accept-Encoding": "gzip;q=0, identity"})
    body = len(json.dumps(GOOD).encode())
    assert sums() == [before[0] + body, before[1] + len(answer.content)]


def test_the_poke_feed_is_not_missed_where_there_should_be_none(client: TestClient[Any]) -> None:
    text = client.get("/metrics").text
    assert "diffusion_api_poke_feed 1.0" in text
    assert f"diffusion_api_connections_max {float(Settings().api.connections_max)}" in text


def test_no_metric_is_labelled_with_a_user_or_a_conversation(client: TestClient[Any]) -> None:
    post(client, GOOD)
    text = client.get("/metrics").text
    assert "sg_1" not in text
    assert "ann" not in text.replace("cannot", "").replace("channel", "")


def test_the_openapi_document_names_bodies_and_bounds(client: TestClient[Any]) -> None:
    document = client.get("/schema/openapi.json").json()
    operation = document["paths"]["/v1/sync"]["post"]
    asked, answered = operation["requestBody"], operation["responses"]["200"]
    for body, name in ((asked, "SyncRequest"), (answered, "SyncResponse")):
        assert body["content"] == {
            form.value: {"schema": {"$ref": f"#/components/schemas/{name}"}} for form in Format
        }
    assert set(operation["responses"]) == {
        "200",
        "400",
        "401",
        "406",
        "413",
        "415",
        "429",
        "431",
        "503",
    }
    refusal = operation["responses"]["400"]["content"]
    assert refusal == {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    schemas = document["components"]["schemas"]
    request = schemas["SyncRequest"]
    assert set(request["properties"]) == set(SyncRequest.__struct_fields__)
    assert request["required"] == ["device_id"]
    assert request["properties"]["changes_max"]["maximum"] == CHANGES_PER_ANSWER_MAX
    assert schemas["KeyRange"]["type"] == "array", "as it is on the wire"
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_every_reference_of_the_openapi_document_is_defined(client: TestClient[Any]) -> None:
    text = client.get("/schema/openapi.json").text
    defined = json.loads(text)["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) <= set(defined)


# Whatever comes.

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=5,
)
requests = st.fixed_dictionaries(
    {"device_id": st.just("phone") | json_values},
    optional=dict.fromkeys(("v", "cursor", "page", "changes_max", "page_max", "x"), json_values),
)
bodies = st.one_of(st.binary(max_size=200), requests.map(lambda body: json.dumps(body).encode()))
header_values = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30
).map(lambda text: text.strip().encode("latin-1"))
header_names = st.sampled_from(
    [
        b"content-type",
        b"content-encoding",
        b"accept",
        b"accept-encoding",
        b"x-request-id",
        b"cookie",
        b"origin",
        b"range",
    ]
)


@settings(deadline=None, max_examples=60)
@given(
    body=bodies,
    authorization=header_values | st.just(b"good"),
    headers=st.dictionaries(header_names, header_values, max_size=3),
)
def test_no_request_is_an_internal_error(
    client: TestClient[Any], body: bytes, authorization: bytes, headers: dict[bytes, bytes]
) -> None:
    good = bearer()["Authorization"].encode()
    sent = {**headers, b"authorization": good if authorization == b"good" else authorization}
    response = client.post("/v1/sync", content=body, headers=list(sent.items()))
    if response.status_code != 200:
        assert response.status_code in {400, 401, 406, 415}
        problem(response, response.status_code)
    else:
        assert authorization == b"good"
