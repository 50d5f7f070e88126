"""Hostile requests against a real API process over real Cassandra, many at once.

Users with chats are written through the whole pipeline. Then lanes, each a client with a connection
of its own, send the requests of their numbers; good ones are among them. At the end the API is the
process that it was, its log has no traceback, and new devices of the users agree with the oracle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import jwt

from diffusion import verify
from diffusion.fuzz.account import Account
from diffusion.fuzz.asked import Known
from diffusion.fuzz.line import Line
from diffusion.fuzz.requests import draw
from diffusion.oracle import Oracle
from diffusion.system import System
from diffusion.writing import producer_for
from infra.clock import monotonic_s, now_ms
from schemas import ids
from schemas.encoding import Format, decode, encode
from schemas.errors import RetryableError
from schemas.events import Message, Read, UserConversationSettings, WriteEvent
from schemas.protocol import SyncRequest, SyncResponse
from syncapi.auth import issue
from syncapi.keys import HMAC

USERS: Final = 8
CHATS: Final = 40
"""Of each user."""

LANES: Final = 16
AT_MS: Final = 1_700_000_000_000
HOUR_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run against the API. Memory in bytes."""

    account: Account
    seconds: float
    same_process: bool
    tracebacks: int
    peak_bytes: int
    grown_bytes: int
    """How much the greatest resident memory rose during the run."""
    verdict: verify.Verdict

    @property
    def held(self) -> bool:
        """Whether everything was in order."""
        good = self.verdict.checked == self.verdict.converged
        answered = self.account.exact and not self.account.wrong
        return answered and good and self.same_process and not self.tracebacks

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **self.account.as_json(),
            "seconds": round(self.seconds, 1),
            "same_process": self.same_process,
            "tracebacks": self.tracebacks,
            "peak_mb": round(self.peak_bytes / 2**20, 1),
            "grown_mb": round(self.grown_bytes / 2**20, 1),
            "users_checked": self.verdict.checked,
            "users_converged": self.verdict.converged,
            "differences": self.verdict.differences,
            "held": self.held,
        }


def run(
    system: System,
    seed: int,
    first: int,
    count: int,
    *,
    minutes: float | None = None,
    on_requests: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Send the requests of these numbers, or as many as `minutes` allow."""
    oracle, users = _written(system, seed)
    known = [_known(system, users, user) for user in users]
    log = system.processes.log("api")
    log_bytes, pid = log.stat().st_size, system.processes.pid("api")
    before = system.processes.peaks()["api"]
    began_s = monotonic_s()
    account = asyncio.run(_send(system, known, _Numbers(seed, first, count, minutes, on_requests)))
    seconds = monotonic_s() - began_s
    with log.open("rb") as written:
        written.seek(log_bytes)
        tracebacks = written.read().count(b"Traceback")
    peak = system.processes.peaks()["api"]
    return Outcome(
        account=account,
        seconds=seconds,
        same_process=system.processes.pid("api") == pid,
        tracebacks=tracebacks,
        peak_bytes=peak,
        grown_bytes=peak - before,
        verdict=verify.fresh_devices(system, oracle, users, lambda: None),
    )


class _Numbers:
    """The numbers that are still to be sent; lanes take one after the other."""

    def __init__(
        self,
        seed: int,
        first: int,
        count: int,
        minutes: float | None,
        on_requests: Callable[[int], None],
    ) -> None:
        self.seed = seed
        self._numbers = iter(range(first, first + count))
        self._first = first
        self._until_s = None if minutes is None else monotonic_s() + minutes * 60
        self._on_requests = on_requests

    def __iter__(self) -> Iterator[int]:
        for number in self._numbers:
            yield number
            self._on_requests(number - self._first + 1)
            if self._until_s is not None and monotonic_s() > self._until_s:
                return


async def _send(system: System, known: list[Known], numbers: _Numbers) -> Account:
    account = Account()
    address = httpx.URL(system.url)
    lines = [Line(address.host, address.port or 80) for _ in range(LANES)]

    async def lane(line: Line, who: Known) -> None:
        for number in numbers:
            asked = draw(numbers.seed, number, who)
            outcome = await line.exchange(asked)
            account.add(numbers.seed, number, asked, outcome)
        line.close()

    async with asyncio.TaskGroup() as lanes:
        for place, line in enumerate(lines):
            lanes.create_task(lane(line, known[place % len(known)]))
    account.again = sum(line.again for line in lines)
    return account


def _written(system: System, seed: int) -> tuple[Oracle, list[str]]:
    """Users with chats, written through the pipeline, and what they must see."""
    oracle = Oracle()
    users = [f"fuzz-{seed}-{number}" for number in range(USERS)]
    with producer_for(system.settings.kafka) as producer:
        for user in users:
            for event in _events(user):
                producer.send(event)
                oracle.apply(event)
    system.wait_quiet()
    return oracle, users


def _events(user: str) -> Iterator[WriteEvent]:
    for number in range(CHATS):
        peer = f"{user}-peer-{number}"
        chat = ids.one_to_one(user, peer)
        for seq in (1, 2, 3):
            yield Message(chat, seq, peer, AT_MS + 10 * number + seq, (user, peer))
        if number % 3 == 0:
            yield Read(user, chat, 2)
        if number % 10 == 0:
            yield UserConversationSettings(user, chat, pinned=True)


def _known(system: System, users: list[str], user: str) -> Known:
    cursor, page = _tokens(system, user)
    foreign_cursor, foreign_page = _tokens(system, users[users.index(user) - 1])
    return Known(
        host=httpx.URL(system.url).netloc.decode(),
        bearer=system.token(user),
        cursor=cursor,
        page=page,
        foreign_cursor=foreign_cursor,
        foreign_page=foreign_page,
        strangers=_strangers(system, user),
    )


def _tokens(system: System, user: str) -> tuple[str, str]:
    """A cursor and a page token, as a client gets them."""
    with httpx.Client(base_url=system.url, timeout=60) as http:

        def sync(**fields: Any) -> SyncResponse:
            answer = http.post(
                "/v1/sync",
                content=encode(SyncRequest("fuzz", **fields), Format.JSON),
                headers={"Authorization": f"Bearer {system.token(user)}"},
            )
            return decode(answer.content, SyncResponse, Format.JSON)

        cursor, page = sync().cursor, sync(page_max=5).page
    if cursor is None or page is None:
        raise RetryableError(f"The API gives {user} no cursor, or no page.")
    return cursor, page


def _strangers(system: System, user: str) -> tuple[str, ...]:
    """Tokens that are signed, and good for nothing."""
    api = system.settings.api
    secret = api.jwt_secret.get_secret_value()
    soon = now_ms() // 1_000 + HOUR_S
    good = {"sub": user, "aud": api.jwt_audience, "exp": soon}
    return (
        issue(api, user, now_ms=now_ms() - 2 * HOUR_S * 1_000, lifetime_s=60),
        jwt.encode(good, "another secret of a sufficient length, for sure", algorithm=HMAC),
        jwt.encode(good, secret * 2, algorithm="HS384"),
        jwt.encode(good, "", algorithm="none"),
        jwt.encode({**good, "aud": "another"}, secret, algorithm=HMAC),
        jwt.encode({**good, "sub": ""}, secret, algorithm=HMAC),
        jwt.encode({**good, "sub": "x" * 200}, secret, algorithm=HMAC),
        jwt.encode({**good, "nbf": soon}, secret, algorithm=HMAC),
    )
