"""Asks processes for /metrics: all at once, each bounded in time and bytes.

What does not answer is a line with what to do, never an error: of a system that is half down, the
other half is what somebody wants to see.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from infra.clock import monotonic_s, now_ms
from infra.figures.counting import WINDOW_S, Labels, Memory, Samples, Seen, Window
from infra.figures.figures import Figures, ProcessFigures, answering, figures, is_ours
from infra.figures.targets import Target, names

TIMEOUT_S: Final = 2.0
"""For one process. One that is busy answers in milliseconds; one that takes longer stands."""

BYTES_MAX: Final = 1_048_576
"""Of one answer: forty times what a process of ours has to say."""

AT_ONCE: Final = 16
"""Processes asked at the same time."""

_HEADERS: Final = {"Accept": "text/plain", "Accept-Encoding": "identity"}

START_ADVICE: Final = "Start it by `diffusion {program}`, or name another address."
LOOK_ADVICE: Final = "Look at its log, and whether this machine may reach it."
ADDRESS_ADVICE: Final = "Another program has this address: correct the list of targets."


@dataclass(frozen=True, slots=True)
class Scrape:
    """One look at one process: what it said, or what was wrong and what to do about it."""

    seen: Seen | None
    problem: str = ""
    advice: str = ""


class Viewer:
    """Looks at processes again and again. For one event loop; `close` ends its connections.

    `ca_file` has the certificates of the authorities that may vouch for an API that speaks TLS; by
    default those of the system.
    """

    def __init__(self, ca_file: str | None = None, window_s: float = WINDOW_S) -> None:
        self._ca_file = ca_file
        self._client: httpx.AsyncClient | None = None
        self._memory = Memory(window_s)

    async def close(self) -> None:
        """End all connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def look(
        self,
        targets: Sequence[Target],
        *,
        own: tuple[str, bytes] | None = None,
        missing: str = "",
        addresses: bool = True,
    ) -> Figures:
        """Ask all of them, and say what they say together.

        `own` is a process that needs not be asked, the one that looks: its name and its metrics.
        `missing` is handed on; without `addresses` no process says where it is.
        """
        turns = asyncio.Semaphore(AT_ONCE)
        client = await self._connected()
        scrapes = await asyncio.gather(*(_scrape(client, one, turns) for one in targets))
        seen = {
            target.url: scrape.seen
            for target, scrape in zip(targets, scrapes, strict=True)
            if scrape.seen is not None
        }
        if own is not None:
            seen[own[0]] = Seen(monotonic_s(), parse(own[1].decode()))
        pairs = dict(zip(seen, self._memory.take(seen), strict=True))
        at_ms = now_ms()
        lines: list[ProcessFigures] = []
        for name, target, scrape in zip(names(targets), targets, scrapes, strict=True):
            address = target.address if addresses else ""
            if target.url in pairs:
                pair = pairs[target.url]
                lines.append(answering(name, target.program, address, pair, at_ms))
            else:
                lines.append(down(name, target.program, address, scrape))
        if own is not None:
            lines.append(answering(own[0], own[0], "", pairs[own[0]], at_ms))
        return figures(Window(pairs.values()), lines, at_ms, missing)

    async def _connected(self) -> httpx.AsyncClient:
        # By `look` alone, before it asks: of several made at once, all but one would stay open.
        if self._client is None:
            # Reads the authorities of the system, some 20 ms.
            context = await asyncio.to_thread(ssl.create_default_context, cafile=self._ca_file)
            # No proxy of the environment: these are addresses of our own network.
            self._client = httpx.AsyncClient(
                verify=context, trust_env=False, headers=_HEADERS, timeout=TIMEOUT_S
            )
        return self._client


async def _scrape(client: httpx.AsyncClient, target: Target, turns: asyncio.Semaphore) -> Scrape:
    try:
        async with turns, asyncio.timeout(TIMEOUT_S):
            text = await _text(client, target)
        samples = await asyncio.to_thread(parse, text)
    except (OSError, ValueError, LookupError, httpx.HTTPError, httpx.InvalidURL) as error:
        return _failed(error, target)
    if not is_ours(samples):
        return Scrape(None, "What answers there is not ours.", ADDRESS_ADVICE)
    return Scrape(Seen(monotonic_s(), samples))


async def _text(client: httpx.AsyncClient, target: Target) -> str:
    """Raises `httpx` errors, and `ValueError` for what is no text of metrics."""
    async with client.stream("GET", target.url) as answer:
        if answer.status_code != httpx.codes.OK:
            raise ValueError(answer.status_code)
        body = bytearray()
        # Raw: what is packed would be unpacked without a bound.
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > BYTES_MAX:
                raise ValueError(len(body))
    return body.decode()


def down(name: str, program: str, address: str, scrape: Scrape) -> ProcessFigures:
    """A process that did not answer."""
    return ProcessFigures(
        name=name,
        program=program,
        state="down",
        address=address,
        problem=scrape.problem,
        advice=scrape.advice,
    )


def parse(text: str) -> Samples:
    """Read Prometheus' text format; raises `ValueError` or `LookupError` for what is not."""
    found: dict[str, list[tuple[Labels, float]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name].append((sample.labels, float(sample.value)))
    return found


def _failed(error: Exception, target: Target) -> Scrape:
    """Say what went wrong, without what others wrote."""
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return Scrape(None, f"It does not answer within {TIMEOUT_S:.0f} s.", LOOK_ADVICE)
    if isinstance(error, httpx.ConnectError):
        if isinstance(_cause(error), ssl.SSLError):
            return Scrape(None, "Its certificate is not believed.", LOOK_ADVICE)
        return Scrape(
            None, "Nothing answers at its address.", START_ADVICE.format(program=target.program)
        )
    if isinstance(error, httpx.HTTPError | OSError):
        return Scrape(None, f"It broke off ({type(error).__name__}).", LOOK_ADVICE)
    return Scrape(None, "What answers there is no /metrics.", ADDRESS_ADVICE)


def _cause(error: BaseException) -> BaseException | None:
    """The first error of a chain."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error
