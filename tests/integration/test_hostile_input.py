"""Whatever is sent, the API answers with a 4xx problem document, logs no exception, changes nothing.

Seeded: `SEED` replays a run. The payloads are `diffusion.fuzz.hostile`, for other transports too.
"""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, Final

import httpx
import jwt
import pytest
from msgspec.structs import replace

from diffusion.fuzz import hostile
from diffusion.system import System
from infra.clock import now_ms
from schemas import ids
from schemas.encoding import Coding, Format, compress, decode, encode
from schemas.events import Message, Read, UserConversationSettings
from schemas.frames import PROBLEM_TYPE, Problem
from schemas.limits import REQUEST_BYTES_MAX
from schemas.protocol import SUPPORTED_VERSIONS, Reason, SyncRequest, SyncResponse
from syncapi.auth import issue
from syncapi.keys import HMAC as ALGORITHM
from tests.integration.support import NOW_MS, World

Unique = Callable[[str], str]

SEED: Final = 20_261_123
CHATS: Final = 6
DAMAGES: Final = 40
"""Of each kind, for each format and coding."""

GROWTH_BYTES_MAX: Final = 64 * 1024 * 1024
"""What the API may grow by while it is sent bombs of a gigabyte, and bodies of ten megabytes."""


class Target:
    """A user with chats, what he was told before, and the API's log from then on."""

    def __init__(self, system: System, user: str) -> None:
        self.system = system
        self.user = user
        self.http = httpx.Client(base_url=system.url, timeout=60)
        self.rng = random.Random(SEED)
        self.log = system.processes.log("api")
        self.log_bytes = self.log.stat().st_size
        self.bearer = f"Bearer {system.token(user)}"
        self.before = self.state()
        self.peak = self.peak_bytes()
        self.sent = 0

    def post(self, content: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        self.sent += 1
        return self.http.post(
            "/v1/sync", content=content, headers={"Authorization": self.bearer} | (headers or {})
        )

    def sync(self, **asked: Any) -> SyncResponse:
        answer = self.post(encode(SyncRequest("phone", **asked), Format.JSON))
        assert answer.status_code == 200, answer.text
        return decode(answer.content, SyncResponse, Format.JSON)

    def refused(self, content: Any, headers: dict[str, str] | None = None) -> Problem:
        """Send what must be refused; the problem document, which says why."""
        answer = self.post(content, headers)
        return self.problem(answer, content)

    def problem(self, answer: httpx.Response, content: Any) -> Problem:
        shown = f"{answer.status_code} {answer.text[:200]!r} to {content!r:.200} (seed {SEED})"
        assert 400 <= answer.status_code < 500, shown
        assert answer.headers["content-type"] == PROBLEM_TYPE, shown
        problem = decode(answer.content, Problem, Format.JSON)
        assert problem.status == answer.status_code
        assert problem.title, shown
        assert problem.detail or problem.reason, shown
        return problem

    def state(self) -> bytes:
        """What a fresh sync tells, less what differs from one moment to the next."""
        told = decode(
            self.http.post(
                "/v1/sync",
                content=encode(SyncRequest("phone"), Format.JSON),
                headers={"Authorization": self.bearer},
            ).content,
            SyncResponse,
            Format.JSON,
        )
        assert len(told.conversations) == CHATS
        return encode(replace(told, cursor=None, server_time_ms=0), Format.JSON)

    def peak_bytes(self) -> float:
        text = self.http.get("/metrics").text
        found = re.search(r"^diffusion_process_peak_resident_bytes (\S+)", text, re.MULTILINE)
        assert found is not None
        return float(found[1])

    def check(self) -> None:
        """Nothing changed, nothing was logged, and the API is no larger."""
        assert self.state() == self.before
        with self.log.open("rb") as log:
            log.seek(self.log_bytes)
            written = log.read().decode(errors="replace")
        assert "Traceback" not in written, written
        assert "failed" not in written, written
        assert self.peak_bytes() - self.peak < GROWTH_BYTES_MAX


@pytest.fixture(scope="module")
def user(system: System) -> str:
    """One user for all tests: none of them changes anything."""
    name, peers = "hostile-target", [f"hostile-peer{number}" for number in range(CHATS)]
    chats = [ids.one_to_one(name, peer) for peer in peers]
    World(system).write(
        *(
            Message(chat, seq, peer, NOW_MS + seq, (name, peer))
            for chat, peer in zip(chats, peers, strict=True)
            for seq in (1, 2, 3)
        ),
        Read(name, chats[0], 2),
        UserConversationSettings(name, chats[1], pinned=True),
    )
    return name


@pytest.fixture
def target(system: System, user: str) -> Iterator[Target]:
    made = Target(system, user)
    yield made
    made.check()
    made.http.close()


def body(**asked: Any) -> bytes:
    return hostile.write({**hostile.GOOD, **asked}, Format.JSON)


# Tokens that a client was given.


def test_tampered_tokens_are_refused(target: Target) -> None:
    first = target.sync(page_max=2)
    cursor, page = target.sync().cursor, first.page
    assert cursor is not None
    assert page is not None
    for kind, token in (("cursor", cursor), ("page", page)):
        assert target.post(body(**{kind: token})).status_code == 200
        for changed in hostile.tampered(token, target.rng):
            found = target.refused(body(**{kind: changed}))
            assert (found.status, found.reason) == (400, Reason.UNREADABLE.value), changed


def test_tokens_of_another_kind_or_user_are_refused(target: Target, unique: Unique) -> None:
    cursor, page = target.sync().cursor, target.sync(page_max=2).page
    for asked in ({"cursor": page}, {"page": cursor}, {"page": cursor, "cursor": cursor}):
        assert target.refused(body(**asked)).reason == Reason.UNREADABLE.value
    stranger = {"Authorization": f"Bearer {target.system.token(unique('stranger'))}"}
    for asked in ({"cursor": cursor}, {"page": page}):
        assert target.refused(body(**asked), stranger).reason == Reason.OTHER_USER.value


# Bodies.


@pytest.mark.parametrize("form", Format)
def test_bodies_that_are_no_request_are_refused(target: Target, form: Format) -> None:
    headers = {"Content-Type": form.value}
    for content in (*hostile.unreadable_bodies(form), *hostile.unfit_requests(form)):
        assert target.refused(content, headers).status == 400
        for coding in (Coding.DEFLATE, Coding.ZSTD, Coding.GZIP):
            packed = compress(content, coding)
            coded = {**headers, "Content-Encoding": coding.token}
            assert target.refused(packed, coded).status == 400


@pytest.mark.parametrize(("form", "coding"), list(product(Format, Coding)))
def test_damaged_bodies_are_refused(target: Target, form: Format, coding: Coding) -> None:
    headers = {"Content-Type": form.value, "Content-Encoding": coding.token}
    good = encode(SyncRequest("phone", cursor=target.sync().cursor, changes_max=10), form)
    data = compress(good, coding)
    assert target.post(data, headers).status_code == 200
    for content in (
        *hostile.cut_off(data, target.rng, DAMAGES),
        *hostile.followed(data, target.rng, DAMAGES),
    ):
        assert target.refused(content, headers).status == 400
    for content in hostile.flipped(data, target.rng, DAMAGES):
        # Another device, or an unknown field, is a good request; nothing else may come of it.
        answer = target.post(content, headers)
        if answer.status_code != 200:
            target.problem(answer, content)


def test_random_bytes_are_refused(target: Target) -> None:
    for form, coding in product(Format, Coding):
        headers = {"Content-Type": form.value, "Content-Encoding": coding.token}
        for _ in range(DAMAGES):
            content = target.rng.randbytes(target.rng.randrange(1, 2_000))
            assert target.refused(content, headers).status == 400


@pytest.mark.parametrize("coding", [Coding.DEFLATE, Coding.ZSTD, Coding.GZIP])
def test_bombs_are_refused_for_their_size(target: Target, coding: Coding) -> None:
    headers = {"Content-Encoding": coding.token}
    for size in (REQUEST_BYTES_MAX + 1, 10 * 2**20, 2**27, 2**30):
        assert target.refused(hostile.bomb(coding, size), headers).status == 413


def test_bodies_of_ten_megabytes_are_refused_for_their_size(target: Target) -> None:
    large = b'{"device_id": "' + b"x" * 10_000_000 + b'"}'

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(large), 65_536):
            yield large[start : start + 65_536]

    for _ in range(5):
        assert target.refused(large).status == 413
        assert target.refused(chunks()).status == 413
    assert target.refused(large, {"Authorization": "Bearer x"}).status == 401


def test_a_client_that_goes_away_within_its_body_leaves_no_trace(target: Target) -> None:
    address = httpx.URL(target.system.url)
    head = f"POST /v1/sync HTTP/1.1\r\nHost: x\r\nAuthorization: {target.bearer}\r\n"
    for rest in ("Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n5\r\n{", ""):
        with socket.create_connection((address.host, address.port or 80)) as raw:
            raw.sendall((head + rest).encode())


# Versions and fields.


def test_unknown_versions_are_refused_with_the_known_ones(target: Target) -> None:
    for form in Format:
        for version in hostile.UNSUPPORTED:
            for asked in ({"v": version}, {"v": version, "cursor": ["another type"]}):
                content = hostile.write({**hostile.GOOD, **asked}, form)
                found = target.refused(content, {"Content-Type": form.value})
                assert (found.status, found.supported) == (400, SUPPORTED_VERSIONS)


def test_unknown_fields_are_ignored(target: Target) -> None:
    for form in Format:
        for value in (None, 1, 2**60, -1.5, "x" * 10_000, [[[]]], {"a": {"b": [1]}}):
            content = hostile.write({**hostile.GOOD, "new": value, "\u00fc": value}, form)
            answer = target.post(content, {"Content-Type": form.value})
            assert answer.status_code == 200
            told = decode(answer.content, SyncResponse, form)
            assert encode(replace(told, cursor=None, server_time_ms=0), Format.JSON) == (
                target.before
            )


# Headers.


def test_headers_that_cannot_be_agreed_on_are_refused(target: Target) -> None:
    good = hostile.write(hostile.GOOD, Format.JSON)
    for headers, status in (
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": "application/json, application/msgpack"}, 415),
        ({"Content-Type": "application/msgpack"}, 400),
        ({"Content-Encoding": "br"}, 415),
        ({"Content-Encoding": "zstd, gzip"}, 415),
        ({"Content-Encoding": "gzip"}, 400),
        ({"Accept": "text/html"}, 406),
        ({"Accept": "*/*;q=0"}, 406),
        ({"Accept-Encoding": "*;q=0"}, 406),
        ({"Accept": "a" * 2_000}, 431),
        ({"Accept": "application/json," * 4_000}, 431),
        ({"Accept-Encoding": "gzip;q=0.1," * 4_000}, 431),
        ({"Content-Type": "x" * 60_000}, 431),
        ({"Content-Encoding": "x" * 60_000}, 431),
        ({"Authorization": "Bearer " + "x" * 60_000}, 401),
    ):
        assert target.refused(good, headers).status == status, headers


def test_random_headers_are_an_answer_or_refused(target: Target) -> None:
    names = ("Content-Type", "Content-Encoding", "Accept", "Accept-Encoding")
    words = ("application/json", "application/msgpack", "*/*", "gzip", "zstd", "identity", "br",
             "*", ";q=0", ";q=1", ";q=.5", ";q=", ",", ";", " ", "\u00e9", "\u00b2", '"')  # fmt: skip
    good = hostile.write(hostile.GOOD, Format.JSON)
    for _ in range(500):
        headers = {
            name: "".join(target.rng.choices(words, k=target.rng.randrange(6))).strip()
            for name in target.rng.sample(names, 2)
        }
        encoded: Any = {name: value.encode("latin-1") for name, value in headers.items()}
        answer = target.post(good, encoded)
        if answer.status_code != 200:
            assert target.problem(answer, headers).status in {400, 406, 415}


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_requests_of_nobody_are_refused(target: Target) -> None:
    api = target.system.settings.api
    secret = api.jwt_secret.get_secret_value()
    soon = now_ms() // 1_000 + 600
    good = {"sub": target.user, "aud": api.jwt_audience, "exp": soon}

    def signed(claims: dict[str, Any], key: str = secret, algorithm: str = ALGORITHM) -> str:
        return jwt.encode(claims, key, algorithm=algorithm)

    valid = signed(good)
    tokens = [
        issue(api, target.user, now_ms=now_ms() - 3_600_000, lifetime_s=60),
        signed(good, "another secret of a sufficient length, for sure"),
        signed(good, algorithm="HS512"),
        jwt.encode(good, "", algorithm="none"),
        signed({**good, "aud": "another"}),
        signed({**good, "exp": "soon"}),
        signed({key: value for key, value in good.items() if key != "exp"}),
        signed({key: value for key, value in good.items() if key != "sub"}),
        signed({**good, "sub": ""}),
        signed({**good, "sub": "x" * 200}),
        signed({**good, "nbf": soon}),
        valid[:-1],
        valid[1:],
        valid + "x" * 10_000,
        "",
        "x",
        "a.b.c",
        "....",
        "e30.e30.e30",
        # The last character holds bits that stand for nothing.
        *(
            one.decode("latin-1") + valid[-1]
            for one in hostile.flipped(valid[:-1].encode(), target.rng, DAMAGES)
        ),
    ]
    headers: list[dict[str, Any]] = [
        {"Authorization": f"Bearer {token}".strip().encode("latin-1")}
        for token in tokens
        if re.fullmatch(r"[!-~\x80-\xff]*", token)
    ]
    headers += [{"Authorization": text} for text in ("", "Bearer", "Basic YW5uOng=", valid)]
    for one in headers:
        assert target.refused(hostile.write(hostile.GOOD, Format.JSON), one).status == 401, one
    without = target.http.post("/v1/sync", content=hostile.write(hostile.GOOD, Format.JSON))
    assert target.problem(without, None).status == 401


def test_other_places_and_methods_are_refused(target: Target) -> None:
    for path in ("/v1", "/v1/sync/x", "/v2/sync", "/..%2f..%2fetc%2fpasswd", "/%ff%00"):
        answer = target.http.post(path, content=b"{}", headers={"Authorization": target.bearer})
        assert target.problem(answer, path).status == 404
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = target.http.request(method, "/v1/sync", headers={"Authorization": target.bearer})
        assert target.problem(answer, method).status == 405
    answer = target.http.post("/", content=b"{}", headers={"Authorization": target.bearer})
    assert target.problem(answer, "the page").status == 405
