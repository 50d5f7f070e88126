"""The HTTP shell: every request is answered, by a sync answer or by a problem document."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient

from infra.cassandra.session import StoreRefused, StoreUnavailable
from infra.settings import Settings
from schemas.limits import CHANGES_PER_ANSWER_MAX, CURSOR_CHARS_MAX, REQUEST_BYTES_MAX
from syncapi.app import build
from syncapi.auth import issue
from syncapi.problems import PROBLEM_TYPE
from tests.unit.syncapi.support import Store
from tests.unit.syncapi.test_service import joined, message

GOOD = {"device_id": "phone"}


class Moody(Store):
    """A store that may be away."""

    error: Exception | None = None

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if self.error is not None:
            raise self.error
        return await super().aread(cql, values)


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
    assert (told["path"], told["reset"]) == ("full", "fresh")
    assert [entry["conversation_id"] for entry in told["conversations"]] == ["sg_1", "sg_2"]
    second = post(client, {**GOOD, "cursor": told["cursor"]}).json()
    assert second["path"] == "delta"
    assert "reset" not in second


def test_the_user_is_the_tokens_and_nobody_elses(client: TestClient[Any]) -> None:
    told = post(client, GOOD).json()
    other = post(client, {**GOOD, "cursor": told["cursor"]}, bearer("bob")).json()
    assert (other["reset"], other.get("conversations", [])) == ("other_user", [])


def test_a_damaged_cursor_is_a_reset_and_no_error(client: TestClient[Any]) -> None:
    for text in ("x", "é", "%%%", "A" * CURSOR_CHARS_MAX):
        assert post(client, {**GOOD, "cursor": text}).json()["reset"] == "unreadable"


def test_a_long_answer_is_compressed_for_who_takes_it(
    store: Moody, client: TestClient[Any]
) -> None:
    store.add(*joined(*(f"sg_{n}" for n in range(40)), user="cid"))
    packed = post(client, GOOD, bearer("cid") | {"Accept-Encoding": "gzip"})
    plain = post(client, GOOD, bearer("cid") | {"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json()["conversations"] == plain.json()["conversations"]


# Requests that do not fit.


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"7",
        b"{}",
        b"[" * 5_000,
        b'{"device_id":' * 2_000,
        b'{"device_id": "\\ud800"}',
        {"device_id": ""},
        {"device_id": 7},
        {"device_id": "x" * 129},
        {"device_id": None},
        {**GOOD, "v": 2},
        {**GOOD, "cursor": ""},
        {**GOOD, "cursor": 7},
        {**GOOD, "cursor": "x" * (CURSOR_CHARS_MAX + 1)},
        {**GOOD, "page": []},
        {**GOOD, "changes_max": 0},
        {**GOOD, "changes_max": CHANGES_PER_ANSWER_MAX + 1},
        {**GOOD, "changes_max": 1.5},
        {**GOOD, "changes_max": "many"},
        {**GOOD, "page_max": -1},
        {**GOOD, "page_max": 10**30},
        {**GOOD, "unknown": 1},
    ],
    ids=lambda body: repr(body)[:40],
)
def test_a_body_that_does_not_fit_is_a_problem(client: TestClient[Any], body: Any) -> None:
    problem(post(client, body), 400)


def test_the_problem_names_the_field(client: TestClient[Any]) -> None:
    assert "changes_max" in problem(post(client, {**GOOD, "changes_max": 0}), 400)["detail"]
    assert "unknown" in problem(post(client, {**GOOD, "unknown": 1}), 400)["detail"]


def test_a_body_above_the_bound_is_refused_for_its_size(client: TestClient[Any]) -> None:
    body = json.dumps({**GOOD, "cursor": "x" * REQUEST_BYTES_MAX}).encode()
    problem(post(client, body), 413)


def test_a_body_above_the_bound_that_does_not_say_so_is_refused(client: TestClient[Any]) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(2 * REQUEST_BYTES_MAX // 1_024):
            yield b"x" * 1_024

    problem(client.post("/v1/sync", content=chunks(), headers=bearer()), 413)


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


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/sync/x", "/v2/sync", "/..%2f", "/%ff"])
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
    assert 'diffusion_api_syncs_total{path="full",reset="fresh"}' in text
    assert 'diffusion_api_errors_total{status="401"}' in text


def test_no_metric_is_labelled_with_a_user_or_a_conversation(client: TestClient[Any]) -> None:
    post(client, GOOD)
    text = client.get("/metrics").text
    assert "sg_1" not in text
    assert "ann" not in text.replace("cannot", "").replace("channel", "")


def test_the_openapi_document_names_the_request_and_its_bounds(client: TestClient[Any]) -> None:
    document = client.get("/schema/openapi.json").json()
    assert "post" in document["paths"]["/v1/sync"]
    schema = document["components"]["schemas"]["SyncRequest"]
    assert set(schema["properties"]) == {
        "v",
        "device_id",
        "cursor",
        "page",
        "changes_max",
        "page_max",
    }
    assert schema["required"] == ["device_id"]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


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
        assert response.status_code in {400, 401}
        problem(response, response.status_code)
    else:
        assert authorization == b"good"
